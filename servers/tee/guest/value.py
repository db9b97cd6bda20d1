"""From what a program returned to JSON, or a message that says what cannot go and where."""

import json
import math
from typing import Any

_HINTS = {
    "bytes": "decode it or base64-encode it",
    "bytearray": "decode it or base64-encode it",
    "complex": "return its parts",
    "Decimal": "use str() or float()",
    "Fraction": "use str() or float()",
    "date": "use .isoformat()",
    "datetime": "use .isoformat()",
    "frozenset": "use sorted()",
    "generator": "use list()",
    "set": "use sorted()",
}
_ARRAY = (list, tuple)
_NESTED = (dict, list, tuple)
_MAX_DIGITS = 4300  # Python's own limit on turning integers to text


class OutputError(Exception):
    """The value is not JSON, or beyond a limit."""


def to_json(value: Any, max_bytes: int, max_depth: int) -> str:
    """Compact JSON of `value`, at most `max_bytes` of UTF-8; tuples become arrays. Raises `OutputError`."""
    text = json.dumps(_Plain(max_bytes, max_depth).of(value, None, 0), ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size > max_bytes:
        raise OutputError(f"the result is {size} bytes of JSON; the limit is {max_bytes}")
    return text


_Path = tuple["_Path", str | int] | None
"""Where a value is: its parent's path and its name there. Spelled out only for an error."""


def _spell(path: _Path) -> str:
    steps: list[str] = []
    while path is not None:
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:40]}")
    text = "$" + "".join(reversed(steps))
    return text if len(text) <= 200 else f"{text[:100]}...{text[-97:]}"


class _Plain:
    """A copy made of the plain types only. Counts as it goes: shared parts can make a small value huge."""

    def __init__(self, max_bytes: int, max_depth: int) -> None:
        self._left = self._max = max_bytes
        self._depth = max_depth

    def of(self, value: Any, path: _Path, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            self._spend(4)
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            if value.bit_length() > _MAX_DIGITS * 3.3:
                raise OutputError(
                    f"the integer at {_spell(path)} has more than {_MAX_DIGITS} digits: return it as text"
                )
            self._spend(1)
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise OutputError(f"{float(value)} at {_spell(path)} is not JSON: use None or text")
            self._spend(1)
            return float(value)
        if depth >= self._depth and isinstance(value, _NESTED):
            raise OutputError(f"the result is nested deeper than {self._depth} levels at {_spell(path)}")
        if isinstance(value, dict):
            return self._object(value, path, depth)
        if isinstance(value, _ARRAY):
            self._spend(2)
            return [self.of(item, (path, index), depth + 1) for index, item in enumerate(value)]
        name = type(value).__name__
        raise OutputError(
            f"the {name} at {_spell(path)} is not JSON: {_HINTS.get(name, 'return text, numbers, lists, dicts')}"
        )

    def _object(self, value: dict[Any, Any], path: _Path, depth: int) -> dict[str, Any]:
        self._spend(2)
        members: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise OutputError(
                    f"the key {str(key)[:40]} ({type(key).__name__}) at {_spell(path)} is not text: use str()"
                )
            name = self._text(key, path)
            if name in members:
                raise OutputError(f"the key {name[:40]!r} is twice in the object at {_spell(path)}")
            members[name] = self.of(item, (path, name), depth + 1)
        return members

    def _text(self, value: str, path: _Path) -> str:
        self._spend(2 + len(value))
        text = str.__str__(value)  # a subclass may say anything in __str__
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise OutputError(
                    f"the text at {_spell(path)} holds half of a surrogate pair, which is not JSON"
                ) from None
        return text

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise OutputError(f"the result is more than {self._max} bytes of JSON, the limit")
