"""What both transports do to a message: number it, write it, read it strictly, put the caller's own ids back."""

import json
from collections.abc import Mapping
from typing import Any, cast

from mcp_types import LOG_LEVEL_META_KEY

from attest.canonical import parse
from gateway.upstream import Json

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
JUNK = frozenset({"not-json", "not-utf8"})
"""Codes of `CanonicalError` for what is no JSON at all; the others are JSON without one meaning."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Return one line of JSON. Raises ValueError on NaN and on integers beyond Python's digit limit."""
    return json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def decode(data: bytes) -> Json | None:
    """Return the JSON-RPC message in `data`, None if it is JSON but no such message. Raises `CanonicalError`."""
    value = parse(data)
    if not isinstance(value, dict):
        return None
    message = cast(Json, value)
    return message if isinstance(message.get("method"), str) or "result" in message or "error" in message else None


def is_response(message: Json) -> bool:
    """Tell a response from a request or notification."""
    return "method" not in message


def number(value: object) -> int | None:
    """Return an id of ours as an int: some servers echo it as a string."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)
    return value if type(value) is int else None


def claimed_id(data: bytes) -> int | None:
    """Return the id of a response too ambiguous to be read otherwise, None if even that is open."""

    def members(pairs: list[tuple[str, Any]]) -> Json:
        return {k: v for k, v in pairs if k != "id" or sum(name == "id" for name, _ in pairs) == 1}

    def integer(digits: str) -> int | None:
        return int(digits) if len(digits) < 20 else None  # an id of ours is short, and a very long one cannot be read

    try:
        message = json.loads(data.decode("utf-8"), object_pairs_hook=members, parse_int=integer)
    except (ValueError, RecursionError):
        return None
    return number(cast(Json, message).get("id")) if isinstance(message, dict) and "method" not in message else None


def _with_meta(message: Json, part: str, changes: Json) -> Json:
    """Return a copy of `message` whose `message[part]["_meta"]` is updated."""
    inner: Json = message[part]
    return message | {part: inner | {"_meta": inner["_meta"] | changes}}


def _meta(message: Json, part: str) -> Json:
    inner = message.get(part)
    meta = cast(Json, inner).get("_meta") if isinstance(inner, dict) else None
    return cast(Json, meta) if isinstance(meta, dict) else {}


class Numbered:
    """One request under a number of ours, which serves as its id and progress token on the wire. Immutable."""

    def __init__(self, message: Json, as_number: int) -> None:
        self.number = as_number
        self.method: str = message["method"]
        self._caller_id = message.get("id", as_number)
        self._token = _meta(message, "params").get("progressToken")
        if self._token is not None:
            message = _with_meta(message, "params", {"progressToken": as_number})
        self.wire: Json = {"jsonrpc": "2.0"} | message | {"id": as_number}

    def restore(self, message: Json) -> Json:
        """Return a notification or response about this request as its caller must see it."""
        part = "params" if "method" in message else "result"
        if number(_meta(message, part).get(SUBSCRIPTION_ID)) == self.number:
            message = _with_meta(message, part, {SUBSCRIPTION_ID: self._caller_id})
        if message.get("method") == "notifications/progress" and self._token is not None:
            if isinstance(told := message.get("params"), dict):
                message = message | {"params": cast(Json, told) | {"progressToken": self._token}}
        elif message.get("method") == "notifications/cancelled" and owner(message) == self.number:
            message = message | {"params": message["params"] | {"requestId": self._caller_id}}
        return message

    def cancelled(self, reason: str) -> Json:
        """Return the notification that cancels this request."""
        params = {"requestId": self.number, "reason": reason}
        return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}

    @property
    def wants_logs(self) -> bool:
        """Whether its client asked for log messages (2026-07-28: on each request)."""
        return LOG_LEVEL_META_KEY in _meta(self.wire, "params")

    @property
    def cancellable(self) -> bool:
        """Whether the protocol lets us cancel it: a handshake must not be, and some servers choke on it."""
        return self.method not in ("initialize", "server/discover")


def owner(notification: Json) -> int | None:
    """Return the number of the request that a notification is about, None if it is about none."""
    params = notification.get("params")
    if not isinstance(params, dict):
        return None
    match notification["method"]:
        case "notifications/progress":
            return number(cast(Json, params).get("progressToken"))
        case "notifications/cancelled":
            return number(cast(Json, params).get("requestId"))
        case _:
            return number(_meta(notification, "params").get(SUBSCRIPTION_ID))
