"""The order in which others write a point's numbers. Three are in use, and nothing in the numbers tells which.

EVM (EIP-197, RISC Zero's constants) puts the imaginary part first; snarkjs and arkworks the real part; gnark's Solidity
export the real part, of the negated point.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from attest.errors import EvidenceError
from attest.groth16.field import P
from attest.groth16.points import G1, G2, AtInfinity

WORD = 32
PROOF_SIZE = 8 * WORD
_NUMBER = re.compile(r"0|[1-9][0-9]{0,77}|0[xX][0-9a-fA-F]{1,64}")


@dataclass(frozen=True, slots=True)
class Convention:
    """How one family writes a point of G2."""

    imaginary_first: bool = False
    negated: bool = False

    def g2(self, words: Sequence[int]) -> G2:
        """The point of these four numbers, x before y. Raises `EvidenceError("malformed")`."""
        a, b, c, d = words
        x, y = ((b, a), (d, c)) if self.imaginary_first else ((a, b), (c, d))
        if self.negated and all(0 <= part < P for part in y):
            y = (-y[0] % P, -y[1] % P)
        return G2(x, y)


EVM = Convention(imaginary_first=True)
SNARKJS = Convention()
GNARK_NEGATED = Convention(negated=True)


@dataclass(frozen=True, slots=True)
class Points:
    """A Groth16 proof."""

    a: G1
    b: G2
    c: G1

    @classmethod
    def from_evm(cls, data: bytes) -> "Points":
        """The 256 bytes that EVM contracts take. Raises `EvidenceError("malformed")`."""
        if len(data) != PROOF_SIZE:
            raise EvidenceError("malformed", f"a Groth16 proof has {PROOF_SIZE} bytes, not {len(data)}")
        return cls.from_words([int.from_bytes(data[at : at + WORD], "big") for at in range(0, PROOF_SIZE, WORD)])

    @classmethod
    def from_words(cls, words: Sequence[int]) -> "Points":
        """Those bytes as eight numbers, as Semaphore packs them. Raises `EvidenceError("malformed")`."""
        return cls(G1(*words[:2]), EVM.g2(words[2:6]), G1(*words[6:8]))

    def to_evm(self) -> bytes:
        """What `from_evm` reads."""
        numbers = (self.a.x, self.a.y, *self.b.x[::-1], *self.b.y[::-1], self.c.x, self.c.y)
        return b"".join(number.to_bytes(WORD, "big") for number in numbers)

    @classmethod
    def from_snarkjs(cls, value: Any) -> "Points":
        """snarkjs' `proof.json`. Raises `EvidenceError`: `malformed`, `unsupported`."""
        members = snarkjs_object(value, "the proof", {"pi_a", "pi_b", "pi_c"})
        return cls(g1(members["pi_a"]), g2(members["pi_b"]), g1(members["pi_c"]))


def snarkjs_object(value: Any, what: str, needed: set[str]) -> Mapping[str, Any]:
    """An object of snarkjs'. Raises `EvidenceError`: `malformed`, or `unsupported` for one that says another protocol
    or curve, whose members are others too."""
    members = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    curve = members.get("curve", "bn128")
    if members.get("protocol", "groth16") != "groth16" or str(curve).lower() not in ("bn128", "bn254"):
        raise EvidenceError("unsupported", f"{what} is not of Groth16 over bn128")
    if not needed <= members.keys():
        raise EvidenceError("malformed", f"{what} is no object with {', '.join(sorted(needed))}")
    return members


def number(value: Any) -> int:
    """A non-negative integer: of JSON, or as decimal or 0x text. Raises `EvidenceError("malformed")`."""
    if type(value) is int and 0 <= value < 1 << 260:
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value, 16 if value[1:2] in ("x", "X") else 10)
    raise EvidenceError("malformed", "a number is negative, too long or none")


def numbers(value: Any, count: int) -> list[int]:
    """A list of so many. Raises `EvidenceError("malformed")`."""
    if not isinstance(value, list) or len(cast(list[Any], value)) != count:
        raise EvidenceError("malformed", f"a list of {count} is none, or of another length")
    return [number(item) for item in cast(list[Any], value)]


def g1(value: Any) -> G1:
    """`[x, y, "1"]`, or without the last."""
    x, y = _affine(value, [1], lambda part: [number(part)])
    return G1(x[0], y[0])


def g2(value: Any) -> G2:
    """`[[x0, x1], [y0, y1], ["1", "0"]]`, or without the last."""
    x, y = _affine(value, [1, 0], lambda part: numbers(part, 2))
    return SNARKJS.g2([*x, *y])


def _affine(value: Any, one: list[int], read: Callable[[Any], list[int]]) -> tuple[list[int], list[int]]:
    parts = list(cast(list[Any], value)) if isinstance(value, list) else []
    if len(parts) == 3:
        last = read(parts.pop())
        if not any(last):
            raise AtInfinity("a point")
        if last != one:
            raise EvidenceError("malformed", "a point is projective: its last coordinate is not 1")
    if len(parts) != 2:
        raise EvidenceError("malformed", "a point is not two coordinates, and perhaps 1")
    return read(parts[0]), read(parts[1])
