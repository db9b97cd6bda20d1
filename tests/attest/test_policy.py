"""Policies compose, an empty one refuses, and both of a verifier's files load strictly."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from attest.canonical import canonical
from attest.claims import Claims, Endorsements
from attest.document import sign_policy
from attest.errors import PolicyError
from attest.language import load
from attest.policy import AllOf, AnyOf, Grounds, Measurement, MinAssurance, NotDebug, Policy, Subject
from attest.rules import Instances
from attest.schemes.roots import VENDOR_ROOTS
from attest.trust import FORMAT, load_policy, load_programs, load_trust
from tests.attest.made import refusal, signing_key

CLAIMS = Claims(
    scheme="tdx",
    assurance="hardware",
    anchor="root",
    standing="trusted",
    report_data=b"",
    debug=False,
    issued_at=0,
    expires_at=1,
    measurement={"mrtd": "00ff"},
    launch=frozenset({"mrtd"}),
    self_reported={"engine": "abcd"},
)
MRTD, HARDWARE = Measurement("mrtd", frozenset({"00ff", "01"})), MinAssurance("hardware")
SHAPE: dict[str, Any] = {"kind": "appraisal", "version": 1}
YES, NO = MinAssurance("none"), NotDebug()
DEBUG = replace(CLAIMS, debug=True)


@pytest.mark.parametrize(
    ("policy", "claims", "code"),
    [
        (AllOf([]), CLAIMS, "policy"),
        (AnyOf([]), CLAIMS, "policy"),
        (AllOf([AnyOf([])]), CLAIMS, "policy"),
        (AnyOf([AllOf([])]), CLAIMS, "policy"),
        (AllOf([YES, NO]), CLAIMS, ""),
        (AllOf([YES, NO]), DEBUG, "debug"),
        (AllOf([NO, AllOf([])]), DEBUG, "debug"),
        (AllOf([AllOf([]), NO]), DEBUG, "policy"),
        (AllOf([AllOf([YES, NO]), AllOf([])]), DEBUG, "debug"),
        (AnyOf([NO, YES]), DEBUG, ""),
        (AnyOf([YES, NO]), DEBUG, ""),
        (AnyOf([AllOf([]), NO]), DEBUG, "debug"),
        (HARDWARE, CLAIMS, "measurement"),
        (AllOf([HARDWARE, MRTD]), CLAIMS, ""),
        (AllOf([MRTD, HARDWARE]), CLAIMS, ""),
        (AllOf([HARDWARE, AnyOf([NO, MRTD]), MRTD]), CLAIMS, ""),
        (AllOf([MRTD, AllOf([HARDWARE])]), CLAIMS, ""),
        (AllOf([AllOf([HARDWARE]), MRTD]), CLAIMS, ""),
        (AllOf([AnyOf([AllOf([NO, HARDWARE])]), MRTD]), CLAIMS, ""),
        (AllOf([AnyOf([AllOf([HARDWARE])]), AllOf([AllOf([MRTD])]), NO]), CLAIMS, ""),
        (AllOf([AnyOf([HARDWARE, AllOf([])]), HARDWARE]), CLAIMS, "policy"),
        (AllOf([AnyOf([MRTD, YES]), HARDWARE]), replace(CLAIMS, launch=frozenset({"mrtd", "rtmr3"})), "measurement"),
        (AllOf([AnyOf([YES, MRTD]), HARDWARE]), CLAIMS, ""),
        (AllOf([AnyOf([MRTD, AllOf([])]), HARDWARE]), CLAIMS, ""),
        (AllOf([AnyOf([YES, AllOf([MRTD, AllOf([])])]), HARDWARE]), CLAIMS, "measurement"),
        (AllOf([HARDWARE, MRTD]), replace(CLAIMS, launch=frozenset()), "measurement"),
        (AllOf([HARDWARE, MRTD]), DEBUG, "debug"),
        (AllOf([HARDWARE, MRTD]), replace(CLAIMS, assurance="software"), "policy"),
        (MinAssurance("software"), CLAIMS, "measurement"),
        (AllOf([MinAssurance("software"), MRTD]), CLAIMS, ""),
        (MinAssurance("software"), DEBUG, "debug"),
        (MinAssurance("software"), replace(CLAIMS, assurance="none"), "policy"),
        (MinAssurance("software"), replace(CLAIMS, assurance="software"), ""),
        (MRTD, CLAIMS, ""),
        (Measurement("mrtd", frozenset({"01"})), CLAIMS, "measurement"),
        (Measurement("mrtd", frozenset()), CLAIMS, "measurement"),
        (Measurement("rtmr0", frozenset({"00ff"})), CLAIMS, "measurement"),
        (Measurement("rtmr0", frozenset({"None", ""})), CLAIMS, "measurement"),
        (Measurement("engine", frozenset({"abcd"})), CLAIMS, "measurement"),
    ],
)
def test_a_policy_accepts_or_refuses_with_its_code(policy: Policy, claims: Claims, code: str) -> None:
    assert refusal(policy.check, Subject(claims, now=0)) == code


def test_what_alternatives_establish_does_not_depend_on_their_order() -> None:
    rules = [YES, MRTD, Measurement("rtmr3", frozenset({"01"})), Instances(frozenset({"ppid:01"}))]
    claims = Subject(replace(CLAIMS, instance="ppid:01"), now=0)
    assert {AnyOf(order).check(claims) for order in permutations(rules)} == {Grounds(frozenset({"mrtd"}), pinned=True)}


@pytest.mark.parametrize(
    ("document", "policy"),
    [
        ({"allOf": []}, AllOf([])),
        ({"minAssurance": "hardware"}, MinAssurance("hardware")),
        ({"notDebug": True}, NotDebug()),
        ({"measurement": {"register": "mrtd", "values": ["a", "b"]}}, Measurement("mrtd", frozenset("ab"))),
        ({"anyOf": [{"allOf": [{"notDebug": True}]}]}, AnyOf([AllOf([NotDebug()])])),
    ],
)
def test_a_policy_document_means_its_rules(document: Any, policy: Policy) -> None:
    assert load(document) == policy == load_policy(canonical(SHAPE | {"accept": document}))


MALFORMED: list[Any] = [
    None,
    True,
    {},
    {"allof": []},
    {"allOf": None},
    {"allOf": [None]},
    {"allOf": [], "anyOf": []},
    {"notDebug": True, "note": ""},
    {"notDebug": "true"},
    {"minAssurance": None},
    {"minAssurance": ["software"]},
    {"measurement": {}},
    {"measurement": {"register": "a", "values": "b"}},
    {"measurement": {"register": "a", "values": [None]}},
    {"measurement": {"register": 1, "values": []}},
    {"measurement": [{"register": "a", "values": []}]},
]


@pytest.mark.parametrize("document", MALFORMED)
def test_any_other_document_is_malformed(document: Any) -> None:
    assert refusal(load, document) == "malformed" == refusal(load_policy, canonical(SHAPE | {"accept": document}))


@pytest.mark.parametrize(
    "document",
    [
        {"notDebug": True},
        {"accept": {"notDebug": True}},
        SHAPE,
        SHAPE | {"accept": {"notDebug": True}, "note": ""},
        SHAPE | {"accept": {"notDebug": True}, "kind": "execution"},
        SHAPE | {"accept": {"notDebug": True}, "version": 2},
        SHAPE | {"accept": {"notDebug": True}, "version": True},
        sign_policy(canonical(SHAPE | {"accept": {"notDebug": True}}), signing_key("publisher")).to_json(),
    ],
)
def test_a_file_of_another_shape_is_malformed(document: Any) -> None:
    assert refusal(load_policy, canonical(document)) == "malformed"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 500, b'{"notDebug":true,"notDebug":true}', b"NaN"])
def test_files_that_are_not_json_are_malformed(data: bytes) -> None:
    assert refusal(load_policy, data) == "malformed" == refusal(load_trust, data)


def test_the_programs_that_a_policy_accepts_are_those_it_lists_and_unlisted_is_not_none() -> None:
    program, accept = "ab" * 32, {"accept": {"notDebug": True}}
    assert load_programs(canonical(SHAPE | accept)) is None
    assert load_programs(canonical(SHAPE | accept | {"programs": []})) == frozenset()
    assert load_programs(canonical(SHAPE | accept | {"programs": [program]})) == {program}
    for other in (None, program, [program.upper()], [program[2:]], [1], {program: True}):
        assert refusal(load_programs, canonical(SHAPE | accept | {"programs": other})) == "malformed"


def test_a_trust_file_gives_each_scheme_its_own_anchors() -> None:
    key, other = "00" * 32, "01" * 32
    trust = load_trust(canonical({"format": FORMAT, "anchors": {"software": [key], "observer": [other, other]}}))
    assert trust.standing("software", key) == "trusted" == trust.standing("observer", other)
    assert trust.standing("software", other) == "unknown" == trust.standing("intel", key)


def test_a_trust_file_may_name_vendors_whose_published_roots_count_beside_its_own() -> None:
    own = "00" * 32
    named = {"format": FORMAT, "anchors": {"amd": [own]}, "vendors": ["amd", "intel"]}
    trust = load_trust(canonical(named))
    assert trust.anchors["amd"] == VENDOR_ROOTS["amd"] | {own}
    assert trust.anchors["intel"] == VENDOR_ROOTS["intel"]
    assert "aws" not in trust.anchors
    assert not trust.test_anchors


def test_nothing_is_trusted_by_default() -> None:
    assert Endorsements({}).standing("software", "00" * 32) == "unknown"
    with pytest.raises(PolicyError, match=r"^policy: an empty policy accepts nothing"):
        load_policy(b'{"kind":"appraisal","version":1,"accept":{"allOf":[]}}').check(Subject(CLAIMS, now=0))
