"""The pairing that a proof is held against: who computes it is the caller's choice."""

from collections.abc import Sequence
from typing import Protocol

from attest.errors import EvidenceError
from attest.groth16.conventions import Points
from attest.groth16.field import R
from attest.groth16.key import VerifyingKey


class Pairing(Protocol):
    """One implementation of BN254. All give the same answers."""

    @property
    def name(self) -> str: ...

    def holds(self, key: VerifyingKey, proof: Points, inputs: Sequence[int]) -> bool:
        """Whether the proof verifies under the key for exactly these inputs, as many as the key has, each below r."""
        ...


def verify(pairing: Pairing, key: VerifyingKey, proof: Points, inputs: Sequence[int]) -> None:
    """Raise `EvidenceError` unless the proof holds: `malformed` for inputs that are none, else `signature`.

    x and x + r are the same to a pairing, so an input that is not below r is refused and never reduced.
    """
    if len(inputs) != key.inputs:
        raise EvidenceError("malformed", f"{len(inputs)} public inputs under a key for {key.inputs}")
    if not all(0 <= value < R for value in inputs):
        raise EvidenceError("malformed", "a public input is not canonical (>= r, or negative)")
    if not pairing.holds(key, proof, inputs):
        raise EvidenceError("signature", "the proof does not verify for these public inputs")


def pure() -> Pairing:
    """py-ecc: pure Python, always there, about a second a proof."""
    from attest.groth16.pyecc import PyEcc  # noqa: PLC0415 - its import takes half a second

    return PyEcc()


def fastest() -> Pairing:
    """arkworks where the extra `prove` is installed (about 3 ms a proof), else `pure`."""
    try:
        from attest.groth16.arkworks import Arkworks  # noqa: PLC0415 - not everybody has the extra
    except ImportError:
        return pure()
    return Arkworks()
