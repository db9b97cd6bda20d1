"""Evidence: what it binds, how it travels, and what the software scheme reads from it."""

from base64 import b64decode, urlsafe_b64encode
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest import wire
from attest.canonical import canonical, parse
from attest.claims import Endorsements
from attest.errors import AttestError, EvidenceError
from attest.evidence import MAX_BODY, Binding, Evidence, key_id
from attest.schemes.software import LIFETIME_MS, MEDIA_TYPE, SCHEME, SKEW_MS, SoftwareScheme
from tests.attest.made import ANCHORS, BINDING, ISSUED, NOW, evidence, raw, sign

CMW = evidence().to_cmw()


@pytest.mark.parametrize("name", [field.name for field in fields(Binding)])
def test_report_data_depends_on_every_member_of_the_binding(name: str) -> None:
    value: bytes = getattr(BINDING, name)
    changed = replace(BINDING, **{name: bytes([value[0] ^ 1]) + value[1:]})
    assert changed.report_data() != BINDING.report_data()
    assert len(BINDING.report_data()) == 64
    assert (changed.key_id != BINDING.key_id) == (name in ("signing_key", "sealing_key"))


def test_a_key_that_only_signs_has_another_id_than_one_that_seals_too() -> None:
    assert key_id(BINDING.signing_key) != BINDING.key_id == key_id(BINDING.signing_key, BINDING.sealing_key)


def test_evidence_and_binding_survive_the_resource() -> None:
    assert wire.load_evidence(wire.dump_evidence(evidence(), BINDING)) == (evidence(), BINDING)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        CMW[:2],
        [*CMW, 1],
        [CMW[0], CMW[1], 2],
        [CMW[0], CMW[1], True],
        [CMW[0], CMW[1], 4.0],
        [1, CMW[1], 4],
        ["t" * 200, CMW[1], 4],
        [CMW[0], "A", 4],
        [CMW[0], "AB", 4],
        [CMW[0], "AA==", 4],
        [CMW[0], "A+8_", 4],
        [CMW[0], "AA\n", 4],
        [CMW[0], "\u00e9\u00e9\u00e9\u00e9", 4],
        [CMW[0], urlsafe_b64encode(bytes(MAX_BODY + 3)).decode(), 4],
    ],
)
def test_anything_but_one_form_of_cmw_is_malformed(value: Any) -> None:
    with pytest.raises(EvidenceError, match=r"^malformed"):
        Evidence.from_cmw(value)


@given(st.text(max_size=50), st.binary(max_size=50))
def test_cmw_reads_back_what_it_wrote(media_type: str, body: bytes) -> None:
    assert Evidence.from_cmw(Evidence(media_type, body).to_cmw()) == Evidence(media_type, body)


@pytest.mark.parametrize(
    "changes",
    [{"nonce": "00"}, {"bootId": 1}, {"sealingKey": "00" * 1215}, {"signingKey": None}, {"extra": ""}],
)
def test_a_binding_of_another_shape_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError, match=r"^malformed"):
        Binding.from_json(BINDING.to_json() | changes)


def opened(body: bytes, now: int = NOW, anchors: Endorsements = ANCHORS) -> Any:
    return SoftwareScheme().open(Evidence(MEDIA_TYPE, body), anchors, now)


def signed(*, name: str = "attester", key: str = key_id(raw("attester")), kind: str = MEDIA_TYPE, **said: Any) -> bytes:
    """Software evidence that says this, signed all the same."""
    whole = parse(b64decode(parse(evidence().body)["payload"])) | said
    return canonical(sign(canonical(whole), name=name, key=key, kind=kind).to_json())


def test_software_evidence_says_software_and_never_measures() -> None:
    claims = opened(evidence().body)
    assert (claims.scheme, claims.assurance, claims.anchored) == (SCHEME, "software", True)
    assert claims.measurement == {}
    assert claims.self_reported == {"engine": "none"}
    assert claims.report_data == BINDING.report_data()
    assert (claims.issued_at, claims.expires_at) == (ISSUED, ISSUED + LIFETIME_MS)


def test_software_evidence_under_a_stranger_is_sound_and_not_anchored() -> None:
    claims = opened(evidence(attester="stranger").body)
    assert (claims.anchored, claims.anchor) == (False, raw("stranger").hex())
    assert not opened(evidence().body, anchors=Endorsements({})).anchored
    elsewhere = Endorsements({"tdx": frozenset({raw("attester").hex()})})
    assert not opened(evidence().body, anchors=elsewhere).anchored


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (evidence().body + b" ", "malformed"),
        (evidence().body.replace(b":", b": ", 1), "malformed"),
        (signed(kind="application/vnd.in-toto+json"), "malformed"),
        (signed(assurance="hardware"), "malformed"),
        (signed(measurement={}), "malformed"),
        (signed(reportData="00"), "malformed"),
        (signed(attester="00"), "malformed"),
        (signed(selfReported={"engine": 1}), "malformed"),
        (signed(selfReported={"engine": "x" * 201}), "malformed"),
        (signed(selfReported=[]), "malformed"),
        (signed(issuedAt=-1), "malformed"),
        (signed(expiresAt=1.5), "malformed"),
        (signed(key=key_id(raw("stranger"))), "key"),
        (signed(attester=raw("stranger").hex()), "key"),
        (signed(name="stranger"), "signature"),
        (signed(expiresAt=ISSUED + LIFETIME_MS + 1), "expired"),
        (signed(expiresAt=NOW - 1), "expired"),
        (signed(issuedAt=NOW + SKEW_MS + 1, expiresAt=NOW + LIFETIME_MS), "not_yet_valid"),
    ],
)
def test_software_evidence_that_is_wrong_is_refused_with_its_code(body: bytes, code: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        opened(body)
    assert caught.value.code == code


def test_software_evidence_lives_exactly_its_hour_give_or_take_the_skew() -> None:
    body = evidence().body
    for now in (ISSUED - SKEW_MS, ISSUED, ISSUED + LIFETIME_MS):
        assert opened(body, now).anchored
    for now, code in ((ISSUED - SKEW_MS - 1, "not_yet_valid"), (ISSUED + LIFETIME_MS + 1, "expired")):
        with pytest.raises(EvidenceError, match=rf"^{code}"):
            opened(body, now)


@given(st.binary(max_size=200))
def test_the_scheme_lets_no_foreign_exception_out(body: bytes) -> None:
    with pytest.raises(AttestError):
        opened(body)
