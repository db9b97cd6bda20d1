"""What `etmcp-verify policy check` notes: that nothing can pass, or that less is asked than it seems, way by way."""

import re
from typing import Any

import pytest

from attest.caveats import DATED, MAX_WAYS, SAYS, caveats
from attest.claims import Tcb
from attest.explain import LAUNCH
from attest.language import load
from tests.attest.machines import nitro, sgx, snp, tdx

DIGITS = {"mrenclave": 64, "hostdata": 64}
HARDWARE: dict[str, Any] = {"minAssurance": "hardware"}
SOFTWARE: dict[str, Any] = {"minAssurance": "software"}
FRESH: dict[str, Any] = {"maxCollateralAge": 86_400}
FLOOR: dict[str, Any] = {"minTcb": {"snp": 22}}
STATUS: dict[str, Any] = {"tcbStatus": ["UpToDate"]}
PPID, CHIP, EC2 = ({"instances": [name]} for name in ("ppid:01", "chip:02", "ec2:i-03"))
ALONE: list[Any] = [
    {"detail": {"name": "vmpl", "values": ["0"]}},
    {"detail": {"name": "migrationAgent", "values": ["no"]}},
]


def value(register: str, *values: str) -> Any:
    return {"measurement": {"register": register, "values": list(values or ["a" * DIGITS.get(register, 96)])}}


def known(scheme: str) -> list[Any]:
    return [value(register) for register in sorted(LAUNCH[scheme])]


TD: list[Any] = [{"schemes": ["intel-tdx"]}, HARDWARE, STATUS, FRESH, PPID]
SNP: list[Any] = [{"schemes": ["amd-sev-snp"]}, HARDWARE, FLOOR, FRESH, CHIP, *ALONE]

NOTED: list[tuple[list[Any], list[str]]] = [
    ([*TD, *known("intel-tdx")], []),
    ([*SNP, *known("amd-sev-snp")], []),
    ([{"schemes": ["aws-nitro"]}, HARDWARE, EC2, *known("aws-nitro")], []),
    # What is empty.
    ([], ["an empty rule refuses"]),
    ([{"anyOf": []}, SOFTWARE], ["an empty rule refuses"]),
    ([{"schemes": []}, SOFTWARE], ["an empty list"]),
    ([{"tcbStatus": []}, SOFTWARE], ["an empty list"]),
    ([{"detail": {"name": "vmpl", "values": []}}, SOFTWARE], ["an empty list"]),
    ([*TD, *known("intel-tdx"), {"denyAdvisories": []}], ["an empty denyAdvisories denies nothing"]),
    # What no evidence can show.
    ([{"schemes": ["software", "tpm2"]}, HARDWARE], ["no scheme that is accepted is one of hardware"]),
    ([{"schemes": ["nvidia-gpu"]}, SOFTWARE], ["no scheme that is accepted is worth software"]),
    ([{"schemes": ["intel-tdx"]}, {"schemes": ["amd-sev-snp"]}], ["is in each list of schemes"]),
    ([*TD, value("MRTD")], ["no scheme that is accepted has a measurement MRTD"]),
    ([*TD, *known("amd-sev-snp")], ["no scheme that is accepted has a measurement measurement"]),
    ([SOFTWARE, value("engine")], ["no scheme that is accepted has a measurement engine"]),
    ([*SNP, {"minTcb": {"SNP": 22}}], ["no scheme that is accepted has TCB components SNP"]),
    ([*TD[:-1], CHIP], ["no scheme that is accepted has such machines"]),
    ([{"schemes": ["software"]}, {"denyInstances": []}], ["no scheme that is accepted says which machine it is"]),
    ([{"schemes": ["aws-nitro"]}, FRESH], ["no scheme that is accepted comes with dated endorsements"]),
    # What nothing matches.
    ([*TD, *known("intel-tdx"), value("mrtd", "A" * 96)], ["nothing matches 'AAAAAAAA"]),
    (
        [*TD, *known("intel-tdx"), value("mrtd", "ab")],
        ["nothing matches 'ab': a measurement mrtd is 96 lower-case hex"],
    ),
    (
        [{"schemes": ["aws-nitro"]}, HARDWARE, EC2, value("pcr0", "x")],
        ["nothing matches 'x': a measurement pcr0 is lower"],
    ),
    # What keeps hardware from being worth anything.
    (TD, ["no reference values for what is launched"]),
    ([*TD, *known("intel-tdx")[:3]], ["intel-tdx needs reference values for rtmr3 too"]),
    ([*TD, *known("intel-tdx")[:3], value("event:compose-hash", "ab")], []),
    (
        [{"schemes": ["amd-sev-snp", "azure-vtpm"]}, *SNP[1:], *known("amd-sev-snp")],
        [f"azure-vtpm needs reference values for {', '.join(sorted(LAUNCH['azure-vtpm'] - {'measurement'}))} too"],
    ),
    # What is left open.
    ([{"minAssurance": "none"}], ["no assurance is asked for, so that a process may vouch"]),
    ([SOFTWARE], ["software is the word of a process"]),
    ([*SNP[:1], *SNP[2:]], ["whatever program runs there passes", "debug mode passes"]),
    ([*SNP[:1], *SNP[2:], {"notDebug": True}, *known("amd-sev-snp")], []),
    ([*SNP[:2], *SNP[3:], *known("amd-sev-snp")], ["AMD publishes no TCB status"]),
    ([*SNP[:5], *known("amd-sev-snp")], ["something may stand above the guest"]),
    ([*SNP[:6], *known("amd-sev-snp")], ["something may stand above the guest"]),
    ([*SNP[:3], *SNP[4:], *known("amd-sev-snp")], ["without maxCollateralAge"]),
    ([*SNP[:4], *SNP[5:], *known("amd-sev-snp")], ["no machine is named"]),
    ([*TD[:2], *TD[3:], *known("intel-tdx")], ["no tcbStatus is asked for"]),
    ([*TD, {"tcbStatus": ["UpToDate", "OutOfDate"]}, *known("intel-tdx")], []),
    ([*TD[:2], {"tcbStatus": ["UpToDate", "OutOfDate"]}, *TD[3:], *known("intel-tdx")], ["calls OutOfDate passes"]),
    ([*TD, {"maxAge": 300}, *known("intel-tdx")], ["offline, where it answers no challenge, maxAge refuses it"]),
    ([{"schemes": ["aws-nitro"]}, HARDWARE, EC2, {"maxAge": 300}, *known("aws-nitro")], []),
    # Alternatives: what one leaves open is not covered by what another asks.
    (
        [{"anyOf": [{"allOf": [*TD, *known("intel-tdx")]}, SOFTWARE]}],
        ["by one of its alternatives, software is the word"],
    ),
    (
        [{"anyOf": [{"allOf": [*TD, *known("intel-tdx")]}, {"notDebug": True}]}],
        ["by one of its alternatives, no assurance is asked for"],
    ),
    ([{"anyOf": [{"allOf": [*TD, *known("intel-tdx")]}, {"allOf": [*SNP, *known("amd-sev-snp")]}]}], []),
    ([{"preset": "production"}, *SNP, *known("amd-sev-snp")], []),
    ([{"preset": "production"}, *TD, *known("intel-tdx")], []),
    ([{"anyOf": [{"allOf": []}, {"allOf": [*TD, *known("intel-tdx")]}]}], ["an empty rule refuses"]),
]


@pytest.mark.parametrize(("rules", "notes"), NOTED)
def test_what_a_reader_may_overlook_is_noted_and_nothing_else(rules: list[Any], notes: list[str]) -> None:
    told = caveats(load({"allOf": rules}))
    assert [part for part, said in zip(notes, told, strict=True) if part not in said] == []


def test_what_evidence_can_say_is_what_claims_of_it_do_say() -> None:
    for claims in (snp(), nitro(), tdx(), sgx()):
        says = SAYS[claims.scheme]
        assert all(re.fullmatch(says.registers, register) for register in claims.measurement)
        assert all(re.fullmatch(says.components, name) for name in (claims.tcb or Tcb()).versions)
        assert str(claims.instance).startswith(f"{says.machine}:")
        assert bool(claims.issued_at) == (claims.scheme in DATED)


def test_of_a_policy_with_very_many_ways_the_first_are_looked_at_and_that_is_said() -> None:
    choices = [{"anyOf": [{"detail": {"name": f"{place}", "values": [each]}} for each in "ab"]} for place in range(64)]
    nested: Any = {"allOf": choices}
    for _ in range(8):
        nested = {"anyOf": [nested, nested]}
    told = caveats(load({"allOf": [nested, SOFTWARE]}))
    assert told[0].startswith(f"there are more than {MAX_WAYS} ways through its alternatives")
