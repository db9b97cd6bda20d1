"""The proving key as a file: a header, then coordinates of 32 bytes each, big-endian, then a digest of all before.

It is read by the worker and written by the setup, and needs the extra `prove`.
"""

import hashlib
from collections.abc import Iterator

from attest.groth16.conventions import Points
from attest.groth16.key import VerifyingKey as Published
from attest.groth16.points import G1, G2
from servers.tee.proving import ProvingError
from servers.tee.proving.groth16 import Point, Proof, ProvingKey, VerifyingKey, coordinates, curve

MAGIC = b"etmcp/groth16-proving-key/v1\0\0\0\0"
"""32 bytes; 32 more name the circuit, and 3 times 4 count the points."""
_START = len(MAGIC) + 32
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


def checked(data: bytes, circuit: str) -> bytes:
    """The body of `encode`'s form, whole and of this circuit. Raises `ProvingError` for anything else."""
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest or body[:_START] != MAGIC + bytes.fromhex(circuit):
        raise ProvingError("the proving key is damaged or another circuit's")
    return body


def decode(data: bytes, circuit: str) -> ProvingKey:
    """Read `encode`'s form. Raises `ProvingError` for anything else, before a byte of it reaches the curve."""
    body, start = checked(data, circuit), _START
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


def verifying(key: VerifyingKey) -> Published:
    """The key that is registered. Raises `EvidenceError`, should it be one that nobody ought to accept."""
    one, two = _points(key.alpha), (_twisted(key.beta), _twisted(key.gamma), _twisted(key.delta))
    return Published(one, *two, tuple(map(_points, key.ic)))


def points(proof: Proof) -> Points:
    """The proof as it is sent."""
    return Points(_points(proof.a), _twisted(proof.b), _points(proof.c))


def _points(point: Point) -> G1:
    return G1(*coordinates(point))


def _twisted(point: Point) -> G2:
    x0, x1, y0, y1 = coordinates(point)
    return G2((x0, x1), (y0, y1))


def _one(numbers: Iterator[int]) -> Point:
    return curve.PointG1(next(numbers), next(numbers))


def _two(numbers: Iterator[int]) -> Point:
    return curve.PointG2(next(numbers), next(numbers), next(numbers), next(numbers))
