"""What each public input of a circuit is: how a verifier computes it from the registry and the call.

A list of objects, each one public input or several in a row (WIRE.md, "Proven programs"):

    {"constant": "173..."}                                             registered with the program
    {"call": true}                                                     the call id (`CallFacts.field_element`)
    {"value": "/result/y", "count": 4, "range": [-9000, 9000]}         integers of the call; without count a single one
    {"commitment": "/arguments/x", "count": 16, "bits": 15, "salt": "/arguments/salt", "tag": 2}
    {"given": "nullifier", "range": [0, 1000]}                         the prover's own; without range any below r

Nothing but `given` is ever taken from the prover. Numbers beyond 2^53 are JSON integers all the same, or decimal text
for constants. A salt is 16 bytes in lower-case hex.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from attest.encoding import Fields
from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import number
from attest.groth16.field import R
from attest.groth16.key import MAX_INPUTS
from attest.poseidon import poseidon

MAX_COMMITTED = 1024
MAX_COMMITTED_BITS = 16_384
"""Of all commitments of a program: they are hashed in Python, whoever asks for it."""
SALT_BITS = 128
_FIELD_BITS = 253  # of any value: they fit into a field element
_BLOCK = 11
_HALF = R >> 1


class Signal(Protocol):
    """One public input, or several in a row."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    @property
    def covers(self) -> tuple[str, ...]:
        """What of the call it binds: "call", or JSON pointers into its arguments and result."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """What of the call its values are computed from: JSON pointers, those of salts too."""
        ...

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:
        """The public inputs. Raises `EvidenceError`: `binding` where the call does not give them, or `malformed`."""
        ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """A number of the registered program, such as the commitment to its model."""

    value: int
    size: int = 1
    covers: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:  # noqa: ARG002
        return [self.value]

    def to_json(self) -> dict[str, Any]:
        return {"constant": str(self.value)}


@dataclass(frozen=True, slots=True)
class Call:
    """The call that the proof was made for."""

    size: int = 1
    covers: tuple[str, ...] = ("call",)
    reads: tuple[str, ...] = ()

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:  # noqa: ARG002
        return [_needed(facts).field_element()]

    def to_json(self) -> dict[str, Any]:
        return {"call": True}


@dataclass(frozen=True, slots=True)
class Value:
    """Integers of the call, a negative n as r - |n|. With `count` the path leads to a list of exactly so many."""

    path: str
    low: int
    high: int
    count: int | None = None

    @property
    def size(self) -> int:
        return self.count or 1

    @property
    def covers(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.path,)

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:  # noqa: ARG002
        found = _needed(facts).at(self.path)
        told = [found] if self.count is None else _listed(found, self.count, self.path)
        return [_ranged(value, self.low, self.high, self.path) % R for value in told]

    def to_json(self) -> dict[str, Any]:
        count = {} if self.count is None else {"count": self.count}
        return {"value": self.path, **count, "range": [self.low, self.high]}


@dataclass(frozen=True, slots=True)
class Commitment:
    """A salted Poseidon chain over `count` signed integers of so many bits (`committed`)."""

    path: str
    count: int
    bits: int
    salt: str
    tag: int
    size: int = 1

    @property
    def covers(self) -> tuple[str, ...]:
        return (self.path,)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.path, self.salt)

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:  # noqa: ARG002
        facts = _needed(facts)
        half = 1 << self.bits - 1
        found = _listed(facts.at(self.path), self.count, self.path)
        told = [_ranged(value, -half, half - 1, self.path) for value in found]
        salt = Fields({"salt": facts.at(self.salt)}, "what is committed to", EvidenceError).hex("salt", SALT_BITS // 8)
        return [committed(told, self.bits, int.from_bytes(salt, "big"), self.tag)]

    def to_json(self) -> dict[str, Any]:
        told = {"commitment": self.path, "count": self.count, "bits": self.bits}
        return told | {"salt": self.salt, "tag": self.tag}


@dataclass(frozen=True, slots=True)
class Given:
    """The prover's own: says something to whoever knows what it means, and of this call nothing."""

    name: str
    low: int = 0
    high: int = R - 1
    size: int = 1
    covers: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:  # noqa: ARG002
        value = next(given, None)
        if value is None:
            raise EvidenceError("malformed", f"the proof brings no {self.name[:80]!a}")
        if not 0 <= value < R:
            raise EvidenceError("malformed", f"{self.name[:80]!a} is not canonical (>= r, or negative)")
        if not self.low <= value <= self.high:
            raise EvidenceError("malformed", f"{self.name[:80]!a} is outside its declared range")
        return [value]

    def to_json(self) -> dict[str, Any]:
        bounds = {} if (self.low, self.high) == (0, R - 1) else {"range": [self.low, self.high]}
        return {"given": self.name, **bounds}


def committed(numbers: Sequence[int], bits: int, salt: int, tag: int) -> int:
    """The commitment to signed integers of `bits` bits under a salt of 128 bits; `tag` tells its purpose.

    Each number plus 2^(bits-1), the first one lowest, is cut into elements of 253 bits; each 11 of them are hashed
    behind the hash before, the first behind salt + 2^128 tag.
    """
    whole = sum((value + (1 << bits - 1)) << bits * place for place, value in enumerate(numbers))
    mask = (1 << _FIELD_BITS) - 1
    elements = [whole >> start & mask for start in range(0, bits * len(numbers), _FIELD_BITS)]
    value = salt + (tag << SALT_BITS)
    for start in range(0, len(elements), _BLOCK):
        value = poseidon([value, *elements[start : start + _BLOCK]])
    return value


def load_signals(told: list[Any]) -> tuple[Signal, ...]:
    """Read the list above; raises `EvidenceError("malformed")`."""
    if len(told) > MAX_INPUTS:
        raise EvidenceError("malformed", f"a program has at most {MAX_INPUTS} public inputs")
    signals = tuple(_load(value) for value in told)
    if sum(signal.size for signal in signals) > MAX_INPUTS:
        raise EvidenceError("malformed", f"a program has at most {MAX_INPUTS} public inputs")
    if sum(signal.count * signal.bits for signal in signals if isinstance(signal, Commitment)) > MAX_COMMITTED_BITS:
        raise EvidenceError("malformed", f"a program commits to at most {MAX_COMMITTED_BITS} bits")
    return signals


def _load(told: Any) -> Signal:
    fields = Fields(told, "a public input", EvidenceError)
    match cast(dict[str, Any], told):
        case {"constant": _}:
            signal: Signal = Constant(_below_order(fields.text("constant", maximum=80)))
        case {"call": True}:
            fields.take("call")
            signal = Call()
        case {"value": _}:
            path, count = _path(fields, "value"), None
            if "count" in told:
                count = _between(fields.integer("count"), 1, MAX_INPUTS)
            signal = Value(path, *_bounds(fields.list("range"), -_HALF, _HALF), count)
        case {"commitment": _}:
            path, count = _path(fields, "commitment"), _between(fields.integer("count"), 1, MAX_COMMITTED)
            bits = _between(fields.integer("bits"), 1, 64)
            signal = Commitment(path, count, bits, _path(fields, "salt"), _between(fields.integer("tag"), 0, 255))
        case {"given": _}:
            name = fields.text("given", maximum=80)
            signal = Given(name, *_bounds(fields.list("range"), 0, R - 1)) if "range" in told else Given(name)
        case _:
            raise EvidenceError("malformed", "a public input needs constant, call, value, commitment or given")
    fields.done()
    return signal


def _needed(facts: CallFacts | None) -> CallFacts:
    if facts is None:
        raise EvidenceError("binding", "the program proves something of a call, and no call was named")
    return facts


def _listed(value: Any, count: int, path: str) -> list[Any]:
    if not isinstance(value, list) or len(cast(list[Any], value)) != count:
        raise EvidenceError("binding", f"{path[:80]!a} of the call is no list of {count}")
    return cast(list[Any], value)


def _ranged(value: Any, low: int, high: int, path: str) -> int:
    if type(value) is not int or not low <= value <= high:
        raise EvidenceError("binding", f"{path[:80]!a} of the call is no integer in its declared range")
    return value


def _path(fields: Fields, name: str) -> str:
    path = fields.text(name, maximum=200)
    if path.split("/")[:1] != [""] or path.split("/")[1:2] not in (["arguments"], ["result"]):
        raise EvidenceError("malformed", f"{name} is no JSON pointer that begins with /arguments or /result")
    return path


def _bounds(told: list[Any], low: int, high: int) -> tuple[int, int]:
    match told:
        case [int(least), int(most)] if low <= least <= most <= high and bool not in map(type, told):
            return least, most
        case _:
            raise EvidenceError("malformed", "a range needs two integers in order, in the field")


def _between(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise EvidenceError("malformed", f"a public input's parameter is not from {low} to {high}")
    return value


def _below_order(text: str) -> int:
    if (value := number(text)) >= R:
        raise EvidenceError("malformed", "a constant is not canonical (>= r)")
    return value
