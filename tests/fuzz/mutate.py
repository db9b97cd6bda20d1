"""Spoils a sample: bytes anywhere, lengths, slices, JSON by its structure, and what is inside base64 as well."""

import base64
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
VALUES: list[Any] = [None, True, 0, -1, 2**53, 2**256, 1.5, "", "A", "00", "\ud800", [0], {"": 0}, [[0]], "9" * 400]


def mutated(sample: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """One to four changes of `sample`; parts may come from `others`."""
    data = sample
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_WAYS)(data, others, rng)
    return data[: 1 << 20]


def _flip(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    if not data:
        return b"\0"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _number(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    size, at = rng.choice((1, 2, 4)), rng.randrange(len(data) + 1)
    number = rng.choice(NUMBERS) % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _cut(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randint(1, 40) :]


def _repeat(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at : at + rng.randint(1, 600)] * rng.randint(2, 4) + data[at:]


def _splice(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    other = rng.choice(others) if others else data
    start, at = rng.randrange(len(other) + 1), rng.randrange(len(data) + 1)
    part = other[start : start + rng.randint(1, 400)]
    return data[:at] + part + data[at + len(part) :]


def _json(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(data, others, rng)
    return json.dumps(_node(value, others, rng), separators=(",", ":")).encode("utf-8", "surrogatepass")


def _node(value: Any, others: Sequence[bytes], rng: Random) -> Any:
    """The value with one node changed, somewhere below it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        members = cast(dict[str, Any], value)
        name = rng.choice(list(members))
        if rng.random() < 0.1:
            return {other: members[other] for other in members if other != name} | {
                rng.choice(("", "x", name + "x")): 1
            }
        return members | {name: _node(members[name], others, rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        items = cast(list[Any], value)
        at = rng.randrange(len(items))
        return [*items[:at], _node(items[at], others, rng), *items[at + rng.randint(0, 1) :]]
    if isinstance(value, str) and value and rng.random() < 0.8:
        try:
            inside = base64.b64decode(value, validate=True)
        except ValueError:
            return rng.choice((value[:-1], value + value[-1], value.swapcase(), "0" * len(value)))
        return base64.b64encode(mutated(inside, others, rng)).decode()
    return rng.choice(VALUES)


_WAYS: tuple[Callable[[bytes, Sequence[bytes], Random], bytes], ...] = (
    *(_flip, _flip, _number, _cut, _drop, _repeat, _splice),
    *(_json, _json, _json),
)
