"""How others were deceived by proofs that verify: each pitfall is a test of its number.

Here: which key, call and release it is of; `test_pitfalls_encoding`: keys, points, numbers, sizes; p08 and p10 are a
prover's.
"""

from dataclasses import replace
from typing import cast

import pytest

from attest.denylist import DEFAULT, Denied, Denylist, Entry
from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import Points
from attest.groth16.field import R
from attest.groth16.pairing import pure
from attest.program import Journal, Program, ProofScheme
from attest.proof import SINGLE_PARTY, Proof
from attest.schemes import zk_risc0
from attest.schemes.zk_versions import RISC0_CONTROL_ROOTS, SP1, SP1_PLONK
from tests.attest.zk.held import FAST, POINTS, Credulous, check, refused, zkvm_proof
from tests.attest.zk.minted import (
    CALL,
    JOURNAL,
    NOW,
    PLAIN,
    PLAIN_SIGNALS,
    SETUP,
    changed,
    journal,
    plain_proof,
    program,
    proof,
    public,
    zkvm,
)


def test_a_proof_of_a_call_is_accepted_and_says_what_it_is_worth() -> None:
    result = check(proof(), program())
    assert result.bound
    assert result.covers == ("/arguments/x", "/result/y", "call")
    assert result.denylist == DEFAULT.number == 1
    assert result.checked_at == NOW
    assert result.meaning == (
        "proven for this call (/arguments/x, /result/y, call); groth16-bn254 1, setup: single-party (development)"
    )


def test_both_pairings_agree() -> None:
    points, inputs = SETUP.simulate(public()), public()
    wrong = [*inputs[:-1], inputs[-1] + 1]
    for pairing in (pure(), FAST):
        assert pairing.holds(SETUP.key, points, inputs), pairing.name
        assert not pairing.holds(SETUP.key, points, wrong), pairing.name


def test_only_a_check_makes_a_result() -> None:
    result = check(proof(), program())
    with pytest.raises(TypeError):
        replace(result, token=None)


# --- p03: many proofs of one statement -----------------------------------------------------------------------------


def test_p03_malleability_another_proof_of_the_same_is_the_same_statement() -> None:
    first, second = proof(), proof(a=5 * 13, b=7 * pow(13, -1, R))
    points = Points.from_evm(first.proof)
    third = SETUP.simulate(public(), a=-5 % R, b=-7 % R)
    assert third.c == points.c
    proofs = [first, second, replace(first, proof=third.to_evm())]
    assert len({made.proof for made in proofs}) == 3
    assert len({check(made, program()).statement for made in proofs}) == 1


def test_p03_malleability_a_free_nonce_changes_nothing() -> None:
    made = zkvm_proof("sp1", "v6.1.0")
    nonced = replace(made, proof=made.proof[:68] + (9).to_bytes(32, "big") + made.proof[100:])
    statements = {check(each, zkvm("sp1"), pairing=Credulous()).statement for each in (made, nonced)}
    assert len(statements) == 1


def test_p03_another_call_is_another_statement() -> None:
    other = changed(CALL, call_id=bytes(32))
    assert check(proof(), program()).statement != check(proof(other), program(), other).statement


# --- p04: the same proof for another call --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        changed(CALL, call_id=bytes(32)),
        changed(CALL, arguments={**CALL.arguments, "x": [1, -2, 4]}),
        changed(CALL, arguments={**CALL.arguments, "salt": "00" * 16}),
        changed(CALL, result={"y": [-7, 10]}),
        changed(CALL, result={"y": [9, -7]}),
    ],
    ids=["p04-replay-call", "p04-argument", "p04-salt", "p04-result", "p04-order"],
)
def test_a_proof_is_of_one_call_only(other: CallFacts) -> None:
    refused("signature", proof(), program(), other)


def test_p04_replay_without_a_call_nothing_that_needs_one_is_proven() -> None:
    refused("binding", proof(), program(), None)


@pytest.mark.parametrize("scheme", ["risc0", "sp1"], ids=lambda name: f"p04-replay-{name}")
def test_a_journal_names_its_call(scheme: ProofScheme) -> None:
    made = zkvm_proof(scheme, "3.0" if scheme == "risc0" else "v6.1.0")
    assert check(made, zkvm(scheme), pairing=Credulous()).bound
    for other in (
        changed(CALL, call_id=bytes(32)),
        changed(CALL, arguments={}),
        changed(CALL, result={"y": [-7, 9], "z": 0}),
    ):
        assert "journal" in refused("binding", made, zkvm(scheme), other, pairing=Credulous())
    refused("binding", replace(made, journal=made.journal[:90]), zkvm(scheme), pairing=Credulous())


@pytest.mark.parametrize("call", [CALL, None], ids=["p04-no-schema", "p04-no-call"])
def test_without_a_schema_or_a_call_the_verdict_says_not_bound(call: CallFacts | None) -> None:
    registered = zkvm("risc0", None if call else JOURNAL)
    result = check(zkvm_proof("risc0", "3.0"), registered, call, pairing=Credulous())
    assert not result.bound
    assert result.covers == ()
    assert "not bound to this call" in result.meaning


def test_p04_a_plain_circuit_is_not_bound_either() -> None:
    result = check(plain_proof(), program(PLAIN_SIGNALS, PLAIN))
    assert not result.bound
    assert "not bound to this call" in cast(str, result.to_json()["meaning"])


@pytest.mark.parametrize("offsets", [(0, 31, 64), (0, 0, 64), (0, 32, 65505)], ids=lambda at: f"p04-journal-{at}")
def test_a_journal_schema_that_overlaps_cannot_be_registered(offsets: tuple[int, int, int]) -> None:
    with pytest.raises(EvidenceError, match="overlap"):
        Journal(*offsets)


# --- p05: whose key it is ------------------------------------------------------------------------------------------


def test_p05_vk_from_the_bundle_is_not_even_read() -> None:
    with pytest.raises(EvidenceError, match="unknown members"):
        Proof.from_json(proof().to_json() | {"verifyingKey": SETUP.key.to_snarkjs()})


def test_p05_a_proof_under_a_strangers_key_is_refused() -> None:
    stranger = replace(SETUP, alpha=999, delta=998)
    refused("signature", Proof("groth16-bn254", stranger.simulate(public()).to_evm()), program())


def test_p05_a_program_with_another_key_than_its_digest_cannot_be_registered() -> None:
    told = program().to_json() | {"verifyingKey": replace(SETUP, alpha=999).key.to_snarkjs()}
    with pytest.raises(EvidenceError, match="digest is registered"):
        Program.from_json(told)


def test_p05_a_proof_of_another_scheme_is_refused() -> None:
    refused("unsupported", zkvm_proof("risc0", "3.0"), zkvm("sp1"), pairing=Credulous())
    refused("unsupported", zkvm_proof("sp1", "v5.0.0"), program(), pairing=Credulous())


@pytest.mark.parametrize("scheme", ["risc0", "sp1"], ids=lambda name: f"p05-unknown-selector-{name}")
def test_a_selector_of_no_release_is_refused(scheme: ProofScheme) -> None:
    made = Proof(scheme, bytes(4) + POINTS, b"")
    refused("unsupported", made, zkvm(scheme), pairing=Credulous())


SELECTORS = {"1.2": "c101b42b", "2.0": "9f39696c", "2.1": "f536085a", "2.2": "bb001d44", "3.0": "73c457ba"}
"""As RISC Zero publishes them (risc0-ethereum, contracts/deployment.toml and its history)."""


@pytest.mark.parametrize("version", SELECTORS, ids=lambda name: f"p05-selector-{name}")
def test_a_selector_follows_from_key_and_control_root(version: str) -> None:
    assert zk_risc0.selector(bytes.fromhex(RISC0_CONTROL_ROOTS[version])).hex() == SELECTORS[version]


@pytest.mark.parametrize("size", range(4), ids=lambda size: f"p05-{size}-bytes-of-a-selector")
def test_a_proof_without_a_selector_is_none_of_another_system_but_none(size: int) -> None:
    proofs: list[tuple[ProofScheme, str]] = [("risc0", "3.0"), ("sp1", "v6.1.0")]
    for scheme, version in proofs:
        made = zkvm_proof(scheme, version)
        refused("malformed", replace(made, proof=made.proof[:size]), zkvm(scheme), pairing=Credulous())


@pytest.mark.parametrize("selector", SP1_PLONK, ids=lambda name: f"p05-plonk-{name}")
def test_plonk_is_refused_by_name(selector: str) -> None:
    made = Proof("sp1", bytes.fromhex(selector) + bytes(864), b"")
    assert "PLONK" in refused("unsupported", made, zkvm("sp1"), pairing=Credulous())


def test_p05_other_recursion_keys_and_failed_runs_are_refused() -> None:
    made = zkvm_proof("sp1", "v6.1.0").proof
    for changed_proof, code in (
        (made[:35] + b"\x01" + made[36:], "malformed"),
        (made[:36] + bytes(32) + made[68:], "root"),
    ):
        refused(code, Proof("sp1", changed_proof, journal()), zkvm("sp1"), pairing=Credulous())


# --- p06: true, and withdrawn --------------------------------------------------------------------------------------

ACCEPTED = [("risc0", "2.2"), ("risc0", "3.0"), ("sp1", "v5.0.0"), ("sp1", "v6.1.0")]
WITHDRAWN = [
    *(("risc0", version, "revoked") for version in ("1.2", "2.0", "2.1")),
    ("risc0", "5.0-rc.1", "policy"),
    *(("sp1", version, "revoked") for version in ("v2.0.0", "v3.0.0", "v4.0.0-rc.3", "v6.0.0")),
]


@pytest.mark.parametrize(("scheme", "version"), ACCEPTED, ids=lambda name: f"p06-accepted-{name}")
def test_a_release_that_stands_is_accepted(scheme: ProofScheme, version: str) -> None:
    assert check(zkvm_proof(scheme, version), zkvm(scheme), pairing=Credulous()).version == version


@pytest.mark.parametrize(("scheme", "version", "code"), WITHDRAWN, ids=lambda name: f"p06-withdrawn-{name}")
def test_a_withdrawn_release_is_refused_though_its_proof_holds(scheme: ProofScheme, version: str, code: str) -> None:
    detail = refused(code, zkvm_proof(scheme, version), zkvm(scheme), pairing=Credulous())
    assert f"{scheme} {version}" in detail
    assert "denylist 1" in detail


def test_p06_each_release_is_accepted_or_withdrawn() -> None:
    known = {("risc0", version) for version in RISC0_CONTROL_ROOTS} | {("sp1", release.version) for release in SP1}
    assert known == set(ACCEPTED) | {(scheme, version) for scheme, version, _ in WITHDRAWN}


@pytest.mark.parametrize(
    "entry",
    [
        Entry("groth16-bn254", "stopped", "an emergency", "us"),
        Entry("groth16-bn254", "withdrawn", "its setup leaked", "us", "key", SETUP.key.digest),
        Entry("groth16-bn254", "withdrawn", "its circuit is wrong", "us", "program", SETUP.key.digest),
    ],
    ids=["p06-emergency-stop", "p06-key", "p06-program"],
)
def test_a_newer_list_refuses_a_scheme_a_key_or_a_program(entry: Entry) -> None:
    with pytest.raises(Denied) as e:
        check(proof(), program(), denylist=Denylist(2, (entry,)))
    assert (e.value.code, e.value.entry) == ("revoked", entry)


def test_p06_a_selector_can_be_withdrawn() -> None:
    made = zkvm_proof("risc0", "3.0")
    listed = Denylist(2, (Entry("risc0", "withdrawn", "a hole", "us", "selector", made.proof[:4].hex()),))
    refused("revoked", made, zkvm("risc0"), denylist=listed, pairing=Credulous())


# --- p07: who ran the setup ----------------------------------------------------------------------------------------


def test_p07_a_single_partys_setup_is_named_in_every_verdict() -> None:
    told = check(proof(), program()).to_json()
    assert told["setup"] == "single-party (development)"
    assert SINGLE_PARTY in told["saysNothingOf"]
    with pytest.raises(EvidenceError, match="setup"):
        Program.from_json(program().to_json() | {"setup": "trust me"})
