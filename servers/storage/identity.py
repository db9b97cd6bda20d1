"""Whose request it is: from the assertion that a trusted gateway signed for exactly this request, never an argument.

An assertion with a nonce is accepted once; one without may be used again, for the same request, until it expires.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from attest.errors import IdentityError
from attest.identity import Request, check_user, verify_assertion

MAX_NONCES = 1_000_000


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, and what the receipt says of how they were known."""

    user: str
    basis: dict[str, Any]


class Callers(Protocol):
    """Tells whose request it is."""

    @property
    def told(self) -> Mapping[str, Any]:
        """Whom it believes (JSON): whoever that is reads what every user keeps."""
        ...

    def caller(self, assertion: Any, request: Request) -> Caller:
        """The caller behind the raw `_meta` member (None where there is none), or `IdentityError`."""
        ...


class TrustedGateways:
    """Believes the assertions of these gateway keys. `clock` returns milliseconds; state is the event loop's."""

    def __init__(self, keys: Iterable[bytes], audience: str, clock: Callable[[], int]) -> None:
        self._keys, self._audience, self._clock = tuple(keys), audience, clock
        # Nonces that were used, and the same by the time at which each may be forgotten.
        self._used: set[str] = set()
        self._until: list[tuple[int, str]] = []

    @property
    def told(self) -> Mapping[str, Any]:
        """See `Callers`."""
        return {"gateways": sorted({key.hex() for key in self._keys})}

    def caller(self, assertion: Any, request: Request) -> Caller:
        """See `Callers`; also `replayed` for a nonce that was used, `busy` where too many must be remembered."""
        now = self._clock()
        said = verify_assertion(assertion, self._keys, self._audience, request, now)
        while self._until and self._until[0][0] < now:
            self._used.discard(heapq.heappop(self._until)[1])
        if said.nonce is not None:
            if said.nonce in self._used:
                raise IdentityError("replayed", "an assertion with this nonce was already used")
            if len(self._used) >= MAX_NONCES:
                raise IdentityError("busy", "too many assertions within their lifetime")
            self._used.add(said.nonce)
            heapq.heappush(self._until, (said.expires_at, said.nonce))
        return Caller(said.user, {"assertion": said.digest})


class SingleUser:
    """Everything is this user's: for a process on their own machine that nobody else can talk to."""

    def __init__(self, user: str) -> None:
        check_user(user)
        self._user = user

    @property
    def told(self) -> Mapping[str, Any]:
        """See `Callers`."""
        return {"singleUser": True}

    def caller(self, assertion: Any, request: Request) -> Caller:  # noqa: ARG002
        """See `Callers`. `single-user` where somebody asserts an identity, as this server checks none."""
        if assertion is not None:
            raise IdentityError("single-user", "this server has one user and checks no assertions; send none")
        return Caller(self._user, {"singleUser": True})
