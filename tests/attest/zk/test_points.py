"""The arithmetic that decides which points exist, held against theory, py-ecc and published vectors."""

import random
from math import gcd

import pytest
from py_ecc.fields import optimized_bn128_FQ2 as FQ2
from py_ecc.optimized_bn128.optimized_curve import is_inf, multiply

from attest.errors import EvidenceError
from attest.groth16.field import P, R, inverse2, mul2, power2, square2
from attest.groth16.points import G2, GENERATOR_1, GENERATOR_2_X
from attest.keccak import keccak256
from tests.attest.zk.minted import off_subgroup, times_1, times_2

U = 4965661367192848881


def test_the_constants_are_those_of_the_family() -> None:
    trace = 6 * U**2 + 1
    assert (36 * U**4 + 36 * U**3 + 24 * U**2 + 6 * U + 1, P + 1 - trace) == (P, R)
    assert (times_1(1).x, times_2(1).x) == (GENERATOR_1[0], GENERATOR_2_X)


def test_the_subgroup_check_lets_no_other_point_pass() -> None:
    """u+1 + u X + u X^2 - 2u X^3 modulo psi's X^2 - tX + p is a + bX; its norm shares nothing with the cofactor."""
    trace = 6 * U**2 + 1
    a = U + 1 - U * P + 2 * U * trace * P
    b = U + U * trace - 2 * U * (trace**2 - P)
    norm, cofactor = a * a + a * b * trace + b * b * P, P - 1 + trace
    assert norm % R == 0
    assert gcd(norm, cofactor) == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_multiple_of_the_generator_is_in_the_group(seed: int) -> None:
    assert times_2(random.Random(seed).randrange(1, R))


def test_what_is_outside_the_group_is_refused_and_py_ecc_agrees() -> None:
    x, y = off_subgroup()
    assert not is_inf(multiply((FQ2(x), FQ2(y), FQ2.one()), R))
    with pytest.raises(EvidenceError, match="prime order"):
        G2(x, y)


def test_the_extension_field_is_a_field() -> None:
    drawn = random.Random(1)
    for _ in range(50):
        a, b = ((drawn.randrange(1, P), drawn.randrange(P)) for _ in range(2))
        assert mul2(a, inverse2(a)) == (1, 0)
        assert square2(a) == mul2(a, a)
        assert power2(a, 5) == mul2(mul2(square2(a), square2(a)), a)
        left, right = FQ2(a) * FQ2(b), mul2(a, b)
        assert tuple(map(int, left.coeffs)) == right


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        (b"transfer(address,uint256)", "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b"),
    ],
)
def test_keccak_is_ethereums(data: bytes, expected: str) -> None:
    assert keccak256(data).hex() == expected


def test_keccak_pads_a_full_block_with_another() -> None:
    assert len({keccak256(b"a" * size) for size in (134, 135, 136, 137, 271, 272, 273)}) == 7
