"""The proving key as a file: a header, then coordinates of 32 bytes each, big-endian, then a digest of all before.

It is read by the worker and written by the setup, and needs the extra `prove`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from servers.tee.proving import ProvingError
from servers.tee.proving.groth16 import Point, ProvingKey, VerifyingKey, coordinates, curve

MAGIC = b"etmcp/groth16-proving-key/v1\0\0\0\0"
"""32 bytes; 32 more name the circuit, and 3 times 4 count the points."""
MAX_BYTES = 64 << 20
_WORD = 32
_DIGEST = 32


def encode(key: ProvingKey, circuit: str) -> bytes:
    """The file; `circuit` is the circuit's digest in hex."""
    counts = (len(key.lagrange1), len(key.quotient), len(key.private))
    points = [key.alpha, key.beta1, key.beta2, key.delta1, key.delta2]
    points += [*key.lagrange1, *key.lagrange2, *key.quotient, *key.private]
    parts = [MAGIC, bytes.fromhex(circuit), *(count.to_bytes(4) for count in counts)]
    # A Lagrange point is at infinity with a chance of one in 2^240; it would be refused here, and set up again.
    parts += [value.to_bytes(_WORD) for point in points for value in coordinates(point)]
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def decode(data: bytes, circuit: str) -> ProvingKey:
    """Read `encode`'s form. Raises `ProvingError` for anything else, before a byte of it reaches the curve."""
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    start = len(MAGIC) + 32
    if hashlib.sha256(body).digest() != digest or body[:start] != MAGIC + bytes.fromhex(circuit):
        raise ProvingError(
            "the proving key is damaged or another circuit's; remove its folder and run `etmcp-tee prove setup`"
        )
    domain, quotient, private = (int.from_bytes(body[start + 4 * i : start + 4 * i + 4]) for i in range(3))
    numbers = (int.from_bytes(body[at : at + _WORD]) for at in range(start + 12, len(body), _WORD))
    alpha, beta1, beta2, delta1, delta2 = _one(numbers), _one(numbers), _two(numbers), _one(numbers), _two(numbers)
    return ProvingKey(
        alpha,
        beta1,
        beta2,
        delta1,
        delta2,
        [_one(numbers) for _ in range(domain)],
        [_two(numbers) for _ in range(domain)],
        [_one(numbers) for _ in range(quotient)],
        [_one(numbers) for _ in range(private)],
    )


def verifying(key: VerifyingKey) -> dict[str, object]:
    """The verifying key in snarkjs' form: decimal texts, (c0, c1) in the second group."""

    def one(point: Point) -> list[str]:
        return [*map(str, coordinates(point)), "1"]

    def two(point: Point) -> list[list[str]]:
        x0, x1, y0, y1 = map(str, coordinates(point))
        return [[x0, x1], [y0, y1], ["1", "0"]]

    return {
        "protocol": "groth16",
        "curve": "bn128",
        "nPublic": len(key.ic) - 1,
        "vk_alpha_1": one(key.alpha),
        "vk_beta_2": two(key.beta),
        "vk_gamma_2": two(key.gamma),
        "vk_delta_2": two(key.delta),
        "IC": [one(point) for point in key.ic],
    }


def verifying_key(told: Mapping[str, Any]) -> VerifyingKey:
    """Read `verifying`'s form, as this machine wrote it."""

    def two(name: str) -> Point:
        (x0, x1), (y0, y1), _ = told[name]
        return curve.PointG2(int(x0), int(x1), int(y0), int(y1))

    ic = [curve.PointG1(int(x), int(y)) for x, y, _ in told["IC"]]
    alpha = curve.PointG1(*map(int, told["vk_alpha_1"][:2]))
    return VerifyingKey(alpha, two("vk_beta_2"), two("vk_gamma_2"), two("vk_delta_2"), ic)


def _one(numbers: Iterator[int]) -> Point:
    return curve.PointG1(next(numbers), next(numbers))


def _two(numbers: Iterator[int]) -> Point:
    return curve.PointG2(next(numbers), next(numbers), next(numbers), next(numbers))
