"""Groth16 (Groth, 2016) over BN254: setup by a single party, and the prover.

Curve and transforms are arkworks', through zksnake: this needs the extra `prove`, and is imported by processes of its
own alone, as zksnake may abort. The proving key holds Lagrange points of the domain rather than a point a wire: what
one wire contributes is what its rows do. The keys are what any Groth16 verifier reads.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from attest.poseidon import R
from servers.tee.proving import ProvingError
from servers.tee.proving.r1cs import Circuit

_algebra: Any = import_module("zksnake._algebra")  # compiled, without types
curve, polynomials = _algebra.ec_bn254, _algebra.polynomial_bn254
SHIFT = 5
"""A generator of the field's units: the coset of the domain on which the quotient is computed."""
_WINDOW = 8
_BITS = 254

Point = Any
"""zksnake's PointG1 or PointG2."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """Points as zksnake has them; `ic` has one for the constant and one for each public wire."""

    alpha: Point
    beta: Point
    gamma: Point
    delta: Point
    ic: list[Point]


@dataclass(frozen=True, slots=True)
class ProvingKey:
    """`lagrange1` and `lagrange2` are the domain's Lagrange polynomials at the secret point, in both groups; `quotient`
    its powers times the vanishing polynomial, over delta; `private` the private wires' parts, over delta."""

    alpha: Point
    beta1: Point
    beta2: Point
    delta1: Point
    delta2: Point
    lagrange1: list[Point]
    lagrange2: list[Point]
    quotient: list[Point]
    private: list[Point]


@dataclass(frozen=True, slots=True)
class Proof:
    """The three points."""

    a: Point
    b: Point
    c: Point


def size(circuit: Circuit) -> int:
    """Of the domain: the least power of two that has a place for each row."""
    return 1 << (len(circuit.rows) - 1).bit_length()


def setup(circuit: Circuit, say: Callable[[str], None]) -> tuple[ProvingKey, VerifyingKey]:
    """New keys. Whoever knew the five secrets could forge; they live in this process' memory alone, and go with it."""
    tau, alpha, beta, gamma, delta = (1 + secrets.randbelow(R - 1) for _ in range(5))
    count, public = size(circuit), circuit.public + 1
    lagrange: list[int] = polynomials.evaluate_lagrange_coefficients(count, tau)
    columns = [[0] * circuit.wires for _ in range(3)]
    for row, at in zip(circuit.rows, lagrange, strict=False):
        for column, terms in zip(columns, row, strict=True):
            for wire, coefficient in terms.items():
                column[wire] += coefficient * at
    parts = [(beta * a + alpha * b + c) % R for a, b, c in zip(*columns, strict=True)]
    over_gamma, over_delta = pow(gamma, -1, R), pow(delta, -1, R)
    vanishing = (pow(tau, count, R) - 1) * over_delta % R
    powers = [vanishing]
    for _ in range(count - 2):
        powers.append(powers[-1] * tau % R)
    one, two = _Table(curve.g1()), _Table(curve.g2())
    say("points of the first group")
    proving = ProvingKey(
        one * alpha,
        one * beta,
        two * beta,
        one * delta,
        two * delta,
        [one * value for value in lagrange],
        [],
        [one * value for value in powers],
        [one * (part * over_delta % R) for part in parts[public:]],
    )
    say("points of the second group")
    proving.lagrange2.extend(two * value for value in lagrange)
    ic = [one * (part * over_gamma % R) for part in parts[:public]]
    return proving, VerifyingKey(proving.alpha, proving.beta2, two * gamma, proving.delta2, ic)


class _Table:
    """Multiples of one point, fast: a sum of one entry for each byte of the scalar."""

    def __init__(self, point: Point) -> None:
        self._zero = point * 0
        self._rows: list[list[Point]] = []
        for _ in range(0, _BITS, _WINDOW):
            row = [self._zero]
            for _ in range((1 << _WINDOW) - 1):
                row.append(row[-1] + point)
            self._rows.append(row)
            point = row[-1] + point

    def __mul__(self, scalar: int) -> Point:
        total = self._zero
        for row in self._rows:
            total, scalar = total + row[scalar & 0xFF], scalar >> _WINDOW
        return total


def prove(key: ProvingKey, circuit: Circuit, values: Sequence[int]) -> Proof:
    """A proof for the witness. Raises `Unsatisfied` where it is none: a prover that does not look returns rubbish."""
    count = size(circuit)
    a, b, c = ([*side, *[0] * (count - len(side))] for side in circuit.evaluate(values))
    r, s = secrets.randbelow(R), secrets.randbelow(R)
    left = curve.multiscalar_mul_g1(key.lagrange1, a) + key.alpha + key.delta1 * r
    right1 = curve.multiscalar_mul_g1(key.lagrange1, b) + key.beta1 + key.delta1 * s
    right = curve.multiscalar_mul_g2(key.lagrange2, b) + key.beta2 + key.delta2 * s
    quotient = _quotient(a, b, c)[: count - 1]
    last = curve.multiscalar_mul_g1(key.private, list(values[circuit.public + 1 :]))
    last += curve.multiscalar_mul_g1(key.quotient, quotient)
    return Proof(left, right, last + left * s + right1 * r + key.delta1 * (-r * s % R))


def _quotient(a: list[int], b: list[int], c: list[int]) -> list[int]:
    """The coefficients of (a b - c) / Z, computed on a coset of the domain, where Z is one number and not 0."""
    count = len(a)
    shifts = [1]
    for _ in range(count - 1):
        shifts.append(shifts[-1] * SHIFT % R)
    back, backwards = pow(SHIFT, -1, R), [1]
    for _ in range(count - 1):
        backwards.append(backwards[-1] * back % R)

    def moved(evaluations: list[int]) -> list[int]:
        coefficients = polynomials.ifft(evaluations, count)
        return polynomials.fft([x * y % R for x, y in zip(coefficients, shifts, strict=True)], count)

    over = pow(pow(SHIFT, count, R) - 1, -1, R)
    on_coset = [(x * y - z) * over % R for x, y, z in zip(moved(a), moved(b), moved(c), strict=True)]
    return [x * y % R for x, y in zip(polynomials.ifft(on_coset, count), backwards, strict=True)]


def coordinates(point: Point) -> tuple[int, ...]:
    """x and y; in the second group (c0, c1) of each. Raises `ProvingError` for the point at infinity."""
    if point.is_zero():
        raise ProvingError("a key or proof has the point at infinity in it; set up again")
    x, y = point.x, point.y
    return (x, y) if isinstance(x, int) else (*x, *y)
