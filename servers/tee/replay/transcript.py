"""A call's host calls beside its result, so that it can run again without them.

They travel in the result's `_meta` under a name of our own that is not below `com.etmcp/`: so the receipt's result
digest covers them, and they pass a gateway with the result that was verified. The receipt shows none of them.
"""

from typing import Any, cast

from attest.canonical import canonical
from servers.tee.sandbox import Exchange

TRANSCRIPT = "com.etmcp.tee/transcript"
MOST = 1 << 20
"""Bytes of it, as JSON in UTF-8, that travel; of a larger one its size alone, and the call cannot be repeated."""
_MEMBERS = {"name": str, "request": str, "response": str, "ok": bool}


def carried(transcript: tuple[Exchange, ...]) -> dict[str, Any] | None:
    """The `_meta` of a result for these host calls; None where there were none."""
    if not transcript:
        return None
    entries = [dict(vars(exchange)) for exchange in transcript]
    size = len(canonical(entries))
    return {TRANSCRIPT: entries if size <= MOST else {"bytes": size}}


def read(result: dict[str, Any]) -> tuple[Exchange, ...]:
    """The host calls that a result carries. Raises `ValueError` if they are not in `carried`'s form."""
    meta = result.get("_meta")
    entries: Any = cast(dict[str, Any], meta).get(TRANSCRIPT, []) if isinstance(meta, dict) else []
    if isinstance(entries, dict):
        raise ValueError(f"what its host answered was larger than the {MOST} bytes that travel with a result")
    if not isinstance(entries, list):
        raise ValueError("its transcript is not a list")
    return tuple(_exchange(entry) for entry in cast(list[Any], entries))


def _exchange(entry: Any) -> Exchange:
    members = cast(dict[str, Any], entry) if isinstance(entry, dict) else {}
    if members.keys() != _MEMBERS.keys() or any(type(members[name]) is not kind for name, kind in _MEMBERS.items()):
        raise ValueError("a host call in its transcript has not the members name, request, response and ok")
    return Exchange(**members)
