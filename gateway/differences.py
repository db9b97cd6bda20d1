"""Says in words how one definition differs from another. Everything a terminal or reader could miss is spelled out."""

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, cast

MISSING: Any = object()


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield one sentence a difference, depth first, in the order of the keys."""
    if isinstance(old, dict) and isinstance(new, dict):
        left, right = cast(dict[str, Any], old), cast(dict[str, Any], new)
        for key in sorted(left.keys() | right.keys()):
            yield from differences(left.get(key, MISSING), right.get(key, MISSING), f"{where}.{key}" if where else key)
    elif isinstance(old, list) and isinstance(new, list):
        before, after = cast("list[Any]", old), cast("list[Any]", new)
        for index, (a, b) in enumerate(zip_longest(before, after, fillvalue=MISSING)):
            yield from differences(a, b, f"{where}[{index}]")
    elif old is MISSING:
        yield f"{visible(where)} was added: {quoted(new)}"
    elif new is MISSING:
        yield f"{visible(where)} was removed; it was {quoted(old)}"
    elif json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):  # True is 1 to ==, and not to a reader
        yield f"{visible(where)} was {quoted(old)} and is now {quoted(new)}"


def quoted(value: Any) -> str:
    """A value as one visible line of at most 400 characters."""
    text = visible(value if isinstance(value, str) else json.dumps(value))
    return f'"{text[:400]}…" ({len(text)} characters)' if len(text) > 400 else f'"{text}"'


def visible(text: str) -> str:
    """Escape control, zero-width, tag and direction characters."""
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)
