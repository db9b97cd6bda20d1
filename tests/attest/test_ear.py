"""Attestation Results in the shape of EAR: each value of the vector, its tier, and what a reader must be told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from attest.claims import Claims, Tcb
from attest.ear import OURS, PROFILE, VERIFIER, brief, ear, refused
from attest.errors import EvidenceError, PolicyError
from tests.attest.machines import NOW, nitro, snp, tdx
from tests.attest.made import appraisal, bundle, observed_bundle, verify

TDX, SNP = tdx(), snp()
SOFTWARE = appraisal().claims


def told(claims: Claims, assurance: Any = "hardware", *, pinned: bool = False) -> dict[str, Any]:
    whole = ear(claims, assurance, pinned=pinned, issued_at=NOW - 5000, expires_at=NOW)
    assert (whole["eat_profile"], whole["iat"], whole["exp"]) == (PROFILE, NOW // 1000 - 5, NOW // 1000)
    assert set(whole["ear_verifier_id"]) == {"developer", "build"}
    assert list(whole["submods"]) == [claims.scheme]
    return whole["submods"][claims.scheme]


@pytest.mark.parametrize(
    ("claims", "assurance", "pinned", "status", "vector"),
    [
        (TDX, "hardware", True, "affirming", (2, 2, 3, 0, 2, 2, 0, 0)),
        (TDX, "hardware", False, "affirming", (0, 2, 3, 0, 2, 2, 0, 0)),
        (SNP, "hardware", True, "affirming", (2, 2, 3, 0, 2, 2, 0, 0)),
        (nitro(), "hardware", False, "affirming", (0, 2, 3, 0, 2, 2, 0, 0)),
        (SOFTWARE, "software", False, "warning", (2, 0, 33, 0, 0, 0, 0, 0)),
        (replace(SOFTWARE, instance="tpm:00", anchor="00"), "software", False, "warning", (2, 0, 33, 0, 0, 0, 0, 0)),
        (replace(SOFTWARE, instance="tpm:00", anchor="aa"), "software", False, "warning", (0, 0, 33, 0, 0, 0, 0, 0)),
        (replace(SOFTWARE, assurance="none"), "none", False, "warning", (0, 0, 33, 0, 0, 0, 0, 0)),
        pytest.param(TDX, "none", True, "warning", (2, 2, 33, 0, 2, 2, 0, 0), id="g24-nobody-knows-the-program"),
        pytest.param(
            replace(TDX, tcb=Tcb("OutOfDate")),
            "hardware",
            True,
            "warning",
            (2, 2, 3, 0, 32, 2, 0, 0),
            id="g15-out-of-date",
        ),
        (
            replace(TDX, tcb=Tcb("ConfigurationAndSWHardeningNeeded")),
            "hardware",
            True,
            "warning",
            (2, 32, 3, 0, 32, 2, 0, 0),
        ),
        pytest.param(
            replace(SNP, debug=True), "none", True, "contraindicated", (2, 96, 33, 0, 96, 96, 0, 0), id="g01-debug"
        ),
        pytest.param(
            snp(tests=True),
            "hardware",
            True,
            "warning",
            (32, 2, 3, 0, 2, 2, 0, 0),
            id="g29-never-quite-affirmed-in-tests",
        ),
    ],
)
def test_the_vector_says_what_was_shown_and_the_status_is_its_worst(
    claims: Claims, assurance: Any, pinned: bool, status: str, vector: tuple[int, ...]
) -> None:
    said = told(claims, assurance, pinned=pinned)
    assert tuple(said["ear_trustworthiness_vector"].values()) == vector
    assert list(said["ear_trustworthiness_vector"]) == [
        *("instance-identity", "configuration", "executables", "file-system"),
        *("hardware", "runtime-opaque", "storage-opaque", "sourced-data"),
    ]
    assert (said["ear_status"], said["assurance"]) == (status, assurance)


def test_a_result_has_the_members_and_types_that_the_draft_has() -> None:
    whole = ear(TDX, "hardware", pinned=True, issued_at=NOW, expires_at=NOW + 999)
    assert whole.keys() == {"eat_profile", "iat", "exp", "ear_verifier_id", "submods"}
    assert whole["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    (result,) = whole["submods"].values()
    assert {name for name in result if name.startswith(("ear", "eat"))} == {
        "eat_profile",
        "ear_status",
        "ear_trustworthiness_vector",
    }
    assert all(type(value) is int and -128 <= value <= 127 for value in result["ear_trustworthiness_vector"].values())


def test_what_was_good_at_its_time_has_no_end_that_is_past() -> None:
    assert "exp" not in ear(TDX, "hardware", pinned=True, issued_at=NOW, expires_at=NOW - 1)
    assert ear(TDX, "hardware", pinned=True, issued_at=NOW, expires_at=NOW)["exp"] == NOW // 1000


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


def test_g15_a_status_that_is_not_the_best_stands_beside_the_assurance() -> None:
    old = replace(TDX, tcb=Tcb("OutOfDate"))
    assert brief(old, pinned=False)["tcbStatus"] == told(old)["tcbStatus"] == "OutOfDate"
    assert [brief(claims, pinned=False).get("tcbStatus") for claims in (TDX, SNP, nitro(), SOFTWARE)] == [None] * 4


def test_g23_whether_the_machine_is_pinned_is_told() -> None:
    assert [told(TDX, pinned=pinned)["instance"] for pinned in (True, False)] == ["pinned", "unpinned"]


def test_software_assumes_nothing_of_hardware_and_has_no_collateral() -> None:
    assert told(SOFTWARE, "software").keys().isdisjoint({"assumes", "tcb", "collateralDate", "anchor"})


def test_a_refusal_is_told_with_its_code() -> None:
    assert refused(PolicyError("tcb", "the platform's TCB status is OutOfDate"), NOW) == {
        "eat_profile": PROFILE,
        "iat": NOW // 1000,
        "ear_verifier_id": VERIFIER,
        "submods": {
            "evidence": {
                "eat_profile": OURS,
                "ear_status": "contraindicated",
                "code": "tcb",
                "detail": "the platform's TCB status is OutOfDate",
                "assurance": "none",
            }
        },
    }


def test_a_verdict_carries_the_result_or_the_refusal_of_its_evidence() -> None:
    accepted = verify(bundle().encode())
    assert accepted.appraisal is not None
    assert accepted.appraisal["submods"]["software"]["ear_status"] == "warning"
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
