"""BN254 by py-ecc.

Its import raises the interpreter's recursion limit to 100,000, where JSON nested without end is no longer refused but
takes the process down. The limit is put back here, as this is where it is imported first.
"""

import sys
from collections.abc import Sequence
from functools import lru_cache

from attest.groth16.conventions import Points
from attest.groth16.key import VerifyingKey
from attest.groth16.points import G1, G2

_LIMIT = sys.getrecursionlimit()

from py_ecc.fields import optimized_bn128_FQ as FQ  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ2 as FQ2  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ12 as FQ12  # noqa: E402
from py_ecc.optimized_bn128.optimized_curve import add, multiply, neg  # noqa: E402
from py_ecc.optimized_bn128.optimized_pairing import final_exponentiate, pairing  # noqa: E402

sys.setrecursionlimit(_LIMIT)

_Point1 = tuple[FQ, FQ, FQ]
_Point2 = tuple[FQ2, FQ2, FQ2]


class PyEcc:
    """See `Pairing`."""

    name = "py-ecc"

    def holds(self, key: VerifyingKey, proof: Points, inputs: Sequence[int]) -> bool:
        """e(A, B) = e(alpha, beta) e(L, gamma) e(C, delta), with one final exponentiation for all four."""
        combined = _g1(key.ic[0])
        for value, point in zip(inputs, key.ic[1:], strict=True):
            combined = add(combined, multiply(_g1(point), value))
        product = (
            pairing(_g2(proof.b), _g1(proof.a), final_exponentiate=False)
            * _constant(key)
            * pairing(_g2(key.gamma), neg(combined), final_exponentiate=False)
            * pairing(_g2(key.delta), neg(_g1(proof.c)), final_exponentiate=False)
        )
        return bool(final_exponentiate(product) == FQ12.one())


@lru_cache(maxsize=64)
def _constant(key: VerifyingKey) -> FQ12:
    return pairing(_g2(key.beta), neg(_g1(key.alpha)), final_exponentiate=False)


def _g1(point: G1) -> _Point1:
    return FQ(point.x), FQ(point.y), FQ.one()


def _g2(point: G2) -> _Point2:
    return FQ2(point.x), FQ2(point.y), FQ2.one()
