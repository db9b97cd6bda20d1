"""The call header: what a gateway tells an executor about one request, in the clear or around a sealed body."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from attest import wire
from attest.canonical import canonical
from attest.encoding import Fields, b64encode
from attest.errors import CanonicalError, SealError
from attest.seal import PROGRESS, PUBLIC_SIZE, REPLY, REQUEST, PublicKey, SealingKey, label

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
    sealing: "Sealing | None"


@dataclass(frozen=True, slots=True)
class Sealing:
    """How the answer to one sealed call is sealed: to its one-time key, beside its header."""

    header: CallHeader
    key: PublicKey

    def reply(self, reply: wire.Json) -> wire.Json:
        """The result that carries `reply` (`{"result": ...}` or `{"error": ...}`). Raises `SealError("key")`."""
        sealed = self.key.seal(label(REPLY, self.header.bytes()), canonical(reply))
        shape = wire.SEALED_RESULT.get(self.header.method, {})
        return {**shape, "resultType": "complete", "_meta": {wire.SEALED: b64encode(sealed)}}

    def progress(self, number: int, told: wire.Json) -> wire.Json:
        """The params, but for the token, of the progress notification that is the `number`th of this call, from 1.

        `told` has `progress`, and may have `total` and `message`. Raises `SealError("key")`, `CanonicalError`.
        """
        sealed = self.key.seal(label(PROGRESS, self.header.bytes(), number), canonical(told))
        return {"progress": number, "_meta": {wire.SEALED: b64encode(sealed)}}


def plain_request(header: CallHeader, params: wire.Json, salt: bytes) -> wire.Json:
    """Params with the header in `_meta`."""
    return wire.with_meta(params, wire.CALL, header.to_json() | {"paramsSalt": salt.hex()})


def sealed_request(
    header: CallHeader, params: wire.Json, salt: bytes, sealing_key: PublicKey, reply_key: SealingKey
) -> wire.Json:
    """Params of which only `_meta` and the header are readable to whoever carries them. Raises `SealError("key")`."""
    covered = {name: value for name, value in params.items() if name != "_meta"}
    body = canonical({"params": covered, "paramsSalt": salt.hex(), "replyKey": b64encode(reply_key.public)})
    sealed = b64encode(sealing_key.seal(label(REQUEST, header.bytes()), body))
    outside: wire.Json = {}
    if (name := wire.NAMED_BY.get(header.method)) is not None:
        outside[name] = wire.SEALED_NAME
    if isinstance(meta := params.get("_meta"), dict):
        outside["_meta"] = meta
    return wire.with_meta(outside, wire.CALL, header.to_json() | {"sealed": sealed})


def read_request(method: str, params: wire.Json, held: Mapping[str, SealingKey]) -> Call:
    """What the executor that holds these keys, by key id, makes of a request that carries a call header.

    Raises `SealError`: `malformed`; `unknown-key` where the call names another key; `seal` for whatever is wrong with
    the sealed part or in it, in the same words and after the same work.
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
    if (key := held.get(header.key_id)) is None:
        raise SealError("unknown-key", "this replica does not hold that key; read its evidence")
    if (sealed := fields.optional("sealed")) is None:
        salt = fields.hex("paramsSalt", 32)
        fields.done()
        _one_meaning(
            {name: value for name, value in params.items() if name != "_meta"}, "the params"
        )  # a sealed body is parsed as strictly
        return Call(header, wire.without_ours(params), salt, None)
    fields.done()
    try:
        real, salt, reply_key = _sealed_body(key.open(label(REQUEST, header.bytes()), _bytes(sealed)))
    except SealError:
        raise SealError("seal", "the sealed part does not open, or holds no call") from None
    meta = wire.without_ours(params).get("_meta")
    real = {name: value for name, value in real.items() if name != "_meta"}
    return Call(header, real | ({"_meta": meta} if meta else {}), salt, Sealing(header, reply_key))


def _bytes(sealed: Any) -> bytes:
    """The bytes to open; none where it is no base64, so that this is found out where all else is."""
    try:
        return Fields({"sealed": sealed}, "the call header", SealError).base64("sealed", maximum=MAX_SEALED)
    except SealError:
        return b""


def _sealed_body(plaintext: bytes) -> tuple[wire.Json, bytes, PublicKey]:
    """Params, salt and reply key. Raises `SealError`."""
    body = Fields.parse(plaintext, "the sealed body", SealError)
    real, salt = body.mapping("params"), body.hex("paramsSalt", 32)
    reply_key = body.base64("replyKey", maximum=PUBLIC_SIZE)
    body.done()
    return real, salt, PublicKey(reply_key)


def open_reply(header: CallHeader, result: wire.Json, reply_key: SealingKey) -> wire.Json:
    """The sealed `{"result": ...}` or `{"error": ...}`; raises `SealError`: `unsealed`, `malformed`, `seal`."""
    sealed = wire.meta_of(result, wire.SEALED)
    if not isinstance(sealed, str):
        raise SealError("unsealed", "the reply to a sealed call came unsealed")
    outer = Fields({"sealed": sealed}, "the sealed reply", SealError)
    plaintext = reply_key.open(label(REPLY, header.bytes()), outer.base64("sealed", maximum=MAX_SEALED))
    reply = Fields.parse(plaintext, "the sealed reply", SealError)
    name = "error" if (error := reply.optional("error")) is not None else "result"
    value = error if name == "error" else reply.mapping("result")
    reply.done()
    if not isinstance(value, dict):
        raise SealError("malformed", "the sealed reply is neither result nor error")
    return {name: cast(wire.Json, value)}


def open_progress(header: CallHeader, number: int, params: wire.Json, reply_key: SealingKey) -> wire.Json:
    """What the `number`th progress message of a call says: `progress`, and `total` and `message` if it has them.

    Raises `SealError`: `malformed`; `seal` for one of another call or in another place.
    """
    outer = Fields({"sealed": wire.meta_of(params, wire.SEALED)}, "the sealed progress", SealError)
    sealed = outer.base64("sealed", maximum=MAX_SEALED)
    told = reply_key.open(label(PROGRESS, header.bytes(), number), sealed)
    fields = Fields.parse(told, "the sealed progress", SealError)
    numbers = {"progress": fields.take("progress"), "total": fields.optional("total")}
    message = fields.optional("message")
    fields.done()
    known: wire.Json = {name: value for name, value in numbers.items() if type(value) in (int, float)}
    if "progress" not in known:
        raise SealError("malformed", "the sealed progress has no number")
    return known | ({"message": message} if isinstance(message, str) else {})


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
