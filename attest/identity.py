"""Who a request is for: a gateway's signed assertion beside it, in `_meta["com.etmcp/identity"]` (WIRE.md section 12).

An assertion is a DSSE envelope around canonical JSON. It names the user, the server that it is made for and, by digest,
the request that it stands beside, so that it can be put on no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import Fields, same, sha256_hex
from attest.errors import CanonicalError, IdentityError
from attest.evidence import key_id

META = "com.etmcp/identity"
PAYLOAD_TYPE = "application/vnd.etmcp.identity+json"
LIFETIME_MS = 60_000
MAX_LIFETIME_MS = 300_000
MAX_SKEW_MS = 30_000
MAX_USER = 200


@dataclass(frozen=True, slots=True)
class Request:
    """One MCP request in the names of the server that gets it; `params` may carry `_meta`, which is not covered."""

    method: str
    params: Mapping[str, Any]

    def digest(self) -> str:
        """SHA-256 over canonical JSON of `{"method", "params"}`; raises `IdentityError("malformed")` for no JSON."""
        params = {name: value for name, value in self.params.items() if name != "_meta"}
        try:
            return sha256_hex(canonical({"method": self.method, "params": params}))
        except CanonicalError as e:
            raise IdentityError("malformed", f"the request: {e.detail}") from e


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified envelope says; `digest` names the envelope's payload."""

    user: str
    nonce: str | None
    expires_at: int
    digest: str


def sign_assertion(
    key: Ed25519PrivateKey,
    user: str,
    audience: str,
    request: Request,
    *,
    now: int,
    lifetime: int = LIFETIME_MS,
    nonce: str | None = None,
) -> dict[str, Any]:
    """The value of `_meta["com.etmcp/identity"]` for exactly this request. Times in milliseconds.

    `audience` is the name in the server's `serverInfo`; `nonce`: 16 random bytes in hex, so that it counts once.
    Raises `IdentityError("malformed")` for a user who cannot stand in a URI, or params that are not JSON.
    """
    check_user(user)
    payload: dict[str, Any] = {
        "user": user,
        "audience": audience,
        "request": request.digest(),
        "issuedAt": now,
        "expiresAt": now + lifetime,
    }
    if nonce is not None:
        payload["nonce"] = nonce
    public = key.public_key().public_bytes_raw()
    return Envelope.sign(PAYLOAD_TYPE, canonical(payload), key, key_id(public)).to_json()


def verify_assertion(value: Any, trusted: Iterable[bytes], audience: str, request: Request, now: int) -> Assertion:
    """Return what the assertion says, or raise `IdentityError`.

    1. `missing`    there is one;
    2. `malformed`  it is an envelope of our payload type;
    3. `key`        it is signed under one of the `trusted` raw Ed25519 keys,
    4. `signature`  and the signature verifies;
    5. `malformed`  its members are these, and the user is a name;
    6. `audience`   it was made for this server,
    7. `request`    and for this request;
    8. `lifetime`   it lives for at most five minutes;
    9. `future`     it is not dated ahead of our clock by more than the allowed skew;
    10. `expired`   and its time is not over.
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
    user = fields.text("user", maximum=MAX_USER)
    said_audience, said_request = fields.text("audience"), fields.digest("request")
    issued_at, expires_at = fields.integer("issuedAt"), fields.integer("expiresAt")
    nonce = fields.optional("nonce")
    fields.done()
    if nonce is not None:
        nonce = Fields({"nonce": nonce}, "the assertion", IdentityError).hex("nonce", 16).hex()
    check_user(user)
    if said_audience != audience:  # 6
        raise IdentityError("audience", f"made for {said_audience[:80]!r}, not for {audience!r}")
    if not same(said_request, request.digest()):  # 7
        raise IdentityError("request", "made for another request; sign each request by itself, as it is sent")
    if not 0 < expires_at - issued_at <= MAX_LIFETIME_MS:  # 8
        raise IdentityError("lifetime", f"an assertion lives for 1 to {MAX_LIFETIME_MS} ms")
    if issued_at > now + MAX_SKEW_MS:  # 9
        raise IdentityError("future", "dated in the future; compare the two clocks")
    if now >= expires_at:  # 10
        raise IdentityError("expired", "its time is over; make a new one for each request")
    return Assertion(user, nonce, expires_at, envelope.digest)


def check_user(user: str) -> None:
    """Refuse what cannot stand in a URI as one name; raises `IdentityError("malformed")`."""
    if not 0 < len(user) <= MAX_USER or not user.isprintable() or user in {".", ".."}:
        raise IdentityError("malformed", f"a user is 1 to {MAX_USER} printable characters")
