"""The HTTP requests that programs ask the engine for: a host call in front of `servers.tee.egress`."""

import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from servers.tee.egress import Log, Refused, Unreachable
from servers.tee.egress.fetch import BadRequest, fetch
from servers.tee.egress.gate import Gate
from servers.tee.policy import Policy
from servers.tee.sandbox import HostCallError

NAME = "fetch"


class EngineFetch:
    """A `servers.tee.functions.Fetch`. `secrets` are the values of the policy's secrets, by name."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets

    @cached_property
    def _roots(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def refusal(self, policy: Policy) -> str | None:
        """Why this policy lets a program make no request at all, in one line; None if it may make some."""
        if NAME not in policy.host_calls:
            return f'the policy grants no requests; add "hostCalls": ["{NAME}"] and a rule for the host to "network"'
        if not policy.network.rules:
            return 'the policy grants no host; add a rule for it to "network": {"rules": [...]}'
        return None

    def opened(self, policy: Policy) -> "CallFetch":
        """For the requests of one call."""
        return CallFetch(policy, self._secrets, self._roots)


class CallFetch:
    """The requests of one call, within the bounds that the policy sets for all of them together."""

    def __init__(self, policy: Policy, secrets: Mapping[str, str], roots: ssl.SSLContext) -> None:
        self._log = Log()
        self._gate = Gate(policy, self._log, values=secrets, roots=roots)
        self._most = policy.limits().host_bytes

    @property
    def usage(self) -> Mapping[str, Any]:
        """What came of each request: what a receipt shows."""
        return self._log.usage()

    async def __call__(self, request: dict[str, Any]) -> Any:
        """See `servers.tee.egress.fetch`. Raises `HostCallError` for the program to see."""
        try:
            return await fetch(self._gate, request, self._most)
        except Refused as e:
            raise HostCallError(f"{e}; what is granted is in the operator's policy, under network.rules") from e
        except (BadRequest, Unreachable) as e:
            raise HostCallError(str(e)) from e
