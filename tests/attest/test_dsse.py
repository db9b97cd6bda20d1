"""DSSE envelopes: one signature, one payload type, one key."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from attest.dsse import Envelope, pae
from attest.errors import EvidenceError, ReceiptError
from tests.attest.made import raw, signing_key

KIND, NAME = "text/example", "name"
ENVELOPE = Envelope.sign(KIND, b"said", signing_key("a"), NAME)


def test_pae_is_that_of_the_specification() -> None:
    signed = pae("http://example.com/HelloWorld", b"hello world")
    assert signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_a_good_envelope_opens_and_survives_json() -> None:
    again = Envelope.from_json(ENVELOPE.to_json())
    assert again == ENVELOPE
    assert again.open(KIND, raw("a"), NAME) == b"said"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payload_type": "text/other"}, "malformed"),
        ({"key_id": "other"}, "key"),
        ({"payload": b"sbid"}, "signature"),
        ({"signature": bytes(64)}, "signature"),
        ({"signature": ENVELOPE.signature[:-1]}, "signature"),
        ({"signature": b""}, "signature"),
        ({"payload_type": "text/other", "key_id": "other", "signature": b""}, "malformed"),
        ({"key_id": "other", "signature": b""}, "key"),
    ],
)
def test_what_was_changed_is_named(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        replace(ENVELOPE, **changes).open(KIND, raw("a"), NAME, EvidenceError)
    assert caught.value.code == code


@pytest.mark.parametrize("key", [raw("b"), raw("a")[:-1], b"", b"\xff" * 32])
def test_another_key_or_no_key_does_not_verify(key: bytes) -> None:
    with pytest.raises(ReceiptError, match=r"^signature"):
        ENVELOPE.open(KIND, key, NAME)


def test_the_other_signature_of_the_same_payload_does_not_verify() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    first, second = ENVELOPE.signature[:32], int.from_bytes(ENVELOPE.signature[32:], "little")
    with pytest.raises(ReceiptError, match=r"^signature"):
        replace(ENVELOPE, signature=first + (second + order).to_bytes(32, "little")).open(KIND, raw("a"), NAME)


@given(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_a_signature_covers_the_type_as_well_as_the_payload(t: str, p: bytes, t2: str, p2: bytes) -> None:
    def ascii_only(text: str) -> str:
        return text.encode("ascii", "ignore").decode()

    left, right = (ascii_only(t), p), (ascii_only(t2), p2)
    assert (pae(*left) == pae(*right)) == (left == right)


@pytest.mark.parametrize(
    "changes",
    [
        {"signatures": []},
        {"signatures": ENVELOPE.to_json()["signatures"] * 2},
        {"signatures": [{"keyid": NAME}]},
        {"signatures": [{"keyid": NAME, "sig": "", "cert": ""}]},
        {"signatures": [{"keyid": NAME, "sig": "A" * 92}]},
        {"signatures": {}},
        {"payload": "c2FpZA"},
        {"payload": "c2FpZB=="},
        {"payload": "c2FpZA==\n"},
        {"payload": None},
        {"payloadType": "t" * 201},
        {"extra": 1},
    ],
)
def test_any_other_shape_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError, match=r"^malformed"):
        Envelope.from_json(ENVELOPE.to_json() | changes, EvidenceError)


def test_the_digest_is_of_the_payload_however_it_was_signed() -> None:
    other = Envelope.sign(KIND, b"said", Ed25519PrivateKey.generate(), "else")
    assert other.digest == ENVELOPE.digest
    assert replace(ENVELOPE, payload=b"sbid").digest != ENVELOPE.digest
