"""Poseidon over BN254's scalar field, as circom and light-poseidon compute it: the hash that a circuit can afford.

The constants are not a table: they come out of the Grain LFSR of the paper (Grassi and others, USENIX Security 2021,
supplementary material F), so that nobody has to trust ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""The order of BN254's groups: field elements are integers from 0 to R - 1."""
FULL = 8
"""Rounds in which every element goes through the S-box, x to the fifth."""
PARTIAL = (56, 57, 56, 60, 60, 63, 64, 63, 60, 66, 60, 65)
"""Rounds in which only the first does, for 1 to 12 inputs (circom's choice)."""
_BITS = 254


@dataclass(frozen=True, slots=True)
class Parameters:
    """Of one width: `constants` has a row a round, `matrix` is the MDS matrix by rows."""

    partial: int
    constants: tuple[tuple[int, ...], ...]
    matrix: tuple[tuple[int, ...], ...]


@cache
def parameters(inputs: int) -> Parameters:
    """For 1 to 12 inputs; raises `ValueError` for another number."""
    if not 1 <= inputs <= len(PARTIAL):
        raise ValueError(f"Poseidon takes 1 to {len(PARTIAL)} inputs, not {inputs}")
    width, partial = inputs + 1, PARTIAL[inputs - 1]
    numbers = _grain(width, partial)

    def below_order() -> int:
        while (value := next(numbers)) >= R:
            pass
        return value

    constants = tuple(tuple(below_order() for _ in range(width)) for _ in range(FULL + partial))
    drawn = [next(numbers) % R for _ in range(2 * width)]
    matrix = tuple(tuple(pow(x + y, -1, R) for y in drawn[width:]) for x in drawn[:width])
    return Parameters(partial, constants, matrix)


def poseidon(inputs: Sequence[int]) -> int:
    """The hash of 1 to 12 field elements; raises `ValueError` for another number, or for what is none."""
    if not all(0 <= value < R for value in inputs):
        raise ValueError("a field element is an integer from 0 to R - 1")
    known = parameters(len(inputs))
    state = [0, *inputs]
    for number, constants in enumerate(known.constants):
        state = [(value + constant) % R for value, constant in zip(state, constants, strict=True)]
        for place in range(len(state) if is_full(number, known.partial) else 1):
            state[place] = pow(state[place], 5, R)
        state = [sum(map(int.__mul__, row, state)) % R for row in known.matrix]
    return state[0]


def is_full(number: int, partial: int) -> bool:
    """Whether the round of this number, from 0, is a full one."""
    return not FULL // 2 <= number < FULL // 2 + partial


def _grain(width: int, partial: int) -> Iterator[int]:
    """Numbers of 254 bits from the self-shrinking generator, seeded with the instance."""
    fields = ((1, 2), (0, 4), (_BITS, 12), (width, 12), (FULL, 10), (partial, 10), ((1 << 30) - 1, 30))
    bits = [value >> place & 1 for value, size in fields for place in reversed(range(size))]

    def step() -> int:
        bits.append(bits[62] ^ bits[51] ^ bits[38] ^ bits[23] ^ bits[13] ^ bits[0])
        del bits[0]
        return bits[-1]

    for _ in range(160):
        step()
    while True:
        number, taken = 0, 0
        while taken < _BITS:
            chosen, bit = step(), step()
            if chosen:
                number, taken = number << 1 | bit, taken + 1
        yield number
