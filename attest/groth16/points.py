"""Points of BN254, decoded strictly: canonical coordinates, on the curve, in the group of prime order, finite.

A point that exists has been checked, so no pairing library ever sees another. Plain integers: a library's own check may
panic, and every library would have its own.
"""

from dataclasses import dataclass

from attest.errors import EvidenceError
from attest.groth16.field import Fp2, P, inverse2, mul2, power2, square2, sub2

_XI: Fp2 = (9, 1)
_B2 = mul2((3, 0), inverse2(_XI))
_PSI_X, _PSI_Y = power2(_XI, (P - 1) // 3), power2(_XI, (P - 1) // 2)
_U = 4965661367192848881
"""The curve's parameter."""


class AtInfinity(EvidenceError):
    """`malformed` like any other point that is none; in a key it has a meaning, which is that anyone can forge."""

    def __init__(self, what: str) -> None:
        super().__init__("malformed", f"{what} is at infinity")


@dataclass(frozen=True, slots=True)
class G1:
    """Of y^2 = x^3 + 3. Its group has prime order: on the curve is in it. Raises `EvidenceError("malformed")`."""

    x: int
    y: int

    def __post_init__(self) -> None:
        _canonical("G1", self.x, self.y)
        if (self.y * self.y - self.x**3 - 3) % P:
            raise EvidenceError("malformed", "a G1 point is not on the curve")


@dataclass(frozen=True, slots=True)
class G2:
    """Of y^2 = x^3 + 3/(9+u), x = x0 + x1 u. Raises `EvidenceError("malformed")`."""

    x: Fp2
    y: Fp2

    def __post_init__(self) -> None:
        _canonical("G2", *self.x, *self.y)
        cube = mul2(square2(self.x), self.x)
        if sub2(square2(self.y), cube) != _B2:
            raise EvidenceError("malformed", "a G2 point is not on the curve")
        if not _has_prime_order(self.x, self.y):
            raise EvidenceError("malformed", "a G2 point is not in the group of prime order")


GENERATOR_1 = (1, 2)
GENERATOR_2_X: Fp2 = (
    10857046999023057135944570762232829481370756359578518086990519993285655852781,
    11559732032986387107991004021392285783925812861821192530917403151452391805634,
)


def _canonical(group: str, *coordinates: int) -> None:
    if not any(coordinates):
        raise AtInfinity(f"a {group} point")
    if not all(0 <= coordinate < P for coordinate in coordinates):
        raise EvidenceError("malformed", f"a {group} coordinate is not canonical (>= p)")


def _has_prime_order(x: Fp2, y: Fp2) -> bool:
    """Whether [u+1]Q + psi([u]Q) + psi^2([u]Q) = psi^3([2u]Q), where psi is Frobenius through the twist.

    True of Q of order r, and false of all others: the norm of this endomorphism has no factor in common with the
    twist's cofactor, which a test computes (El Housni, Guillevic, Piellard, eprint 2022/352).
    """
    try:
        one = _Jacobian(x, y, (1, 0))
        times_u = one.times(_U)
        twice = times_u.frobenius()
        left = times_u.plus(one).plus(twice).plus(twice.frobenius())
        right = twice.frobenius().frobenius().doubled()
    except ZeroDivisionError:
        return False
    return left.equals(right)


@dataclass(frozen=True, slots=True)
class _Jacobian:
    """(x / z^2, y / z^3). Where an addition meets a point that no Q of order r leads to: `ZeroDivisionError`."""

    x: Fp2
    y: Fp2
    z: Fp2

    def doubled(self) -> "_Jacobian":
        a, b = square2(self.x), square2(self.y)
        c, m = square2(b), (3 * a[0], 3 * a[1])
        half = mul2(self.x, b)
        d = (4 * half[0], 4 * half[1])
        f = square2(m)
        x = ((f[0] - 2 * d[0]) % P, (f[1] - 2 * d[1]) % P)
        g = mul2(m, (d[0] - x[0], d[1] - x[1]))
        z = mul2(self.y, self.z)
        return _Jacobian(x, ((g[0] - 8 * c[0]) % P, (g[1] - 8 * c[1]) % P), (2 * z[0] % P, 2 * z[1] % P))

    def plus(self, other: "_Jacobian") -> "_Jacobian":
        mine, theirs = square2(self.z), square2(other.z)
        u, s = mul2(self.x, theirs), mul2(self.y, mul2(theirs, other.z))
        h = sub2(mul2(other.x, mine), u)
        if h == (0, 0):
            raise ZeroDivisionError
        r = sub2(mul2(other.y, mul2(mine, self.z)), s)
        h2 = square2(h)
        h3, v, r2 = mul2(h2, h), mul2(u, h2), square2(r)
        x = ((r2[0] - h3[0] - 2 * v[0]) % P, (r2[1] - h3[1] - 2 * v[1]) % P)
        y = sub2(mul2(r, sub2(v, x)), mul2(s, h3))
        return _Jacobian(x, y, mul2(mul2(self.z, other.z), h))

    def times(self, scalar: int) -> "_Jacobian":
        result = self
        for bit in bin(scalar)[3:]:
            result = result.doubled()
            if bit == "1":
                result = result.plus(self)
        return result

    def frobenius(self) -> "_Jacobian":
        """psi."""
        x, y, z = ((c0, -c1 % P) for c0, c1 in (self.x, self.y, self.z))
        return _Jacobian(mul2(x, _PSI_X), mul2(y, _PSI_Y), z)

    def equals(self, other: "_Jacobian") -> bool:
        mine, theirs = square2(self.z), square2(other.z)
        return (
            (0, 0) not in {self.z, other.z}
            and mul2(self.x, theirs) == mul2(other.x, mine)
            and mul2(self.y, mul2(theirs, other.z)) == mul2(other.y, mul2(mine, self.z))
        )
