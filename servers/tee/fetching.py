"""The HTTP requests that programs ask the engine for, made as the policy grants them."""

from typing import Any

from servers.tee.policy import Policy
from servers.tee.sandbox import HostCallError

NAME = "fetch"


class PolicyFetch:
    """A `servers.tee.functions.Fetch` over the egress rules of the policy."""

    def refusal(self, policy: Policy) -> str | None:
        """Why this policy lets a program make no request at all, in one line; None if it may make some."""
        if NAME not in policy.host_calls:
            return f'the policy grants no requests; add "hostCalls": ["{NAME}"] and a rule for the host to "network"'
        if not policy.network.rules:
            return 'the policy grants no host; add a rule for it to "network": {"rules": [...]}'
        return None

    async def __call__(self, policy: Policy, request: dict[str, Any]) -> Any:  # noqa: ARG002
        """Make one, if the policy grants it. Raises `HostCallError` for the program to see."""
        raise HostCallError("not built yet")
