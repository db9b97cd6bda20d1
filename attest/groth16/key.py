"""Verifying keys, refused where a proof under them would prove nothing."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from attest.errors import EvidenceError
from attest.groth16.conventions import WORD, g1, g2, number, snarkjs_object
from attest.groth16.points import G1, G2, GENERATOR_1, GENERATOR_2_X, AtInfinity

MAX_INPUTS = 32
_TAG = b"etmcp-g16-bn254-vk-v1"
_NAMES = {"vk_alpha_1", "vk_beta_2", "vk_gamma_2", "vk_delta_2", "IC"}


@dataclass(frozen=True)
class VerifyingKey:
    """What a circuit's setup published; `ic` has a point more than there are public inputs.

    Raises `EvidenceError`: `malformed` for more than 32 inputs, `policy` for a key whose setup was not finished. Points
    are finite, on the curve and in the group by their types.
    """

    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    ic: tuple[G1, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.ic) <= MAX_INPUTS + 1:
            raise EvidenceError("malformed", f"a verifying key has 0 to {MAX_INPUTS} public inputs")
        # By x, since opposite points cancel as equal ones do. Where two of these agree, the public inputs can be moved
        # from one pairing into another that the prover fills.
        if len({self.beta.x, self.gamma.x, self.delta.x}) != 3:
            raise EvidenceError(
                "policy", "degenerate vk: two of beta, gamma and delta are the same, so anyone can forge its proofs"
            )
        if self.delta.x == GENERATOR_2_X:
            raise EvidenceError("policy", "degenerate vk: delta is the generator; nobody contributed to phase 2")
        if self.beta.x == GENERATOR_2_X or self.alpha.x == GENERATOR_1[0]:
            raise EvidenceError("policy", "degenerate vk: alpha or beta is a generator; nobody contributed to phase 1")
        if len({point.x for point in (self.alpha, *self.ic)}) != len(self.ic) + 1:
            raise EvidenceError(
                "policy", "degenerate vk: two public inputs have the same point, so they can be swapped, or alpha's"
            )

    @property
    def inputs(self) -> int:
        """How many public inputs a proof has."""
        return len(self.ic) - 1

    def canonical(self) -> bytes:
        """Its one encoding: tag, count (4 bytes), alpha, beta, gamma, delta, IC; big-endian words, real part first."""
        points = (self.beta, self.gamma, self.delta)
        coordinates = [self.alpha.x, self.alpha.y, *(c for point in points for c in (*point.x, *point.y))]
        coordinates += [c for point in self.ic for c in (point.x, point.y)]
        return _TAG + self.inputs.to_bytes(4, "big") + b"".join(c.to_bytes(WORD, "big") for c in coordinates)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `canonical`, hex: the key's name everywhere."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @classmethod
    def from_snarkjs(cls, value: Any) -> "VerifyingKey":
        """snarkjs' `verification_key.json`. Raises `EvidenceError`: `malformed`, `unsupported`, `policy`."""
        members = snarkjs_object(value, "the verifying key", _NAMES)
        told = members["IC"]
        if not isinstance(told, list) or not 1 <= len(points := cast(list[Any], told)) <= MAX_INPUTS + 1:
            raise EvidenceError("malformed", f"IC is no list of 1 to {MAX_INPUTS + 1} points")
        if "nPublic" in members and number(members["nPublic"]) != len(points) - 1:
            raise EvidenceError("malformed", "nPublic is not the number of public inputs")
        try:
            alpha, ic = g1(members["vk_alpha_1"]), tuple(map(g1, points))
            beta, gamma, delta = (g2(members[name]) for name in ("vk_beta_2", "vk_gamma_2", "vk_delta_2"))
        except AtInfinity as e:
            raise EvidenceError("policy", f"degenerate vk: {e.detail}, so what stands before it binds nothing") from e
        return cls(alpha, beta, gamma, delta, ic)

    def to_snarkjs(self) -> dict[str, Any]:
        """What `from_snarkjs` reads."""

        def pair(point: G2) -> list[list[str]]:
            return [list(map(str, point.x)), list(map(str, point.y)), ["1", "0"]]

        return {
            "protocol": "groth16",
            "curve": "bn128",
            "nPublic": self.inputs,
            "vk_alpha_1": [str(self.alpha.x), str(self.alpha.y), "1"],
            "vk_beta_2": pair(self.beta),
            "vk_gamma_2": pair(self.gamma),
            "vk_delta_2": pair(self.delta),
            "IC": [[str(point.x), str(point.y), "1"] for point in self.ic],
        }
