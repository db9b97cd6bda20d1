"""The preset `production`, with reference values beside it, over evidence of each vendor that real schemes opened."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from attest.claims import Claims
from attest.errors import PolicyError
from attest.language import load
from attest.policy import AllOf, Grounds, Policy, Subject, graded
from attest.presets import UNNAMED
from attest.rules import ReferenceValues
from tests.attest.machines import NOW, azure, nitro, sgx, snp, tdx
from tests.attest.made import appraisal, octets, refusal

MADE: dict[str, Callable[..., Claims]] = {
    "intel-tdx": tdx,
    "intel-sgx": sgx,
    "amd-sev-snp": snp,
    "aws-nitro": nitro,
    "azure-vtpm": azure,
}
GOOD = {scheme: made() for scheme, made in MADE.items()}
OTHER = octets("another program", 48)


def values(*claims: Claims) -> list[Any]:
    """Rules for exactly the programs of these, whichever it is."""
    return [
        {"measurement": {"register": register, "values": [claims_.measurement[register]]}}
        for claims_ in claims
        for register in sorted(claims_.launch)
    ]


def production(claims: Claims, *more: Any) -> Policy:
    return load({"allOf": [{"preset": "production"}, *values(claims), *more]})


def judged(policy: Policy, claims: Claims, *, challenged: bool = True) -> str:
    return refusal(policy.check, Subject(claims, NOW, challenged))


def out_of_date(info: dict[str, Any]) -> None:
    info["tcbLevels"][0] |= {"tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-99999"]}


def hardening(info: dict[str, Any]) -> None:
    info["tcbLevels"][0] |= {"tcbStatus": "SWHardeningNeeded", "advisoryIDs": ["INTEL-SA-99999"]}


@pytest.mark.parametrize("scheme", GOOD)
def test_genuine_hardware_with_a_known_program_is_accepted_and_worth_hardware(scheme: str) -> None:
    claims = GOOD[scheme]
    grounds = production(claims).check(Subject(claims, NOW))
    assert grounds == Grounds(claims.launch)
    assert graded(claims, grounds) == "hardware"


@pytest.mark.parametrize("scheme", GOOD)
def test_without_reference_values_production_refuses(scheme: str) -> None:
    assert judged(load({"preset": "production"}), GOOD[scheme]) == "measurement"


@pytest.mark.parametrize("scheme", GOOD)
def test_a_manifests_reference_values_are_enough_and_those_of_another_program_are_refused(scheme: str) -> None:
    claims = GOOD[scheme]
    known = {register: frozenset({claims.measurement[register]}) for register in claims.launch}
    mine, others = ReferenceValues({scheme: known}), ReferenceValues({scheme: dict.fromkeys(known, frozenset({"00"}))})
    preset = load({"preset": "production"})
    assert judged(AllOf([mine, preset]), claims) == ""
    assert judged(AllOf([others, preset]), claims) == "measurement"
    assert judged(AllOf([ReferenceValues({"other": known}), preset]), claims) == "measurement"
    assert judged(AllOf([others, load({"preset": "development"})]), claims) == "measurement"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param(snp(policy=0xB0000), "debug", id="g01-debug-snp"),
        pytest.param(snp(measurement=OTHER), "measurement", id="g24-another-program"),
        pytest.param(snp(vmpl=1), "policy", id="g18-not-the-most-privileged-in-the-guest"),
        pytest.param(snp(policy=0x70000), "policy", id="g18-a-migration-agent-may-move-it"),
        pytest.param(snp(tests=True), "root", id="g29-test-root"),
        pytest.param(replace(GOOD["amd-sev-snp"], scheme="tpm2"), "policy", id="g29-a-tpm-isolates-nothing"),
        pytest.param(appraisal().claims, "policy", id="g29-software-as-hardware"),
        pytest.param(
            replace(appraisal().claims, scheme="amd-sev-snp", details=GOOD["amd-sev-snp"].details),
            "measurement",
            id="g29-name-edited",
        ),
    ],
)
def test_production_for_snp_refuses(claims: Claims, code: str) -> None:
    assert judged(production(GOOD["amd-sev-snp"]), claims) == code


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param(azure(policy=0xB0000), "debug", id="g01-debug"),
        pytest.param(azure(measurement=OTHER), "measurement", id="g24-another-paravisor"),
        pytest.param(azure(policy=0x70000), "policy", id="g18-a-migration-agent-may-move-it"),
    ],
)
def test_production_for_azure_refuses(claims: Claims, code: str) -> None:
    assert judged(production(GOOD["azure-vtpm"]), claims) == code


@pytest.mark.parametrize(
    ("claims", "more", "code"),
    [
        pytest.param(tdx(tcb=out_of_date), [], "tcb", id="g15-out-of-date"),
        pytest.param(tdx(tcb=hardening), [], "", id="g15-software-hardening"),
        pytest.param(tdx(tcb=hardening), [{"denyAdvisories": ["INTEL-SA-99999"]}], "tcb", id="g16-named-advisory"),
        pytest.param(tdx(tcb=hardening), [{"onlyAdvisories": ["INTEL-SA-00001"]}], "tcb", id="g16-unknown-advisory"),
        pytest.param(tdx(tcb=hardening), [{"onlyAdvisories": ["INTEL-SA-99999"]}], "", id="g16-accepted-advisory"),
        pytest.param(GOOD["intel-tdx"], [{"minTcb": {"evaluationDataNumber": 17}}], "", id="g17-at-the-floor"),
        pytest.param(GOOD["intel-tdx"], [{"minTcb": {"evaluationDataNumber": 18}}], "tcb", id="g17-old-tcb-info"),
        pytest.param(GOOD["intel-tdx"], [{"minTcb": {"tdx00": 7}}], "tcb", id="g17-rolled-back-svn"),
        pytest.param(tdx(mrtd=OTHER), [], "measurement", id="g24-wrong-mrtd"),
        pytest.param(tdx(rtmrs={3: OTHER}), [], "measurement", id="g24-right-mrtd-wrong-rtmr3"),
        pytest.param(GOOD["intel-tdx"], [{"instances": ["ppid:00"]}], "policy", id="g23-a-genuine-twin"),
        pytest.param(GOOD["intel-tdx"], [{"instances": [GOOD["intel-tdx"].instance]}], "", id="g23-the-very-machine"),
        pytest.param(
            GOOD["intel-tdx"], [{"denyInstances": [GOOD["intel-tdx"].instance]}], "revoked", id="g34-extracted-key"
        ),
        pytest.param(GOOD["intel-tdx"], [{"maxCollateralAge": 86_399}], "expired", id="g19-old-collateral"),
        pytest.param(GOOD["intel-tdx"], [{"maxCollateralAge": 86_400}], "", id="g19-fresh-collateral"),
    ],
)
def test_production_for_a_trust_domain(claims: Claims, more: list[Any], code: str) -> None:
    assert judged(production(GOOD["intel-tdx"], *more), claims) == code


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        (GOOD["intel-tdx"], ""),
        (GOOD["amd-sev-snp"], ""),
        (appraisal().claims, ""),
        (tdx(tcb=hardening), ""),
        pytest.param(tdx(tcb=out_of_date), "tcb", id="g15-out-of-date"),
        pytest.param(snp(policy=0xB0000), "debug", id="g01-debug-snp"),
    ],
)
def test_where_no_policy_is_named_a_manifests_values_do_but_not_for_a_platform_out_of_date(
    claims: Claims, code: str
) -> None:
    known = {name: frozenset({claims.measurement[name]}) for name in claims.launch}
    assert judged(AllOf([ReferenceValues({claims.scheme: known}), UNNAMED]), claims) == code


SECRETS = ["ab" * 48, "chip:77", "INTEL-SA-00077", "Configured", "yes-yes"]


@pytest.mark.parametrize(
    "rule",
    [
        {"measurement": {"register": "measurement", "values": [SECRETS[0]]}},
        {"instances": [SECRETS[1]]},
        {"denyInstances": [SECRETS[1], GOOD["amd-sev-snp"].instance]},
        {"detail": {"name": "vmpl", "values": [SECRETS[4]]}},
    ],
)
def test_g32_a_refusal_reveals_none_of_what_would_have_been_accepted(rule: Any) -> None:
    with pytest.raises(PolicyError) as refused:
        load({"allOf": [rule]}).check(Subject(GOOD["amd-sev-snp"], NOW))
    assert [secret for secret in SECRETS if secret in str(refused.value)] == []


def test_g21_undated_evidence_is_fresh_only_as_the_answer_to_our_challenge() -> None:
    policy = production(GOOD["intel-tdx"], {"maxAge": 300})
    assert judged(policy, GOOD["intel-tdx"]) == ""
    assert judged(policy, GOOD["intel-tdx"], challenged=False) == "expired"
