"""Credentials that run out: what an HTTP connection asks of whoever keeps them."""

import re
from dataclasses import dataclass
from typing import Protocol

from gateway.upstream import UpstreamRefused

_MORE = re.compile(r'error="?insufficient_scope\b')


@dataclass(frozen=True)
class Challenge:
    """How a server refused a request: HTTP status, its WWW-Authenticate, the protocol version of the request."""

    status: int
    authenticate: str = ""
    version: str = ""

    @property
    def answerable(self) -> bool:
        """Whether another bearer token may help (RFC 6750 section 3.1). A 401 without a scheme may mean that too."""
        if self.status == 403:
            return _MORE.search(self.authenticate) is not None
        return self.status == 401 and (not self.authenticate or "bearer" in self.authenticate.lower())


class NeedsLogin(UpstreamRefused):
    """Only a person can get the credentials that the server wants. `code` is the HTTP status of its refusal."""

    def __init__(self, alias: str, challenge: Challenge) -> None:
        what = "needs a login that grants more" if challenge.status == 403 else "needs a login"
        super().__init__(alias, what, f"run `etmcp login {alias}`", challenge.status)


class Credentials(Protocol):
    """The bearer tokens for one server. Safe for concurrent requests."""

    def token(self) -> str | None:
        """Return the token to send now, None if there is none. Raises `UpstreamError`."""
        ...

    async def renew(self, refused: str | None, challenge: Challenge) -> None:
        """Return once `token` returns another than `refused`; however many ask, one renews.

        Cancelling the call does not stop the renewal. Raises `NeedsLogin`, or another `UpstreamError`.
        """
        ...
