"""How the tests of pitfalls hold a proof against a program and a call."""

from collections.abc import Sequence
from typing import Any

import pytest

from attest.denylist import DEFAULT, Denylist
from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import Points
from attest.groth16.key import VerifyingKey
from attest.groth16.pairing import Pairing, fastest
from attest.program import Program, ProofScheme
from attest.proof import Proof, ProofResult, check_proof
from attest.schemes import zk_risc0
from attest.schemes.zk_versions import RISC0_CONTROL_ROOTS, SP1
from tests.attest.zk.minted import (
    CALL,
    NOW,
    PLAIN,
    journal,
)

FAST = fastest()
POINTS = PLAIN.simulate([42]).to_evm()


class Credulous:
    """Believes each proof, so that what else is checked of a zkVM's can be seen without one."""

    name = "credulous"

    def holds(self, key: VerifyingKey, proof: Points, inputs: Sequence[int]) -> bool:  # noqa: ARG002
        return len(inputs) == key.inputs


def check(
    made: Proof,
    registered: Program,
    call: CallFacts | None = CALL,
    denylist: Denylist = DEFAULT,
    pairing: Pairing = FAST,
) -> ProofResult:
    return check_proof(made, registered, call, denylist=denylist, pairing=pairing, now=NOW)


def refused(code: str, *arguments: Any, **named: Any) -> str:
    with pytest.raises(EvidenceError) as e:
        check(*arguments, **named)
    assert e.value.code == code
    return e.value.detail


def zkvm_proof(scheme: ProofScheme, version: str, body: bytes = POINTS, said: bytes | None = None) -> Proof:
    if scheme == "risc0":
        selector = zk_risc0.selector(bytes.fromhex(RISC0_CONTROL_ROOTS[version]))
    else:
        release = next(release for release in SP1 if release.version == version)
        selector = bytes.fromhex(release.verifier_hash[:8])
        if release.vk_root and len(body) == len(POINTS):
            body = bytes(32) + bytes.fromhex(release.vk_root) + bytes(32) + body
    return Proof(scheme, selector + body, journal() if said is None else said)
