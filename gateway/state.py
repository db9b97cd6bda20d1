"""The request state that a client brings back between rounds (SEP-2322), sealed by us and good for one purpose only.

The SDK's AES-256-GCM codec seals it. A server's own state travels inside, so no client can read it or bring it to
another server; what it may be used for, by whom and until when is checked here.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from attest.canonical import canonical
from attest.encoding import Fields
from attest.errors import AttestError

LIFETIME_MS = 600_000


class BadState(Exception):
    """A request state that we did not make, or not for this request. One line, for the client."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a state may be used for: this request, to this server, by this client."""

    server: str
    method: str
    target: str
    principal: str


@dataclass(frozen=True, slots=True)
class Round:
    """The round before: its receipt, and either the server's own state or the id of a call that waits here."""

    receipt: str
    state: str | None = None
    parked: str | None = None


class States:
    """`key` has 32 bytes; `clock` returns milliseconds since 1970."""

    def __init__(self, key: bytes, clock: Callable[[], int]) -> None:
        self._codec, self._clock = AESGCMRequestStateCodec([key]), clock

    def seal(self, purpose: Purpose, last: Round) -> str:
        """The `requestState` for the client."""
        claims = {
            "for": [purpose.server, purpose.method, purpose.target, purpose.principal],
            "until": self._clock() + LIFETIME_MS,
            "receipt": last.receipt,
            "state": last.state,
            "parked": last.parked,
            "salt": secrets.token_hex(8),
        }
        return self._codec.seal(canonical(claims))

    def open(self, purpose: Purpose, token: object) -> Round:
        """What `seal` was given; raises `BadState`."""
        try:
            if not isinstance(token, str):
                raise BadState("the requestState is not a string")
            fields = Fields.parse(self._codec.unseal(token), "the request state", AttestError)
            meant, until = fields.list("for"), fields.take("until")
            last = Round(fields.text("receipt", maximum=200), fields.take("state"), fields.take("parked"))
        except (InvalidRequestState, AttestError) as e:
            raise BadState("this gateway did not make that requestState, or it was changed; begin anew") from e
        if meant != [purpose.server, purpose.method, purpose.target, purpose.principal]:
            raise BadState("that requestState belongs to another request; begin anew")
        if not isinstance(until, int) or self._clock() > until:
            raise BadState("that requestState is too old; begin anew")
        return last
