"""SP1 proofs that were wrapped in Groth16: the proof bytes that its EVM verifier takes, beside the public values.

Public inputs as in sp1-contracts, contracts/src/<version>/SP1VerifierGroth16.sol. What SP1's own crate takes besides
(BLAKE3 of the public values) the contracts do not, nor do we.
"""

import hashlib

from attest.errors import EvidenceError
from attest.groth16.conventions import PROOF_SIZE, WORD, Points
from attest.schemes.zk_claim import Claim
from attest.schemes.zk_keys import key
from attest.schemes.zk_versions import SP1, SP1_PLONK

_MASK = (1 << 253) - 1
_RELEASES = {release.verifier_hash[:8]: release for release in SP1}


def read(proof: bytes, values: bytes, vkey: bytes) -> Claim:
    """What `proof` claims: that the program `vkey` ended well and committed to the public `values`.

    Raises `EvidenceError`: `malformed` (a failed run too), `root` for other recursion keys than the release's,
    `unsupported` for a selector of no release, or of PLONK.
    """
    selector, body = proof[:4].hex(), proof[4:]
    if len(proof) < 4:
        raise EvidenceError(
            "malformed", f"an SP1 proof begins with a selector of 4 bytes, and this one has {len(proof)}"
        )
    if (plonk := SP1_PLONK.get(selector)) is not None:
        raise EvidenceError("unsupported", f"an SP1 {plonk} PLONK proof: have it proven again as Groth16")
    if (release := _RELEASES.get(selector)) is None:
        raise EvidenceError("unsupported", f"selector {selector!a} is of no SP1 release that we know")
    inputs = [int.from_bytes(vkey, "big"), int.from_bytes(hashlib.sha256(values).digest(), "big") & _MASK]
    free = 0
    if release.vk_root is not None:
        exit_code, root, nonce = (int.from_bytes(body[at : at + WORD], "big") for at in range(0, 3 * WORD, WORD))
        body, free = body[3 * WORD :], 1
        if len(body) == PROOF_SIZE and exit_code != 0:
            raise EvidenceError("malformed", f"the program failed: exit code {exit_code}")
        if len(body) == PROOF_SIZE and root != int(release.vk_root, 16):
            raise EvidenceError("root", f"the proof's recursion keys are not those of SP1 {release.version}")
        inputs += [exit_code, root, nonce]
    return Claim(release.version, selector, key(release.version), Points.from_evm(body), tuple(inputs), free)
