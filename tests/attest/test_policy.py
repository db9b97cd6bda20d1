"""Policies compose, an empty one refuses, and both of a verifier's files load strictly."""

from dataclasses import replace
from typing import Any

import pytest

from attest.canonical import canonical
from attest.document import sign_policy
from attest.errors import PolicyError
from attest.evidence import Claims, Endorsements
from attest.policy import AllOf, AnyOf, Measurement, MinAssurance, NotDebug, Policy, load
from attest.trust import FORMAT, load_policy, load_trust
from tests.attest.made import refusal, signing_key

CLAIMS = Claims("tdx", "hardware", "root", True, b"", {"mrtd": "00ff"}, {"engine": "abcd"}, False, 0, 1)
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
        (AnyOf([NO, YES]), DEBUG, ""),
        (AnyOf([YES, NO]), DEBUG, ""),
        (AnyOf([AllOf([]), NO]), DEBUG, "debug"),
        (MinAssurance("hardware"), CLAIMS, ""),
        (MinAssurance("hardware"), replace(CLAIMS, assurance="software"), "policy"),
        (MinAssurance("software"), replace(CLAIMS, assurance="none"), "policy"),
        (MinAssurance("software"), replace(CLAIMS, assurance="software"), ""),
        (Measurement("mrtd", frozenset({"00ff", "01"})), CLAIMS, ""),
        (Measurement("mrtd", frozenset({"01"})), CLAIMS, "measurement"),
        (Measurement("mrtd", frozenset()), CLAIMS, "measurement"),
        (Measurement("rtmr0", frozenset({"00ff"})), CLAIMS, "measurement"),
        (Measurement("rtmr0", frozenset({"None", ""})), CLAIMS, "measurement"),
        (Measurement("engine", frozenset({"abcd"})), CLAIMS, "measurement"),
    ],
)
def test_a_policy_accepts_or_refuses_with_its_code(policy: Policy, claims: Claims, code: str) -> None:
    assert refusal(policy.check, claims) == code


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


def test_a_trust_file_gives_each_scheme_its_own_anchors() -> None:
    key, other = "00" * 32, "01" * 32
    trust = load_trust(canonical({"format": FORMAT, "anchors": {"software": [key], "observer": [other, other]}}))
    assert trust.trusts("software", key)
    assert trust.trusts("observer", other)
    assert not trust.trusts("software", other)
    assert not trust.trusts("tdx", key)


def test_nothing_is_trusted_by_default() -> None:
    assert not Endorsements({}).trusts("software", "00" * 32)
    with pytest.raises(PolicyError, match=r"^policy: an empty policy accepts nothing"):
        load_policy(b'{"kind":"appraisal","version":1,"accept":{"allOf":[]}}').check(CLAIMS)
