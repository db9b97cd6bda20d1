"""The appraisal: five steps in order, and a result that comes from nowhere else."""

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from attest.claims import Claims, Endorsements
from attest.dsse import Envelope
from attest.errors import PolicyError
from attest.evidence import Binding, Evidence
from attest.manifest import TrustedManifest
from attest.policy import AllOf, Measurement, MinAssurance, NotDebug, Policy
from attest.receipt import VerifiedReceipt
from attest.schemes.software import LIFETIME_MS, SoftwareScheme
from attest.verifier import AttestationResult, Verifier
from tests.attest.made import (
    ANCHORS,
    BINDING,
    ISSUED,
    MANIFEST,
    NOW,
    POLICY,
    STATEMENT,
    appraisal,
    evidence,
    octets,
    receipt,
    refusal,
)

OTHER = replace(BINDING, boot_id=b"\1" * 16)
NONCE = octets("another challenge", 32)


def appraise(
    shown: Evidence | None = None,
    *,
    binding: Binding = BINDING,
    nonce: bytes | None = BINDING.nonce,
    now: int = NOW,
    policy: Policy = POLICY,
    anchors: Endorsements = ANCHORS,
) -> AttestationResult:
    verifier = Verifier(schemes=(SoftwareScheme(),), endorsements=anchors, policy=policy)
    return verifier.appraise(shown or evidence(), binding, nonce=nonce, now=now, maximum_age_ms=900_000)


MUTATIONS: list[tuple[str, dict[str, Any]]] = [
    ("unsupported", {"shown": replace(evidence(), media_type="text/plain")}),
    ("malformed", {"shown": replace(evidence(), body=b"{}")}),
    ("expired", {"now": ISSUED + LIFETIME_MS + 1}),
    ("binding", {"binding": OTHER}),
    ("nonce", {"nonce": NONCE}),
    ("root", {"anchors": Endorsements({})}),
    ("policy", {"policy": AllOf([])}),
]


@pytest.mark.parametrize(("code", "mutation"), MUTATIONS)
def test_each_step_refuses_with_its_code(code: str, mutation: dict[str, Any]) -> None:
    assert refusal(appraise, **mutation) == code


@pytest.mark.parametrize("first", range(len(MUTATIONS)))
def test_of_several_faults_the_earliest_step_is_named(first: int) -> None:
    together: dict[str, Any] = {}
    for _, mutation in reversed(MUTATIONS[first:]):
        together |= mutation
    assert refusal(appraise, **together) == MUTATIONS[first][0]


def test_what_passes_speaks_for_exactly_these_keys_for_a_while() -> None:
    result = appraise()
    assert (result.key_id, result.assurance) == (BINDING.key_id, "software")
    assert result.expires_at == NOW + 900_000
    assert appraise(now=ISSUED + LIFETIME_MS - 1).expires_at == ISSUED + LIFETIME_MS


def test_without_a_challenge_the_nonce_is_not_compared() -> None:
    assert appraise(nonce=None).binding == BINDING


def test_software_evidence_is_never_hardware() -> None:
    assert refusal(appraise, policy=MinAssurance("hardware")) == "policy"
    summary = appraise().to_json()["submods"]["software"]
    assert summary["assurance"] == "software"
    assert summary["ear_status"] == "warning"
    assert summary["ear_trustworthiness_vector"]["hardware"] == 0


def test_hardware_claims_are_affirmed_and_a_debug_environment_is_not() -> None:
    class Fake:
        """Stands for a hardware scheme."""

        media_types = ("application/fake",)

        def __init__(self, *, debug: bool) -> None:
            self.debug = debug

        def wants(self, evidence: Evidence) -> list[str]:  # noqa: ARG002
            return []

        def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:  # noqa: ARG002
            return Claims(
                scheme="fake",
                assurance="hardware",
                anchor="root",
                standing="trusted",
                report_data=BINDING.report_data(),
                debug=self.debug,
                issued_at=NOW,
                expires_at=NOW + 1,
                measurement={"m": "1"},
                launch=frozenset({"m"}),
            )

    def result(*rules: Policy, debug: bool = False) -> AttestationResult:
        verifier = Verifier(schemes=(Fake(debug=debug),), endorsements=ANCHORS, policy=AllOf([NotDebug(), *rules]))
        return verifier.appraise(Evidence("application/fake", b""), BINDING, nonce=None, now=NOW, maximum_age_ms=9)

    measured = Measurement("m", frozenset("1"))
    assert result(measured).to_json()["submods"]["fake"]["ear_status"] == "affirming"
    assert result(measured, MinAssurance("hardware")).assurance == "hardware"
    assert result().assurance == "none"
    with pytest.raises(PolicyError, match=r"^debug"):
        result(measured, debug=True)


@pytest.mark.parametrize("token", [None, object(), True])
def test_what_means_checked_cannot_be_made_without_the_check(token: object) -> None:
    claims = appraise().claims
    envelope = Envelope("t", b"", "", b"")
    with pytest.raises(TypeError, match=r"Verifier\.appraise only"):
        AttestationResult(claims, "hardware", False, BINDING, NOW, NOW, token=token)
    with pytest.raises(TypeError, match="verify_exchange only"):
        VerifiedReceipt(receipt(), STATEMENT, "hardware", token=token)
    with pytest.raises(TypeError, match="open_manifest only"):
        TrustedManifest(MANIFEST, "", envelope, token=token)


def test_what_was_checked_cannot_be_copied_into_something_else() -> None:
    with pytest.raises((TypeError, ValueError), match="InitVar"):  # by version of Python
        replace(appraisal(), expires_at=NOW * 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        appraisal().expires_at = NOW * 2  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(appraisal(), "token")
