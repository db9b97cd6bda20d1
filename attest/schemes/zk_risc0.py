"""RISC Zero receipts that were wrapped in Groth16: the seal that its EVM verifier takes, beside the journal.

Digests as in risc0-ethereum, contracts/src/groth16/RiscZeroGroth16Verifier.sol, and risc0/binfmt/src/hash.rs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

from attest.errors import EvidenceError
from attest.groth16.conventions import PROOF_SIZE, WORD, Points
from attest.groth16.points import G1, G2
from attest.schemes.zk_claim import Claim
from attest.schemes.zk_keys import key
from attest.schemes.zk_versions import RISC0_BN254_CONTROL_ID, RISC0_CONTROL_ROOTS

_CONTROL_ID = bytes.fromhex(RISC0_BN254_CONTROL_ID)
_NONE = bytes(32)
_HALTED = bytes.fromhex("a3acc27117418996340b84e5a90f3ef4c49d22c79e44aad822ec9c313e1eb8e2")
"""The system's state after the end: SystemState(pc 0, merkle root 0)."""
_EXIT_OK = bytes(8)


def read(seal: bytes, journal: bytes, image_id: bytes) -> Claim:
    """What `seal` claims: that the program `image_id` ended well and wrote `journal`.

    Raises `EvidenceError`: `malformed`, `unsupported` for a selector of no release.
    """
    if len(seal) != 4 + PROOF_SIZE:
        raise EvidenceError("malformed", f"a RISC Zero seal has {4 + PROOF_SIZE} bytes, not {len(seal)}")
    version = _selectors().get(seal[:4])
    if version is None:
        raise EvidenceError("unsupported", f"selector {seal[:4].hex()} is of no RISC Zero release that we know")
    root, digest = bytes.fromhex(RISC0_CONTROL_ROOTS[version]), claim_digest(image_id, journal)
    inputs = (*_split(root), *_split(digest), int.from_bytes(_CONTROL_ID, "big"))
    return Claim(version, seal[:4].hex(), key("risc0"), Points.from_evm(seal[4:]), inputs)


def claim_digest(image_id: bytes, journal: bytes) -> bytes:
    """The digest of a ReceiptClaim: this program halted with exit code 0, assumed nothing and wrote this journal."""
    output = _tagged("risc0.Output", [hashlib.sha256(journal).digest(), _NONE])
    return _tagged("risc0.ReceiptClaim", [_NONE, image_id, _HALTED, output], _EXIT_OK)


def selector(control_root: bytes) -> bytes:
    """The first 4 bytes of the digest of a release's verifier parameters."""
    return _tagged("risc0.Groth16ReceiptVerifierParameters", [control_root, _CONTROL_ID[::-1], _key_digest()])[:4]


@cache
def _selectors() -> Mapping[bytes, str]:
    return {selector(bytes.fromhex(root)): version for version, root in RISC0_CONTROL_ROOTS.items()}


def _key_digest() -> bytes:
    told = key("risc0")
    points = [_hashed(point) for point in (told.alpha, told.beta, told.gamma, told.delta)]
    ic = _NONE
    for point in reversed(told.ic):
        ic = _tagged("risc0_groth16.VerifyingKey.IC", [_hashed(point), ic])
    return _tagged("risc0_groth16.VerifyingKey", [*points, ic])


def _hashed(point: G1 | G2) -> bytes:
    words = (point.x, point.y) if isinstance(point, G1) else (*point.x[::-1], *point.y[::-1])
    return hashlib.sha256(b"".join(word.to_bytes(WORD, "big") for word in words)).digest()


def _tagged(tag: str, down: Sequence[bytes], data: bytes = b"") -> bytes:
    start = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(start + b"".join(down) + data + len(down).to_bytes(2, "little")).digest()


def _split(digest: bytes) -> tuple[int, int]:
    """Two public inputs: a digest does not fit into one."""
    return int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little")
