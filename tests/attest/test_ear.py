"""Attestation Results in the shape of EAR: each value of the vector, its tier, and what a reader must be told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from attest.claims import Claims, Tcb
from attest.ear import PROFILE, VERIFIER, ear, refused
from attest.errors import EvidenceError, PolicyError
from tests.attest.machines import NOW, nitro, snp, tdx
from tests.attest.made import appraisal, bundle, observed_bundle, verify

TDX, SNP = tdx(), snp()
SOFTWARE = appraisal().claims


def told(claims: Claims, assurance: Any = "hardware", *, pinned: bool = False) -> dict[str, Any]:
    whole = ear(claims, assurance, pinned=pinned, issued_at=NOW - 5000, expires_at=NOW)
    assert (whole["eat_profile"], whole["iat"], whole["exp"]) == (PROFILE, NOW // 1000 - 5, NOW // 1000)
    assert set(whole["ear.verifier-id"]) == {"developer", "build"}
    assert list(whole["submods"]) == [claims.scheme]
    return whole["submods"][claims.scheme]


@pytest.mark.parametrize(
    ("claims", "assurance", "pinned", "status", "vector"),
    [
        (TDX, "hardware", True, 2, (2, 2, 2, 0, 2, 2, 0, 0)),
        (TDX, "hardware", False, 2, (0, 2, 2, 0, 2, 2, 0, 0)),
        (SNP, "hardware", True, 2, (2, 2, 2, 0, 2, 2, 0, 0)),
        (nitro(), "hardware", False, 2, (0, 2, 2, 0, 2, 2, 0, 0)),
        (SOFTWARE, "software", False, 32, (2, 0, 33, 0, 0, 32, 0, 0)),
        pytest.param(TDX, "none", True, 32, (2, 2, 33, 0, 2, 2, 0, 0), id="g24-nobody-knows-the-program"),
        pytest.param(
            replace(TDX, tcb=Tcb("OutOfDate")), "hardware", True, 32, (2, 2, 2, 0, 32, 2, 0, 0), id="g15-out-of-date"
        ),
        pytest.param(replace(SNP, debug=True), "none", True, 96, (2, 96, 33, 0, 96, 32, 0, 0), id="g01-debug"),
        pytest.param(
            snp(tests=True), "hardware", True, 32, (32, 2, 2, 0, 2, 2, 0, 0), id="g29-never-quite-affirmed-in-tests"
        ),
    ],
)
def test_the_vector_says_what_was_shown_and_the_status_is_its_worst(
    claims: Claims, assurance: Any, pinned: bool, status: int, vector: tuple[int, ...]
) -> None:
    said = told(claims, assurance, pinned=pinned)
    assert tuple(said["ear.trustworthiness-vector"].values()) == vector
    assert list(said["ear.trustworthiness-vector"]) == [
        *("instance-identity", "configuration", "executables", "file-system"),
        *("hardware", "runtime-opaque", "storage-opaque", "sourced-data"),
    ]
    assert (said["ear.status"], said["assurance"]) == (status, assurance)


def test_what_a_reader_must_know_of_hardware_is_told() -> None:
    said = told(TDX, pinned=True)
    assert said["assumes"] == ["no physical access"]
    assert said["collateralDate"] == TDX.collateral_date == NOW - 86_400_000
    assert said["tcb"]["status"] == "UpToDate"
    assert said["tcb"]["versions"]["evaluationDataNumber"] == 17
    assert said["measurement"] == dict(TDX.measurement)
    assert said["details"] == dict(TDX.details)
    assert "anchor" not in said
    assert told(snp(tests=True))["anchor"] == "test-root"


def test_g23_whether_the_machine_is_pinned_is_told() -> None:
    assert [told(TDX, pinned=pinned)["instance"] for pinned in (True, False)] == ["pinned", "unpinned"]


def test_software_assumes_nothing_of_hardware_and_has_no_collateral() -> None:
    assert told(SOFTWARE, "software").keys().isdisjoint({"assumes", "tcb", "collateralDate", "anchor"})


def test_a_refusal_is_told_with_its_code() -> None:
    assert refused(PolicyError("tcb", "the platform's TCB status is OutOfDate"), NOW) == {
        "eat_profile": PROFILE,
        "iat": NOW // 1000,
        "ear.verifier-id": VERIFIER,
        "submods": {
            "evidence": {
                "ear.status": 96,
                "code": "tcb",
                "detail": "the platform's TCB status is OutOfDate",
                "assurance": "none",
            }
        },
    }


def test_a_verdict_carries_the_result_or_the_refusal_of_its_evidence() -> None:
    accepted = verify(bundle().encode())
    assert accepted.appraisal is not None
    assert accepted.appraisal["submods"]["software"]["ear.status"] == 32
    binding = replace(bundle().speaker[1], boot_id=b"\1" * 16)  # type: ignore[index]
    evidence = bundle().speaker[0]  # type: ignore[index]
    other = verify(bundle(speaker=(evidence, binding)).encode())
    assert other.appraisal is not None
    reason = EvidenceError(other.steps[3].code, other.steps[3].detail)
    assert other.appraisal == refused(reason, other.appraisal["iat"] * 1000)
    assert json.loads(json.dumps(other.to_json()))["appraisal"]["submods"]["evidence"]["code"] == "binding"


def test_of_a_receipt_without_evidence_there_is_none() -> None:
    assert verify(observed_bundle().encode()).appraisal is None
    assert "appraisal" not in verify(observed_bundle().encode()).to_json()
