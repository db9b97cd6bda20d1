"""Sealed bytes open under one key, beside one header, in one direction, and as they were sent."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.encoding import length_prefixed
from attest.seal import PROGRESS, PUBLIC_SIZE, REPLY, REQUEST, PublicKey, SealingKey, label
from tests.attest.made import refusal, sealing_public, sealing_seeds

KEY, HEADER = SealingKey(), b"header"


def seal(public: bytes, direction: bytes, header: bytes, plaintext: bytes, number: int | None = None) -> bytes:
    return PublicKey(public).seal(label(direction, header, number), plaintext)


def opened(key: SealingKey, direction: bytes, header: bytes, sealed: bytes, number: int | None = None) -> bytes:
    return key.open(label(direction, header, number), sealed)


SEALED = seal(KEY.public, REQUEST, HEADER, b"plaintext")
ENCAPSULATED = 1120


@settings(max_examples=20)
@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from([REQUEST, REPLY]))
def test_what_was_sealed_opens(plaintext: bytes, header: bytes, direction: bytes) -> None:
    assert opened(KEY, direction, header, seal(KEY.public, direction, header, plaintext)) == plaintext


def test_sealing_twice_gives_two_ciphertexts() -> None:
    assert seal(KEY.public, REQUEST, HEADER, b"plaintext") != SEALED
    assert len(SEALED) == ENCAPSULATED + len(b"plaintext") + 16


def test_it_opens_beside_no_other_header_key_or_direction() -> None:
    assert refusal(opened, KEY, REQUEST, b"headet", SEALED) == "seal"
    assert refusal(opened, KEY, REQUEST, b"", SEALED) == "seal"
    assert refusal(opened, KEY, REPLY, HEADER, SEALED) == "seal"
    assert refusal(opened, SealingKey(), REQUEST, HEADER, SEALED) == "seal"
    assert refusal(opened, KEY, REQUEST, HEADER, SEALED) == ""


def test_no_flipped_byte_opens() -> None:
    for place in range(len(SEALED)):
        flipped = SEALED[:place] + bytes([SEALED[place] ^ 1 << place % 8]) + SEALED[place + 1 :]
        assert refusal(opened, KEY, REQUEST, HEADER, flipped) == "seal", place


def test_a_progress_message_opens_in_its_place_only() -> None:
    first = seal(KEY.public, PROGRESS, HEADER, b"told", 1)
    assert opened(KEY, PROGRESS, HEADER, first, 1) == b"told"
    assert refusal(opened, KEY, PROGRESS, HEADER, first, 2) == "seal"
    assert refusal(opened, KEY, PROGRESS, HEADER, first) == "seal"
    assert refusal(opened, KEY, REPLY, HEADER, first, 1) == "seal"
    assert refusal(opened, KEY, PROGRESS, b"another", first, 1) == "seal"


@pytest.mark.parametrize("length", [0, 1, 32, 1087, 1088, 1119, 1120, 1121, 1135, 1136, len(SEALED) - 1])
def test_no_beginning_of_it_opens(length: int) -> None:
    assert refusal(opened, KEY, REQUEST, HEADER, SEALED[:length]) == "seal"


@pytest.mark.parametrize("size", [0, 1136, 5000])
def test_zeros_and_trailing_bytes_do_not_open(size: int) -> None:
    assert refusal(opened, KEY, REQUEST, HEADER, bytes(size)) == "seal"
    assert refusal(opened, KEY, REQUEST, HEADER, SEALED + bytes(size + 1)) == "seal"


LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_low_order_point_is_no_key_and_no_ciphertext(point: bytes) -> None:
    assert refusal(seal, KEY.public[:1184] + point, REQUEST, HEADER, b"x") == "key"
    assert refusal(opened, KEY, REQUEST, HEADER, SEALED[:1088] + point + SEALED[1120:]) == "seal"


@pytest.mark.parametrize(
    "public",
    [
        b"",
        KEY.public[:-1],
        KEY.public + b"\0",
        bytes(PUBLIC_SIZE),
        b"\xff" * PUBLIC_SIZE,
        b"\xff" * 1184 + KEY.public[1184:],
    ],
)
def test_what_is_no_public_key_is_refused(public: bytes) -> None:
    assert refusal(seal, public, REQUEST, HEADER, b"x") == "key"


def test_it_is_x_wing_in_rfc_9180_base_mode() -> None:
    """Opens a ciphertext with an implementation of our own, out of the two specifications."""
    ml_kem, x25519 = sealing_seeds("independent")
    private = X25519PrivateKey.from_private_bytes(x25519)
    sealed = seal(sealing_public("independent"), REQUEST, HEADER, b"plaintext")
    encapsulated, share, ciphertext = sealed[:1088], sealed[1088:1120], sealed[1120:]
    first = MLKEM768PrivateKey.from_seed_bytes(ml_kem).decapsulate(encapsulated)
    second = private.exchange(X25519PublicKey.from_public_bytes(share))
    public = private.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(first + second + share + public + rb"\.//^" + b"\\").digest()

    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")

    def expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
        return hmac.digest(secret, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context + b"\1", "sha256")[
            :size
        ]

    info = length_prefixed(REQUEST, hashlib.sha256(HEADER).digest())
    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
    assert AESGCM(key).decrypt(nonce, ciphertext, b"") == b"plaintext"
