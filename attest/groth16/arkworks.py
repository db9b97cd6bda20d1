"""BN254 by arkworks, through zksnake's bindings (extra `prove`).

Their constructors panic on a point that is none, print a Rust trace, and raise a class that is no `Exception`. `G1` and
`G2` hold none such; should it happen all the same, the proof does not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from attest.groth16.conventions import Points
from attest.groth16.key import VerifyingKey
from attest.groth16.points import G1, G2

_curve: Any = import_module("zksnake._algebra").ec_bn254


class Arkworks:
    """See `Pairing`."""

    name = "arkworks"

    def holds(self, key: VerifyingKey, proof: Points, inputs: Sequence[int]) -> bool:
        """e(A, B) e(-L, gamma) e(-C, delta) = e(alpha, beta)."""
        try:
            ready = _ready(key)
            combined = ready.ic[0]
            if inputs:
                combined += _curve.multiscalar_mul_g1(ready.ic[1:], list(inputs))
            left = [_g1(proof.a), -combined, -_g1(proof.c)]
            return bool(_curve.multi_pairing(left, [_g2(proof.b), ready.gamma, ready.delta]) == ready.constant)
        except BaseException as e:  # a panic of Rust's is no Exception
            if type(e).__name__ != "PanicException":
                raise
            return False


@dataclass(frozen=True, slots=True)
class _Ready:
    constant: Any
    gamma: Any
    delta: Any
    ic: list[Any]


@lru_cache(maxsize=64)
def _ready(key: VerifyingKey) -> _Ready:
    constant = _curve.pairing(_g1(key.alpha), _g2(key.beta))
    return _Ready(constant, _g2(key.gamma), _g2(key.delta), [_g1(point) for point in key.ic])


def _g1(point: G1) -> Any:
    return _curve.PointG1(point.x, point.y)


def _g2(point: G2) -> Any:
    return _curve.PointG2(*point.x, *point.y)
