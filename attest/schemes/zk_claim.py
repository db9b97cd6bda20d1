"""What a proof claims, in the one form that all its schemes come down to: Groth16 public inputs under a pinned key."""

from dataclasses import dataclass

from attest.encoding import length_prefixed, sha256_hex
from attest.groth16.conventions import Points
from attest.groth16.key import VerifyingKey


@dataclass(frozen=True, slots=True)
class Claim:
    """Not verified yet. `selector` is the 4 bytes by which a proof names its verifier, hex; empty where there is none.

    `free` is how many of the last inputs the prover may choose without saying anything by them.
    """

    version: str
    selector: str
    key: VerifyingKey
    points: Points
    inputs: tuple[int, ...]
    free: int = 0

    @property
    def statement(self) -> str:
        """Names what is proven: SHA-256 over the key's digest and the inputs, hex. Proof bytes can be changed at will
        and still verify, so they name nothing."""
        said = self.inputs[: len(self.inputs) - self.free]
        words = [value.to_bytes(32, "big") for value in said]
        return sha256_hex(length_prefixed(b"etmcp/zk-statement/v1", bytes.fromhex(self.key.digest), *words))
