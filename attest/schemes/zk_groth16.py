"""Groth16 proofs of a registered circuit, such as snarkjs makes: the verifier computes the public inputs."""

from collections.abc import Sequence

from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import Points
from attest.groth16.key import VerifyingKey
from attest.schemes.zk_claim import Claim
from attest.signals import Signal


def read(
    proof: bytes, given: Sequence[int], key: VerifyingKey, signals: Sequence[Signal], call: CallFacts | None
) -> Claim:
    """What 256 bytes in EVM order claim of these public inputs, of which the prover brings the `given` ones.

    Raises `EvidenceError`: `malformed`; `binding` where the call does not give the others.
    """
    points, left = Points.from_evm(proof), iter(given)
    inputs = tuple(value for signal in signals for value in signal.values(call, left))
    if next(left, None) is not None:
        raise EvidenceError("malformed", "the proof brings public inputs that the program does not take from it")
    return Claim("1", "", key, points, inputs)
