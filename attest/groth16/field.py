"""The constants of BN254, and arithmetic in its quadratic extension Fp[u] / (u^2 + 1) (EIP-197)."""

P = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""The prime of the coordinates."""
R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""The order of the groups: public inputs are integers from 0 to R - 1."""

Fp2 = tuple[int, int]
"""c0 + c1 u."""


def mul2(a: Fp2, b: Fp2) -> Fp2:
    """a b."""
    low, high = a[0] * b[0], a[1] * b[1]
    return (low - high) % P, ((a[0] + a[1]) * (b[0] + b[1]) - low - high) % P


def square2(a: Fp2) -> Fp2:
    """a^2."""
    return (a[0] + a[1]) * (a[0] - a[1]) % P, 2 * a[0] * a[1] % P


def sub2(a: Fp2, b: Fp2) -> Fp2:
    """a - b."""
    return (a[0] - b[0]) % P, (a[1] - b[1]) % P


def power2(a: Fp2, exponent: int) -> Fp2:
    """a^exponent, for an exponent of at least 1."""
    result = a
    for bit in bin(exponent)[3:]:
        result = square2(result)
        if bit == "1":
            result = mul2(result, a)
    return result


def inverse2(a: Fp2) -> Fp2:
    """1 / a, for an a that is not 0."""
    norm = pow(a[0] * a[0] + a[1] * a[1], -1, P)
    return a[0] * norm % P, -a[1] * norm % P
