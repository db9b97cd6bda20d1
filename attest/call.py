"""The call header: what a gateway tells an executor about one request, in the clear or around a sealed body."""

from dataclasses import dataclass
from typing import Any, cast

from attest import wire
from attest.canonical import canonical
from attest.encoding import Fields, b64encode
from attest.errors import CanonicalError, SealError
from attest.seal import PUBLIC_SIZE, REPLY, REQUEST, SealingKey, seal

MAX_SEALED = 64 << 20


@dataclass(frozen=True, slots=True)
class CallHeader:
    """Travels in clear as `_meta["com.etmcp/call"]`, and is bound into the ciphertext of a sealed call.

    `nonce` 32 and `stream` 16 random bytes in hex; `issued_at` in milliseconds by the caller's clock.
    """

    method: str
    key_id: str
    nonce: str
    stream: str
    issued_at: int
    client_nonce: str | None = None
    previous: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The members in clear; `method` is that of the request and not repeated."""
        return {
            "keyId": self.key_id,
            "nonce": self.nonce,
            "stream": self.stream,
            "issuedAt": self.issued_at,
            "clientNonce": self.client_nonce,
            "previous": self.previous,
        }

    def bytes(self) -> bytes:
        """What a sealed body is bound to."""
        return canonical({"method": self.method, **self.to_json()})


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the executor reads it: header, real params (without our `_meta` key), salt, where to reply."""

    header: CallHeader
    params: wire.Json
    params_salt: bytes
    reply_key: bytes | None

    def seal_reply(self, reply: wire.Json) -> wire.Json:
        """The result that carries `reply` (`{"result": ...}` or `{"error": ...}`) sealed to the one-time key."""
        sealed = seal(self.reply_key or b"", REPLY, self.header.bytes(), canonical(reply))
        shape = wire.SEALED_RESULT.get(self.header.method, {})
        return {**shape, "resultType": "complete", "_meta": {wire.SEALED: b64encode(sealed)}}


def plain_request(header: CallHeader, params: wire.Json, salt: bytes) -> wire.Json:
    """Params with the header in `_meta`."""
    return wire.with_meta(params, wire.CALL, header.to_json() | {"paramsSalt": salt.hex()})


def sealed_request(
    header: CallHeader, params: wire.Json, salt: bytes, sealing_key: bytes, reply_key: SealingKey
) -> wire.Json:
    """Params of which only `_meta` and the header are readable to whoever carries them."""
    covered = {name: value for name, value in params.items() if name != "_meta"}
    body = canonical({"params": covered, "paramsSalt": salt.hex(), "replyKey": b64encode(reply_key.public)})
    sealed = b64encode(seal(sealing_key, REQUEST, header.bytes(), body))
    outside: wire.Json = {}
    if (name := wire.NAMED_BY.get(header.method)) is not None:
        outside[name] = wire.SEALED_NAME
    if isinstance(meta := params.get("_meta"), dict):
        outside["_meta"] = meta
    return wire.with_meta(outside, wire.CALL, header.to_json() | {"sealed": sealed})


def read_request(method: str, params: wire.Json, key: SealingKey, key_id: str) -> Call:
    """What the executor that holds `key` makes of a request that carries a call header.

    Raises `SealError`: `malformed`; `unknown-key` where the call names other keys; `seal` where it does not open.
    """
    fields = Fields(wire.meta_of(params, wire.CALL), "the call header", SealError)
    header = CallHeader(
        method,
        fields.digest("keyId"),
        fields.hex("nonce", 32).hex(),
        fields.hex("stream", 16).hex(),
        fields.integer("issuedAt"),
        _nullable(fields, "clientNonce"),
        _nullable(fields, "previous"),
    )
    if header.key_id != key_id:
        raise SealError("unknown-key", "this replica does not hold that key; read its evidence")
    if (sealed := fields.optional("sealed")) is None:
        salt = fields.hex("paramsSalt", 32)
        fields.done()
        _one_meaning(
            {name: value for name, value in params.items() if name != "_meta"}, "the params"
        )  # a sealed body is parsed as strictly
        return Call(header, wire.without_ours(params), salt, None)
    fields.done()
    outer = Fields({"sealed": sealed}, "the call header", SealError)
    body = Fields.parse(
        key.open(REQUEST, header.bytes(), outer.base64("sealed", maximum=MAX_SEALED)), "the sealed body", SealError
    )
    real, salt = body.mapping("params"), body.hex("paramsSalt", 32)
    reply_key = body.base64("replyKey", maximum=PUBLIC_SIZE)
    body.done()
    if len(reply_key) != PUBLIC_SIZE:
        raise SealError("malformed", f"the reply key has {len(reply_key)} bytes, not {PUBLIC_SIZE}")
    meta = wire.without_ours(params).get("_meta")
    real = {name: value for name, value in real.items() if name != "_meta"}
    return Call(header, real | ({"_meta": meta} if meta else {}), salt, reply_key)


def open_reply(header: CallHeader, result: wire.Json, reply_key: SealingKey) -> wire.Json:
    """The sealed `{"result": ...}` or `{"error": ...}`; raises `SealError`: `unsealed`, `malformed`, `seal`."""
    sealed = wire.meta_of(result, wire.SEALED)
    if not isinstance(sealed, str):
        raise SealError("unsealed", "the reply to a sealed call came unsealed")
    outer = Fields({"sealed": sealed}, "the sealed reply", SealError)
    plaintext = reply_key.open(REPLY, header.bytes(), outer.base64("sealed", maximum=MAX_SEALED))
    reply = Fields.parse(plaintext, "the sealed reply", SealError)
    name = "error" if (error := reply.optional("error")) is not None else "result"
    value = error if name == "error" else reply.mapping("result")
    reply.done()
    if not isinstance(value, dict):
        raise SealError("malformed", "the sealed reply is neither result nor error")
    return {name: cast(wire.Json, value)}


def _nullable(fields: Fields, name: str) -> str | None:
    value = fields.take(name)
    if value is not None and not (isinstance(value, str) and len(value) <= 256):
        raise SealError("malformed", f"{name} is neither null nor a short string")
    _one_meaning(value, name)
    return value


def _one_meaning(value: Any, what: str) -> None:
    """Refuse before anything runs what could not be put into a receipt."""
    try:
        canonical(value)
    except CanonicalError as e:
        raise SealError("malformed", f"{what}: {e.detail}") from e
