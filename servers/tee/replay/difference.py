"""The first difference of two JSON values, in words."""

import json
from collections.abc import Iterator
from typing import Any, cast

_SHOWN = 120
_ABSENT: Any = object()


def difference(recorded: Any, now: Any, where: str) -> str | None:
    """None where both are the same JSON; else the path of the first difference, and both values there."""
    if type(recorded) is type(now) and isinstance(now, dict | list):
        pairs = _members(recorded, cast(Any, now)) if isinstance(now, dict) else _elements(recorded, cast(Any, now))
        found = (difference(left, right, f"{where}{step}") for step, left, right in pairs)
        return next((each for each in found if each is not None), None)
    if type(recorded) is type(now) and recorded == now:
        return None
    return f"{where}: recorded {_shown(recorded, now)}, now {_shown(now, recorded)}"


def _members(recorded: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(recorded.keys() | now.keys()):
        yield f".{name}", recorded.get(name, _ABSENT), now.get(name, _ABSENT)


def _elements(recorded: list[Any], now: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    for index in range(max(len(recorded), len(now))):
        yield f"[{index}]", _at(recorded, index), _at(now, index)


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def _shown(value: Any, other: Any) -> str:
    """The value, a text from shortly before where it differs, cut short."""
    if value is _ABSENT:
        return "nothing"
    if not (isinstance(value, str) and isinstance(other, str)):
        text = json.dumps(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    pairs = enumerate(zip(value, other, strict=False))
    first = next((index for index, (a, b) in pairs if a != b), min(len(value), len(other)))
    start = max(0, first - 20)
    part = json.dumps(value[start : start + _SHOWN])
    return f"(from character {start}) {part}" if start else part
