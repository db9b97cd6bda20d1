"""Says in words how one definition differs from another. Everything a terminal or reader could miss is spelled out."""

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, cast

from attest import wire
from attest.errors import EvidenceError
from attest.proven import program_of
from gateway.letters import skeleton, visible

MISSING: Any = object()
LONG, AROUND = 200, 40


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
        before, after = _told_apart(old, new)
        yield f"{visible(where)} was {before} and is now {after}"


def quoted(value: Any) -> str:
    """A value as one visible line, whole: nobody should approve what they were not shown."""
    return f'"{visible(_text(value))}"'


def readable(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition without the points of a verifying key, which nobody can read: its identity is their digest. What
    stands beside them in the key is in no digest, and stays."""
    try:
        program = program_of(definition)
    except EvidenceError:
        return definition
    if program is None or program.key is None:
        return definition
    told = dict(definition["_meta"][wire.PROGRAM])
    points = program.key.to_snarkjs().keys()
    if beside := {name: value for name, value in told.pop("verifyingKey").items() if name not in points}:
        told["verifyingKey"] = beside
    return definition | {"_meta": definition["_meta"] | {wire.PROGRAM: told}}


def _told_apart(old: Any, new: Any) -> tuple[str, str]:
    """Both as visible lines: of long texts the part that differs, and look-alikes spelled in ASCII."""
    texts = (_text(old), _text(new)) if _text(old) != _text(new) else (json.dumps(old), json.dumps(new))
    first = _shared(*texts)
    last = _shared(*(text[first:][::-1] for text in texts))
    alike = skeleton(texts[0]) == skeleton(texts[1])
    shown: list[str] = []
    for text in texts:
        start, end = (max(0, first - AROUND), len(text) - max(0, last - AROUND)) if len(text) > LONG else (0, len(text))
        part = visible(text[start:end], ascii_only=alike)
        cut = f" (characters {start + 1} to {end} of {len(text)})" if end - start < len(text) else ""
        shown.append(f'"{"…" if start else ""}{part}{"…" if end < len(text) else ""}"{cut}')
    return shown[0], shown[1]


def _shared(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
