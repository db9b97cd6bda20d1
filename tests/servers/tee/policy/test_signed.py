"""A signed policy counts under a key that the operator named, and under no other, changed in no byte."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.document import PAYLOAD_TYPE, sign_policy
from attest.dsse import Envelope
from attest.evidence import key_id
from attest.manifest import PAYLOAD_TYPE as STATEMENT_TYPE
from servers.tee.policy import BadPolicy, read_policy, read_unsigned

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([one]) * 32) for one in (1, 2))
PUBLIC, STRANGER = KEY.public_key().public_bytes_raw(), OTHER.public_key().public_bytes_raw()
PLAIN = b'{"kind": "execution", "version": 1, "tier": "process"}'
SIGNED: dict[str, Any] = sign_policy(PLAIN, KEY).to_json()
WIDER = base64.b64encode(PLAIN.replace(b"process", b"service")).decode()


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def signature(**members: str) -> dict[str, Any]:
    return SIGNED | {"signatures": [SIGNED["signatures"][0] | members]}


def as_type(payload_type: str) -> dict[str, Any]:
    return Envelope.sign(payload_type, PLAIN, KEY, key_id(PUBLIC)).to_json()


def test_it_is_read_under_its_key_among_others() -> None:
    assert read_policy(dumped(SIGNED), [STRANGER, PUBLIC]) == read_unsigned(PLAIN) == read_unsigned(dumped(SIGNED))


UNKNOWN = "signature: the policy is signed under key {}, which was not given"
FALSE = "signature: the signature does not verify"
ONE = "document: the envelope needs exactly one signature"
MUST = 'this one must say "kind": "execution"'
APPRAISAL = sign_policy(b'{"kind":"appraisal","version":1,"accept":{}}', KEY).to_json()
BY_STRANGER = sign_policy(PLAIN, OTHER).to_json()
OURS, THEIRS = key_id(PUBLIC), key_id(STRANGER)
TYPE = f"signature: the envelope holds {STATEMENT_TYPE!r}, not {PAYLOAD_TYPE!r}"
FORGED: list[tuple[str, bytes, list[bytes], str]] = [
    ("plain", PLAIN, [PUBLIC], "signature: the policy is not signed"),
    ("no key", dumped(SIGNED), [], UNKNOWN.format(OURS[:16])),
    ("another key", dumped(SIGNED), [STRANGER], UNKNOWN.format(OURS[:16])),
    ("another key's name", dumped(signature(keyid=THEIRS)), [PUBLIC, STRANGER], FALSE),
    ("a stranger's signature", dumped(BY_STRANGER), [PUBLIC], UNKNOWN.format(THEIRS[:16])),
    ("another payload", dumped(SIGNED | {"payload": WIDER}), [PUBLIC], FALSE),
    ("another type", dumped(as_type(STATEMENT_TYPE)), [PUBLIC], TYPE),
    ("two signatures", dumped(SIGNED | {"signatures": SIGNED["signatures"] * 2}), [PUBLIC], ONE),
    ("no signature", dumped(SIGNED | {"signatures": []}), [PUBLIC], ONE),
    ("a member more", dumped(SIGNED | {"tier": "wasm"}), [PUBLIC], "document: the envelope has unknown members: tier"),
    (
        "a member twice",
        dumped(SIGNED)[:-1] + b', "payload": ""}',
        [PUBLIC],
        "document: the policy file: an object names one key twice",
    ),
    ("an appraisal policy", dumped(APPRAISAL), [PUBLIC], f"document: the policy says kind 'appraisal'; {MUST}"),
    (
        "an envelope inside",
        dumped(sign_policy(dumped(SIGNED), KEY).to_json()),
        [PUBLIC],
        f"document: the policy says no kind; {MUST}",
    ),
]


@pytest.mark.parametrize(("data", "keys", "told"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_a_forged_one_is_refused(data: bytes, keys: list[bytes], told: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        read_policy(data, keys)
    assert str(raised.value) == told


def test_no_flipped_bit_is_read_as_another_policy() -> None:
    data = dumped(SIGNED)
    meant = read_policy(data, [PUBLIC])
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        try:
            assert read_policy(bytes(changed), [PUBLIC]) == meant
        except BadPolicy:
            continue
