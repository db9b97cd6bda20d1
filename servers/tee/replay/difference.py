"""The first difference of two JSON values, in words."""

import json
from collections.abc import Iterator
from typing import Any, cast

_SHOWN = 120
_ABSENT: Any = object()


def difference(recorded: Any, now: Any, where: str) -> str | None:
    """None where both are the same JSON; else the path of the first difference, and both values there."""
    if (isinstance(recorded, dict) and isinstance(now, dict)) or (isinstance(recorded, list) and isinstance(now, list)):
        found = (difference(left, right, f"{where}{step}") for step, left, right in _pairs(recorded, now))
        return next((each for each in found if each is not None), None)
    if type(recorded) is type(now) and recorded == now:
        return None
    return f"{where}: recorded {_shown(recorded, now)}, now {_shown(now, recorded)}"


def _pairs(recorded: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """The members or elements of both, each beside the other's."""
    if isinstance(recorded, dict):
        members, others = cast(dict[str, Any], recorded), cast(dict[str, Any], now)
        for name in sorted(members.keys() | others.keys()):
            yield f".{name}", members.get(name, _ABSENT), others.get(name, _ABSENT)
        return
    left, right = cast(list[Any], recorded), cast(list[Any], now)
    for index in range(max(len(left), len(right))):
        yield f"[{index}]", *(side[index] if index < len(side) else _ABSENT for side in (left, right))


def _shown(value: Any, other: Any) -> str:
    """The value, a text from shortly before where it differs, cut short."""
    if value is _ABSENT:
        return "nothing"
    if not (isinstance(value, str) and isinstance(other, str)):
        text = json.dumps(cast(Any, value))
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    pairs = enumerate(zip(value, other, strict=False))
    first = next((index for index, (a, b) in pairs if a != b), min(len(value), len(other)))
    start = max(0, first - 20)
    part = json.dumps(value[start : start + _SHOWN])
    return f"(from character {start}) {part}" if start else part
