"""A bundle offline: the ten steps in order, nothing in the file unbound, and trust only from outside."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.bundle import Bundle
from attest.canonical import canonical, parse
from attest.claims import Endorsements
from attest.evidence import key_id
from attest.policy import Measurement, MinAssurance
from attest.schemes.software import SCHEME
from attest.verdict import OBSERVER, STEPS
from tests.attest.made import (
    BINDING,
    FINISHED,
    ISSUED,
    NOW,
    OBSERVED,
    STATEMENT,
    bundle,
    evidence,
    failure,
    observed_bundle,
    raw,
    receipt,
    sign,
    verify,
)

GOOD = bundle().encode()
OBSERVING = observed_bundle().encode()
NO_POLICY = MinAssurance("none")


@pytest.mark.parametrize("made", [bundle(), observed_bundle()])
def test_a_bundle_reads_back_and_is_verified_under_the_anchors_of_the_verifier(made: Bundle) -> None:
    assert Bundle.decode(made.encode()) == made
    verdict = verify(made.encode(), policy=NO_POLICY)
    assert verdict.outcome == "verified"
    assert [step.name for step in verdict.steps] == list(STEPS)
    assert verdict.receipt_id == made.receipt.receipt_id


def test_the_assurance_is_that_of_the_evidence_and_an_observer_has_none() -> None:
    assert verify(GOOD).assurance == "software"
    assert verify(OBSERVING, policy=NO_POLICY).assurance == "none"
    assert failure(verify(OBSERVING)) == ("policy", "policy")
    assert failure(verify(GOOD, policy=MinAssurance("hardware"))) == ("policy", "policy")
    assert failure(verify(GOOD, policy=Measurement("engine", frozenset({"none"})))) == ("policy", "measurement")


@pytest.mark.parametrize("data", [GOOD, OBSERVING])
def test_without_anchors_or_policy_it_is_untrusted_and_worth_nothing(data: bytes) -> None:
    for verdict in (verify(data, endorsements=Endorsements({})), verify(data, policy=None)):
        assert (verdict.outcome, verdict.assurance) == ("untrusted", "none")
        assert [step.status for step in verdict.steps] == ["passed"] * 7 + ["not checked", "failed", "not checked"]
    assert failure(verify(data, policy=None)) == ("trust", "policy")
    assert failure(verify(data, endorsements=Endorsements({}))) == ("trust", "root")


def test_an_anchor_counts_for_its_own_role_only() -> None:
    software, observer = frozenset({raw("attester").hex()}), frozenset({raw("observer").hex()})
    crossed = Endorsements({SCHEME: observer, OBSERVER: software, "tdx": software | observer})
    for data in (GOOD, OBSERVING):
        verdict = verify(data, endorsements=crossed, policy=NO_POLICY)
        assert (verdict.outcome, *failure(verdict)) == ("untrusted", "trust", "root")


def test_an_attester_cannot_speak_as_an_observer_nor_the_other_way_round() -> None:
    both = frozenset({raw("attester").hex()})
    trust = Endorsements({SCHEME: both, OBSERVER: both})
    posing = observed_bundle(name="attester")
    assert verify(posing.encode(), endorsements=trust, policy=MinAssurance("software")).outcome == "refused"
    claiming = observed_bundle(replace(STATEMENT, launch=None), name="attester")
    assert failure(verify(claiming.encode(), endorsements=trust)) == ("statement", "kind")


def test_evidence_of_another_server_does_not_speak_for_this_key() -> None:
    theirs = replace(BINDING, signing_key=raw("stranger"))
    envelope = sign(STATEMENT.encode(), name="stranger", key=theirs.key_id)
    forged = bundle(receipt=replace(receipt(), envelope=envelope), speaker=(evidence(), theirs))
    assert failure(verify(forged.encode())) == ("evidence", "binding")
    under_its_id = sign(STATEMENT.encode(), name="stranger")
    assert failure(verify(bundle(receipt=replace(receipt(), envelope=under_its_id)).encode()))[1] == "signature"


@pytest.mark.parametrize("data", [GOOD, OBSERVING], ids=["executor", "observer"])
def test_no_flipped_bit_anywhere_in_the_file_survives(data: bytes) -> None:
    survived = [
        (place, bit)
        for place, byte in enumerate(data)
        for bit in range(8)
        if verify(data[:place] + bytes([byte ^ 1 << bit]) + data[place + 1 :], policy=NO_POLICY).outcome != "refused"
    ]
    assert survived == []


@given(st.integers(0, len(GOOD) - 1), st.integers(0, len(GOOD)), st.binary(max_size=4))
def test_no_cut_insertion_or_replacement_survives(start: int, end: int, inside: bytes) -> None:
    changed = GOOD[:start] + inside + GOOD[max(start, end) :]
    verdict = verify(changed)
    assert (verdict.outcome == "refused") == (changed != GOOD)


def swap(value: Any, path: tuple[str, ...], new: Any) -> Any:
    if not path:
        return new
    return value | {path[0]: swap(value[path[0]], path[1:], new)}


@pytest.mark.parametrize(
    "path",
    [
        ("receipt", "resultSalt"),
        ("receipt", "envelope"),
        ("paramsSalt",),
        ("params",),
        ("result",),
        ("evidence",),
        ("evidence", "cmw"),
        ("evidence", "binding"),
        ("evidence", "binding", "nonce"),
        ("evidence", "binding", "signingKey"),
        ("evidence", "binding", "sealingKey"),
        ("evidence", "binding", "configuration"),
        ("evidence", "binding", "bootId"),
    ],
)
def test_no_part_of_another_genuine_bundle_fits(path: tuple[str, ...]) -> None:
    other_binding = replace(BINDING, nonce=b"\1" * 32, boot_id=b"\1" * 16, configuration=b"\1" * 32)
    other_binding = replace(other_binding, signing_key=raw("second"), sealing_key=BINDING.sealing_key[::-1])
    said = replace(STATEMENT, params_digest="00" * 32, sequence=2)
    envelope = sign(said.encode(), name="second", key=other_binding.key_id)
    other = Bundle(
        replace(receipt(), envelope=envelope, result_salt=bytes(32)),
        bytes(32),
        b"{}",
        b"[]",
        (evidence(other_binding), other_binding),
    )
    part: Any = parse(other.encode())
    for name in path:
        part = part[name]
    mixed = canonical(swap(parse(GOOD), path, part))
    assert mixed != GOOD
    assert verify(mixed).outcome == "refused"


def says(**changes: Any) -> Bundle:
    return bundle(replace(STATEMENT, **changes))


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (says(params_digest="00" * 32, result_digest="00" * 32, received_at=NOW), ("params", "params")),
        (says(result_digest="00" * 32, received_at=NOW), ("result", "result")),
        (says(kind="observer-attested", params_digest="00" * 32), ("statement", "kind")),
        (says(received_at=ISSUED - 60_001), ("time", "expired")),
        (says(received_at=ISSUED - 60_000), ("", "")),
        (says(finished_at=NOW + 60_000), ("", "")),
        (says(finished_at=NOW + 60_001), ("time", "time")),
        (says(received_at=FINISHED + 1), ("time", "time")),
        (observed_bundle(replace(OBSERVED, received_at=0, finished_at=0)), ("", "")),
        (observed_bundle(replace(OBSERVED, finished_at=NOW + 60_001)), ("time", "time")),
    ],
)
def test_the_earliest_failing_step_is_named(made: Bundle, found: tuple[str, str]) -> None:
    assert failure(verify(made.encode(), policy=NO_POLICY)) == found


def test_what_was_not_checked_is_never_shown_as_passed() -> None:
    verdict = verify(says(params_digest="00" * 32).encode())
    assert [step.status for step in verdict.steps] == ["passed"] * 4 + ["failed"] + ["not checked"] * 5
    summary = verdict.to_json()
    assert summary["outcome"] == "refused"
    assert not {"kind", "assurance", "server", "target"} & set(summary)


def test_the_summary_of_a_verified_bundle_says_what_it_is_and_that_time_is_unproven() -> None:
    summary = verify(GOOD).to_json()
    assert summary | {"steps": None, "appraisal": None} == {
        "appraisal": None,
        "outcome": "verified",
        "receiptId": receipt().receipt_id,
        "steps": None,
        "kind": "executor-attested",
        "assurance": "software",
        "server": {"name": "calculator", "version": "1.0.0"},
        "method": "tools/call",
        "target": "add",
        "time": "unproven",
    }
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.parametrize("name", ["software", "hardware", "tdx"])
def test_a_statement_cannot_raise_its_own_assurance(name: str) -> None:
    made = says(environment={"assurance": name, "tee": True}, usage={"assurance": name})
    assert verify(made.encode()).assurance == "software"
    assert verify(made.encode(), policy=MinAssurance("hardware")).outcome == "refused"


def test_the_observers_key_names_itself() -> None:
    assert observed_bundle().receipt.envelope.key_id == key_id(raw("observer"))
    assert len(OBSERVING) < len(GOOD)
