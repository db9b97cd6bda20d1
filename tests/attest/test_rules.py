"""Each rule of an appraisal policy: what it accepts, what it refuses by which code, and how it reads in words."""

import re
from dataclasses import replace
from typing import Any

import pytest

from attest.claims import Claims, Tcb
from attest.errors import PolicyError
from attest.explain import explain
from attest.language import RULES, load
from attest.policy import AllOf, Grounds, Measurement, Subject, graded
from attest.presets import PRESETS
from attest.rules import SCHEMES
from attest.schemes import azure_vtpm, nitro, nvidia, sev_snp, software, tpm2
from attest.verdict import OBSERVER
from tests.attest import machines
from tests.attest.made import refusal

NOW = 1_795_176_000_000
DAY = 86_400_000
INTEL = Claims(
    scheme="intel-tdx",
    assurance="hardware",
    anchor="root",
    standing="trusted",
    report_data=b"",
    debug=False,
    issued_at=0,
    expires_at=NOW + DAY,
    measurement={"mrtd": "aa"},
    launch=frozenset({"mrtd"}),
    tcb=Tcb("SWHardeningNeeded", frozenset({"INTEL-SA-00001"}), {"tdx00": 5, "evaluationDataNumber": 17}),
    instance="ppid:01",
    collateral_date=NOW - DAY,
)
AMD = replace(
    INTEL,
    scheme="amd-sev-snp",
    tcb=Tcb(versions={"snp": 22, "microcode": 213}),
    instance="chip:02",
    collateral_date=None,
    details={"vmpl": "0", "migrationAgent": "no"},
)
SOFTWARE = replace(INTEL, scheme="software", assurance="software", tcb=None, instance=None, issued_at=NOW - 5_000)
HIDDEN = replace(AMD, instance=None)
UNDATED = replace(INTEL, collateral_date=None)


def tdx(status: str) -> Claims:
    return replace(INTEL, tcb=Tcb(status))


@pytest.mark.parametrize(
    ("rule", "claims", "code"),
    [
        ({"schemes": ["intel-tdx"]}, INTEL, ""),
        ({"schemes": ["intel-tdx"]}, AMD, "policy"),
        ({"schemes": []}, INTEL, "policy"),
        ({"minTcb": {"snp": 22}}, AMD, ""),
        ({"minTcb": {"snp": 23}}, AMD, "tcb"),
        ({"minTcb": {"snp": 22, "fmc": 0}}, AMD, "tcb"),
        ({"minTcb": {"snp": 0}}, SOFTWARE, "tcb"),
        pytest.param({"minTcb": {"evaluationDataNumber": 18}}, INTEL, "tcb", id="g17-old-tcb-info-replayed"),
        pytest.param({"minTcb": {"tdx00": 6}}, INTEL, "tcb", id="g17-svn-rolled-back"),
        ({"tcbStatus": ["UpToDate", "SWHardeningNeeded"]}, INTEL, ""),
        pytest.param({"tcbStatus": ["UpToDate"]}, INTEL, "tcb", id="g15-status-not-accepted"),
        pytest.param({"tcbStatus": ["UpToDate"]}, tdx("OutOfDate"), "tcb", id="g15-out-of-date"),
        pytest.param({"tcbStatus": ["UpToDate"]}, tdx("Uptodate"), "tcb", id="g15-unknown-status"),
        ({"tcbStatus": ["UpToDate"]}, AMD, ""),
        pytest.param({"tcbStatus": []}, AMD, "tcb", id="empty-refuses-where-the-vendor-has-no-statuses-too"),
        ({"tcbStatus": []}, SOFTWARE, "tcb"),
        pytest.param({"denyAdvisories": ["INTEL-SA-00001"]}, INTEL, "tcb", id="g16-denied-advisory"),
        ({"denyAdvisories": ["INTEL-SA-00002"]}, INTEL, ""),
        pytest.param({"onlyAdvisories": []}, INTEL, "tcb", id="g16-unknown-advisory"),
        ({"onlyAdvisories": ["INTEL-SA-00001"]}, INTEL, ""),
        ({"onlyAdvisories": []}, AMD, ""),
        pytest.param({"instances": ["chip:02"]}, AMD, "", id="g23-pinned-machine"),
        pytest.param({"instances": ["chip:03"]}, AMD, "policy", id="g23-genuine-twin"),
        pytest.param({"instances": ["chip:02"]}, HIDDEN, "policy", id="g23-hidden-machine"),
        pytest.param({"denyInstances": ["chip:02"]}, AMD, "revoked", id="g34-extracted-key"),
        ({"denyInstances": ["chip:03"]}, AMD, ""),
        ({"denyInstances": ["chip:03"]}, HIDDEN, "policy"),
        ({"maxAge": 5}, SOFTWARE, ""),
        pytest.param({"maxAge": 4}, SOFTWARE, "expired", id="g21-stale"),
        pytest.param({"maxAge": 4}, INTEL, "expired", id="g21-undated-and-not-challenged"),
        ({"maxCollateralAge": 86_400}, INTEL, ""),
        pytest.param({"maxCollateralAge": 86_399}, INTEL, "expired", id="g19-old-collateral"),
        pytest.param({"maxCollateralAge": 86_400}, UNDATED, "expired", id="g19-no-collateral"),
        ({"detail": {"name": "vmpl", "values": ["0", "1"]}}, AMD, ""),
        ({"detail": {"name": "vmpl", "values": ["1"]}}, AMD, "policy"),
        ({"detail": {"name": "vmpl", "values": [""]}}, INTEL, "policy"),
        ({"noTestRoots": True}, INTEL, ""),
        pytest.param({"noTestRoots": True}, replace(INTEL, standing="test"), "root", id="g29-test-root"),
        ({"preset": "development"}, SOFTWARE, ""),
        pytest.param({"preset": "development"}, INTEL, "measurement", id="g24-anybodys-machine"),
        pytest.param({"preset": "development"}, replace(INTEL, debug=True), "debug", id="g01-debug-in-development"),
        pytest.param({"preset": "production"}, SOFTWARE, "policy", id="g29-software-as-hardware"),
        ({"preset": "production"}, INTEL, "measurement"),
    ],
)
def test_a_rule_accepts_or_refuses_with_its_code(rule: Any, claims: Claims, code: str) -> None:
    assert refusal(load(rule).check, Subject(claims, NOW)) == code


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        (INTEL, ""),
        (AMD, ""),
        pytest.param(replace(INTEL, debug=True), "debug", id="g01-debug"),
        (replace(INTEL, measurement={"mrtd": "ab"}), "measurement"),
        (replace(INTEL, standing="test"), "root"),
        (tdx("OutOfDate"), "tcb"),
        (replace(AMD, details={"vmpl": "2", "migrationAgent": "no"}), "policy"),
        (replace(AMD, details={"vmpl": "0", "migrationAgent": "yes"}), "policy"),
        (replace(INTEL, scheme="tpm2"), "policy"),
    ],
)
def test_production_beside_reference_values(claims: Claims, code: str) -> None:
    values = {"measurement": {"register": "mrtd", "values": ["aa"]}}
    for rules in ([{"preset": "production"}, values], [values, {"preset": "production"}]):
        assert refusal(load({"allOf": rules}).check, Subject(claims, NOW)) == code


def test_evidence_that_answers_our_challenge_is_fresh_whatever_its_date() -> None:
    assert not refusal(load({"maxAge": 4}).check, Subject(INTEL, NOW, challenged=True))


def test_a_pinned_machine_shows_in_the_grounds_beside_what_was_covered() -> None:
    policy = AllOf([load({"instances": ["ppid:01"]}), Measurement("mrtd", frozenset({"aa"}))])
    grounds = policy.check(Subject(INTEL, NOW))
    assert grounds == Grounds(frozenset({"mrtd"}), pinned=True)
    assert graded(INTEL, grounds) == "hardware"


EXAMPLES: dict[str, Any] = {
    "allOf": [{"notDebug": True}],
    "anyOf": [{"notDebug": True}],
    "preset": "development",
    "minAssurance": "software",
    "measurement": {"register": "mrtd", "values": ["aa"]},
    "notDebug": True,
    "noTestRoots": True,
    "schemes": ["intel-tdx"],
    "minTcb": {"snp": 22},
    "tcbStatus": ["UpToDate"],
    "denyAdvisories": ["INTEL-SA-00001"],
    "onlyAdvisories": ["INTEL-SA-00001"],
    "instances": ["chip:02"],
    "denyInstances": ["chip:02"],
    "maxAge": 300,
    "maxCollateralAge": 86_400,
    "detail": {"name": "vmpl", "values": ["0"]},
}


SHOWN = {
    "measurement": ("mrtd", "aa"),
    "schemes": ("intel-tdx",),
    "minTcb": ("snp 22",),
    "tcbStatus": ("UpToDate",),
    "denyAdvisories": ("INTEL-SA-00001",),
    "onlyAdvisories": ("INTEL-SA-00001",),
    "instances": ("chip:02",),
    "denyInstances": ("chip:02", "hides"),
    "maxAge": ("300 s",),
    "maxCollateralAge": ("86400 s",),
    "detail": ("vmpl", "0"),
}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_said_in_words_of_its_own(name: str) -> None:
    sentence, *_ = explain(load({name: EXAMPLES[name]}))
    assert sentence.verb in ("Requires", "Denies")
    assert "checks" not in sentence.text
    said = " ".join(each.text for each in explain(load({name: EXAMPLES[name]})))
    assert all(word in said for word in SHOWN.get(name, ()))


@pytest.mark.parametrize("value", [None, False, "", 1.5, [None], {"": None}, [[]], {"a": -1}, "Production"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_another_form_is_malformed(name: str, value: Any) -> None:
    assert refusal(load, {name: value}) == "malformed"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        pytest.param({"tcbStatus": ["UpToDate", "OK"]}, "'OK' is none that there can be; Intel has ", id="g15-ok"),
        ({"tcbStatus": ["uptodate"]}, "'uptodate' is none"),
        ({"tcbStatus": ["Revoked"]}, "'Revoked' is none"),
        ({"schemes": ["intel-tdx", "tdx"]}, "'tdx' is none that there can be; there are amd-sev-snp, "),
        ({"denyAdvisories": ["INTEL-SA-960"]}, "named like INTEL-SA-00960"),
        ({"denyAdvisories": ["intel-sa-00960"]}, "named like INTEL-SA-00960"),
        ({"onlyAdvisories": [""]}, "named like INTEL-SA-00960"),
        ({"denyInstances": ["chip:00FF"]}, "'chip:00FF' is none that there can be; machines are named like chip:00ff"),
        ({"denyInstances": ["00ff"]}, "named like chip:00ff"),
        ({"denyInstances": ["chip:00ff\n"]}, "named like chip:00ff"),
        ({"instances": ["ppid:"]}, "named like chip:00ff"),
    ],
)
def test_a_name_that_evidence_never_has_is_malformed_and_not_a_rule_that_never_applies(rule: Any, told: str) -> None:
    with pytest.raises(PolicyError, match=f"^malformed: {next(iter(rule))}: .*{re.escape(told)}"):
        load(rule)


def test_the_names_of_schemes_machines_and_statuses_are_those_that_claims_have() -> None:
    named = {module.SCHEME for module in (azure_vtpm, nitro, nvidia, sev_snp, software, tpm2)}
    assert named | {"intel-tdx", "intel-sgx", OBSERVER} == SCHEMES
    opened = [machines.nitro(), machines.snp(), machines.tdx(), machines.sgx()]
    load({"allOf": [{"instances": [claims.instance]} for claims in opened]})
    load({"instances": ["tpm:" + "00" * 32, "gpu:5a", "ec2:i-0827e799ec9232d44"]})
    load({"allOf": [{"tcbStatus": [claims.tcb.status]} for claims in opened if claims.tcb and claims.tcb.status]})


def test_the_presets_are_rules_like_any_other() -> None:
    assert {name: load({"preset": name}) for name in PRESETS} == PRESETS
