"""Who a request is for: the gateway's signed assertion in `_meta["com.etmcp/identity"]`, never an argument.

`sign_assertion` and `verify_assertion` are pure. An assertion is a DSSE envelope around canonical JSON with `user`,
`audience` (the server's name), `nonce` (16 bytes in hex, optional), `issuedAt` and `expiresAt` in milliseconds. One
with a nonce is accepted once; one without may be used again until it expires. It does not cover the request around it:
who can change bytes between gateway and server can put it on another, so use stdio or a transport that protects them.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import Fields
from attest.errors import AttestError
from attest.evidence import key_id

META = "com.etmcp/identity"
PAYLOAD_TYPE = "application/vnd.etmcp.identity+json"
MAX_LIFETIME_MS = 300_000
MAX_SKEW_MS = 30_000
MAX_NONCES = 1_000_000
MAX_USER = 200


class IdentityError(AttestError):
    """Nobody, or somebody we do not believe. `code` is stable: see `verify_assertion`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, and what the receipt says of how they were known."""

    user: str
    basis: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified envelope says."""

    user: str
    nonce: str | None
    expires_at: int
    digest: str


def sign_assertion(
    key: Ed25519PrivateKey, user: str, audience: str, *, now: int, lifetime: int = 60_000, nonce: str | None = None
) -> dict[str, Any]:
    """The value of `_meta["com.etmcp/identity"]`. `nonce`: 16 random bytes in hex, so that it counts once."""
    payload: dict[str, Any] = {"user": user, "audience": audience, "issuedAt": now, "expiresAt": now + lifetime}
    if nonce is not None:
        payload["nonce"] = nonce
    public = key.public_key().public_bytes_raw()
    return Envelope.sign(PAYLOAD_TYPE, canonical(payload), key, key_id(public)).to_json()


def verify_assertion(value: Any, trusted: Iterable[bytes], audience: str, now: int) -> Assertion:
    """Return what the assertion says, or raise `IdentityError`.

    1. `missing`    there is one;
    2. `malformed`  it is an envelope of our payload type;
    3. `key`        it is signed under one of the `trusted` raw Ed25519 keys,
    4. `signature`  and the signature verifies;
    5. `malformed`  its members are these, and the user is a name;
    6. `audience`   it was made for this server;
    7. `lifetime`   it lives for at most five minutes;
    8. `future`     it is not dated ahead of our clock by more than the allowed skew;
    9. `expired`    and its time is not over.
    """
    if value is None:  # 1
        raise IdentityError(
            "missing", f"no assertion in _meta[{META!r}]: call through a gateway that this server trusts"
        )
    envelope = Envelope.from_json(value, IdentityError)  # 2
    keys = {key_id(key): key for key in trusted}
    if envelope.payload_type == PAYLOAD_TYPE and envelope.key_id not in keys:  # 3
        raise IdentityError("key", f"signed under key {envelope.key_id[:16]}, which this server was not told to trust")
    payload = envelope.open(PAYLOAD_TYPE, keys.get(envelope.key_id, b""), envelope.key_id, IdentityError)  # 2, 4
    fields = Fields.parse(payload, "the assertion", IdentityError)  # 5
    user, said_audience = fields.text("user", maximum=MAX_USER), fields.text("audience")
    issued_at, expires_at = fields.integer("issuedAt"), fields.integer("expiresAt")
    nonce = fields.optional("nonce")
    fields.done()
    if nonce is not None:
        nonce = Fields({"nonce": nonce}, "the assertion", IdentityError).hex("nonce", 16).hex()
    check_user(user)
    if said_audience != audience:  # 6
        raise IdentityError("audience", f"made for {said_audience[:80]!r}, not for {audience!r}")
    if not 0 < expires_at - issued_at <= MAX_LIFETIME_MS:  # 7
        raise IdentityError("lifetime", f"an assertion lives for 1 to {MAX_LIFETIME_MS} ms")
    if issued_at > now + MAX_SKEW_MS:  # 8
        raise IdentityError("future", "dated in the future; compare the two clocks")
    if now >= expires_at:  # 9
        raise IdentityError("expired", "its time is over; make a new one for each request")
    return Assertion(user, nonce, expires_at, envelope.digest)


def check_user(user: str) -> None:
    """Refuse what cannot stand in a URI as one name; raises `IdentityError("malformed")`."""
    if not 0 < len(user) <= MAX_USER or not user.isprintable() or user in {".", ".."}:
        raise IdentityError("malformed", f"a user is 1 to {MAX_USER} printable characters")


class Callers(Protocol):
    """Tells whose request it is."""

    def caller(self, assertion: Any) -> Caller:
        """The caller behind the raw `_meta` member (None where there is none), or `IdentityError`."""
        ...


class TrustedGateways:
    """Believes the assertions of these gateway keys. `clock` returns milliseconds; state is the event loop's."""

    def __init__(self, keys: Iterable[bytes], audience: str, clock: Callable[[], int]) -> None:
        self._keys, self._audience, self._clock = tuple(keys), audience, clock
        # Nonces that were used, and the same by the time at which each may be forgotten.
        self._used: set[str] = set()
        self._until: list[tuple[int, str]] = []

    def caller(self, assertion: Any) -> Caller:
        """See `Callers`; also `replayed` for a nonce that was used, `busy` where too many must be remembered."""
        now = self._clock()
        said = verify_assertion(assertion, self._keys, self._audience, now)
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

    def caller(self, assertion: Any) -> Caller:
        """See `Callers`. `single-user` where somebody asserts an identity, as this server checks none."""
        if assertion is not None:
            raise IdentityError("single-user", "this server has one user and checks no assertions; send none")
        return Caller(self._user, {"singleUser": True})
