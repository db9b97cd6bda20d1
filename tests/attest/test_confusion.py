"""Receipts whose algorithm, key or spelling is not the one there is: refused alike by the gateway and by a stranger."""

import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from attest.canonical import canonical
from attest.dsse import pae
from attest.errors import AttestError
from attest.evidence import key_id
from attest.receipt import Receipt, verify_exchange
from attest.statement import PAYLOAD_TYPE
from tests.attest.made import (
    BINDING,
    EXCHANGE,
    NOW,
    RESULT_SALT,
    STATEMENT,
    appraisal,
    bundle,
    failure,
    ledger,
    raw,
    receipt,
    sealing_public,
    sign,
    verify,
)

GOOD = receipt().envelope
TEXT = STATEMENT.encode()
SIGNED = pae(PAYLOAD_TYPE, TEXT)
P256 = ec.derive_private_key(7, ec.SECP256R1())
Json = dict[str, Any]


def online(told: Any) -> str:
    """The code with which the gateway refuses this receipt, as JSON; empty where it does not."""
    try:
        verify_exchange(Receipt.from_json(told), EXCHANGE, appraisal(), ledger(), NOW)
    except AttestError as e:
        return e.code
    return ""


def offline(told: Any) -> str:
    """The code with which `etmcp-verify` refuses a bundle with this receipt."""
    whole: Json = json.loads(bundle().encode())
    whole["receipt"] = told
    return failure(verify(canonical(whole)))[1]


def both(told: Any) -> str:
    """What the two say, who have to agree."""
    said, later = online(told), offline(told)
    assert said == later
    return said


def envelope(**changes: Any) -> Json:
    return Receipt(replace(GOOD, **changes), RESULT_SALT).to_json()


def keyed(algorithm: str) -> bytes:
    """A MAC under the public key, which everybody has."""
    return hmac.digest(raw("executor"), SIGNED, algorithm)


def with_member(where: Callable[[Json], Json], **members: Any) -> Json:
    """The good receipt with members more inside."""
    told: Json = json.loads(json.dumps(receipt().to_json()))
    where(told).update(members)
    return told


def inner(told: Json) -> Json:
    return told["envelope"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        pytest.param(receipt().to_json(), "", id="untouched"),
        pytest.param(
            envelope(signature=keyed("sha256")),
            "signature",
            id="g27-hs256-of-the-key",
        ),
        pytest.param(
            envelope(signature=keyed("sha512")),
            "signature",
            id="g27-hs512-of-the-key",
        ),
        pytest.param(envelope(signature=b""), "signature", id="g27-alg-none"),
        pytest.param(envelope(signature=bytes(64)), "signature", id="g27-zeros"),
        pytest.param(
            envelope(signature=P256.sign(SIGNED, ec.ECDSA(SHA256()))[:64]), "signature", id="g27-p256-as-ed25519"
        ),
        pytest.param(envelope(signature=GOOD.signature[::-1]), "signature", id="g27-halves-turned-round"),
        pytest.param(envelope(key_id=key_id(raw("executor"))), "key", id="g27-kid-of-a-key-that-only-signs"),
        pytest.param(envelope(key_id=BINDING.sealing_key.hex()[:128]), "key", id="g27-kid-of-the-sealing-key"),
        pytest.param(envelope(key_id=""), "key", id="g27-no-kid"),
        pytest.param(
            envelope(key_id=key_id(raw("executor"), sealing_public("other"))), "key", id="g22-another-sealing-key"
        ),
        pytest.param(Receipt(sign(TEXT, name="stranger"), RESULT_SALT).to_json(), "signature", id="g22-another-key"),
        pytest.param(envelope(payload_type="application/jose"), "malformed", id="g27-another-type"),
        pytest.param(with_member(inner, alg="none"), "malformed", id="g27-an-algorithm-is-named"),
    ],
)
def test_there_is_one_algorithm_and_nobody_can_name_another(told: Json, code: str) -> None:
    assert both(told) == code


def sequence(spelled: bytes) -> bytes:
    """The statement with its sequence number, which is 1, written so."""
    return TEXT.replace(b'"sequence":1', spelled)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT[:-1] + b',"_type":"x"}', id="g28-a-key-twice"),
        pytest.param(sequence(b'"sequence":1,"sequence":1'), id="g28-twice-the-same"),
        pytest.param(sequence(b'"sequence":1.0'), id="g28-1.0-for-1"),
        pytest.param(sequence(b'"sequence":1e0'), id="g28-1e0-for-1"),
        pytest.param(sequence(b'"sequence":18446744073709551617'), id="g28-beyond-2-64"),
        pytest.param(sequence(b'"sequence":"1"'), id="g28-a-number-as-text"),
        pytest.param(sequence(b'"sequence":true'), id="g28-true-for-1"),
        pytest.param(TEXT.replace(b"calculator", b"calculato\\u0072"), id="g28-an-escape"),
        pytest.param(TEXT.replace(b"calculator", b"calculator\\ud800"), id="g28-half-a-character"),
        pytest.param(TEXT + b" ", id="g28-a-space-behind"),
        pytest.param(TEXT.replace(b":", b": ", 1), id="g28-a-space-inside"),
        pytest.param(b"\xef\xbb\xbf" + TEXT, id="g28-a-byte-order-mark"),
        pytest.param(TEXT + TEXT, id="g28-two-values"),
        pytest.param(sequence(b'"sequence":NaN'), id="g28-not-a-number"),
    ],
)
def test_a_statement_has_one_spelling_for_everybody(text: bytes) -> None:
    assert text != TEXT
    assert both(Receipt(sign(text), RESULT_SALT).to_json()) != ""
