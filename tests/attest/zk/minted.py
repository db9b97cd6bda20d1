"""Groth16 keys whose secrets the tests know: with them a proof of anything can be made, as by whoever ran a setup."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from py_ecc.fields import optimized_bn128_FQ2 as FQ2
from py_ecc.optimized_bn128.optimized_curve import G1 as ONE_1
from py_ecc.optimized_bn128.optimized_curve import G2 as ONE_2
from py_ecc.optimized_bn128.optimized_curve import multiply, normalize

from attest.facts import CallFacts
from attest.groth16.conventions import Points
from attest.groth16.field import Fp2, P, R, inverse2, mul2, square2
from attest.groth16.key import VerifyingKey
from attest.groth16.points import G1, G2
from attest.program import Journal, Program, ProofScheme
from attest.proof import Proof
from attest.signals import Call, Commitment, Constant, Given, Signal, Value

NOW = 1_790_000_000_000
CALL = CallFacts(bytes(range(32)), {"x": [1, -2, 3], "salt": "00112233445566778899aabbccddeeff"}, {"y": [-7, 9]})
SIGNALS: tuple[Signal, ...] = (
    Constant(1234),
    Commitment("/arguments/x", 3, 15, "/arguments/salt", 2),
    Value("/result/y", -100, 100, count=2),
    Call(),
)


@cache
def times_1(scalar: int) -> G1:
    """A multiple of G1's generator."""
    x, y = normalize(multiply(ONE_1, scalar % R))
    return G1(int(x), int(y))


@cache
def times_2(scalar: int) -> G2:
    """A multiple of G2's generator."""
    x, y = normalize(multiply(ONE_2, scalar % R))
    return G2(_pair(x), _pair(y))


def _pair(value: FQ2) -> Fp2:
    first, second = value.coeffs
    return int(first), int(second)


@dataclass(frozen=True)
class Setup:
    """What a setup must forget: the discrete logarithms of its key; `ic` has one more than there are inputs."""

    ic: tuple[int, ...]
    alpha: int = 31337
    beta: int = 271828
    gamma: int = 161803
    delta: int = 577215

    @cached_property
    def key(self) -> VerifyingKey:
        """Raises `EvidenceError` where the key is refused."""
        points = (times_2(self.beta), times_2(self.gamma), times_2(self.delta))
        return VerifyingKey(times_1(self.alpha), *points, tuple(map(times_1, self.ic)))

    def simulate(self, inputs: Sequence[int], a: int = 5, b: int = 7) -> Points:
        """A proof for these inputs; a and b are what an honest prover draws."""
        combined = self.ic[0] + sum(value * point for value, point in zip(inputs, self.ic[1:], strict=True))
        c = (a * b - self.alpha * self.beta - combined * self.gamma) * pow(self.delta, -1, R)
        return Points(times_1(a), times_2(b), times_1(c))


SETUP = Setup((11, 22, 33, 44, 55, 66))
PLAIN = Setup((101, 202))


def program(signals: Sequence[Signal] = SIGNALS, setup: Setup = SETUP) -> Program:
    """Registered for these public inputs."""
    return Program("groth16-bn254", setup.key.digest, "single-party (development)", setup.key, tuple(signals))


def public(call: CallFacts = CALL, signals: Sequence[Signal] = SIGNALS) -> list[int]:
    """What the verifier computes."""
    return [value for signal in signals for value in signal.values(call, iter(()))]


def proof(call: CallFacts = CALL, a: int = 5, b: int = 7) -> Proof:
    """Of `program()` about a call."""
    return Proof("groth16-bn254", SETUP.simulate(public(call), a, b).to_evm())


PLAIN_SIGNALS: tuple[Signal, ...] = (Given("root", 0, 1000),)


def plain_proof(value: int = 42) -> Proof:
    """Of `program(PLAIN_SIGNALS, PLAIN)`, as snarkjs would make it."""
    return Proof("groth16-bn254", PLAIN.simulate([value % R]).to_evm(), inputs=(value,))


def degenerate(told: dict[str, Any]) -> dict[str, Any]:
    """The document of a program under a key whose gamma is its delta: anybody can forge its proofs."""
    key = told["verifyingKey"]
    return told | {"verifyingKey": key | {"vk_gamma_2": key["vk_delta_2"]}}


JOURNAL = Journal(call=0, arguments=32, result=64)


def zkvm(scheme: ProofScheme, journal: Journal | None = JOURNAL) -> Program:
    """A program of a zkVM."""
    return Program(scheme, "00" + "17" * 31, "ceremony", journal=journal)


def journal(call: CallFacts = CALL) -> bytes:
    """What such a program would write about a call."""
    return call.binding() + call.digest("arguments") + call.digest("result") + b"and more"


def off_subgroup() -> tuple[Fp2, Fp2]:
    """A point of the twist that is not of order r: nearly all are."""
    b2 = mul2((3, 0), inverse2((9, 1)))
    for start in range(1, 100):
        x = (start, 1)
        cube = mul2(square2(x), x)
        y = _root(((cube[0] + b2[0]) % P, (cube[1] + b2[1]) % P))
        if y is not None:
            return x, y
    raise AssertionError("half of all x have a y")


def _root(value: Fp2) -> Fp2 | None:
    """A square root in Fp2, by its norm (p = 3 mod 4)."""
    norm = pow(value[0] ** 2 + value[1] ** 2, (P + 1) // 4, P)
    for candidate in (norm, P - norm):
        half = (value[0] + candidate) * pow(2, -1, P) % P
        real = pow(half, (P + 1) // 4, P)
        if real and real * real % P == half:
            root = real, value[1] * pow(2 * real, -1, P) % P
            if ((root[0] ** 2 - root[1] ** 2) % P, 2 * root[0] * root[1] % P) == value:
                return root
    return None


def changed(call: CallFacts, **members: object) -> CallFacts:
    """A call with other facts."""
    return replace(call, **members)  # pyright: ignore[reportArgumentType]
