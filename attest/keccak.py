"""Keccak-256 as Ethereum uses it: the padding of the original submission, which hashlib's SHA-3 has not."""

from itertools import product

_LANES, _RATE, _MASK = 25, 136, (1 << 64) - 1


def _offsets() -> list[int]:
    offsets, x, y = [0] * _LANES, 1, 0
    for step in range(24):
        offsets[x + 5 * y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return offsets


def _round_constants() -> list[int]:
    constants, register = list[int](), 1
    for _ in range(24):
        constant = 0
        for place in range(7):
            if register & 1:
                constant |= 1 << (1 << place) - 1
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


_OFFSETS, _CONSTANTS = _offsets(), _round_constants()


def keccak256(data: bytes) -> bytes:
    """The 32-byte hash (FIPS 202's permutation, rate 1088, padding 0x01 ... 0x80)."""
    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % _RATE))
    padded[-1] |= 0x80
    state = [0] * _LANES
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            state[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        state = _permuted(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permuted(state: list[int]) -> list[int]:
    for constant in _CONSTANTS:
        columns = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
        mixed = [columns[x - 1] ^ _rotated(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * _LANES
        for x, y in product(range(5), range(5)):
            moved[y + 5 * ((2 * x + 3 * y) % 5)] = _rotated(state[x + 5 * y] ^ mixed[x], _OFFSETS[x + 5 * y])
        state = [
            moved[x + 5 * y] ^ (~moved[(x + 1) % 5 + 5 * y] & _MASK & moved[(x + 2) % 5 + 5 * y])
            for y, x in product(range(5), range(5))
        ]
        state[0] ^= constant
    return state


def _rotated(lane: int, places: int) -> int:
    return (lane << places | lane >> 64 - places) & _MASK
