"""Sealed I/O: HPKE (RFC 9180, base mode) with X-Wing, HKDF-SHA256 and AES-256-GCM, single shot.

The library's single-shot API has no AAD, so the digest of the call header goes into `info`: a ciphertext opens only
beside the header it was made for, and a progress message only in its place. Replies and progress are sealed to a
one-time key that travels inside the sealed request.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from attest.encoding import length_prefixed
from attest.errors import SealError

REQUEST = b"etmcp/request/v1"
REPLY = b"etmcp/reply/v1"
PROGRESS = b"etmcp/progress/v1"
PUBLIC_SIZE = 1216
_ML_KEM_SIZE = 1184
_ENCAPSULATED = 1120

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
# Opened in place of what is too short, so that this costs the same: any ML-KEM ciphertext decapsulates, and the X25519
# base point is a share like any other.
_NOBODY_S = bytes(_ENCAPSULATED - 32) + b"\x09" + bytes(31) + bytes(16)


def label(direction: bytes, header: bytes, number: int | None = None) -> bytes:
    """What a ciphertext is bound to (HPKE `info`): its direction, its call, and the number of a progress message."""
    place = [] if number is None else [number.to_bytes(8, "big")]
    return length_prefixed(direction, hashlib.sha256(header).digest(), *place)


class SealingKey:
    """An X-Wing key pair that lives in this process only."""

    def __init__(self) -> None:
        ml_kem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        self._private = hpke.MLKEM768X25519PrivateKey(ml_kem, x25519)
        self.public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, bound: bytes, sealed: bytes) -> bytes:
        """Return the plaintext sealed to this key under the `label` `bound`.

        Every failure is the same `SealError("seal")` after the same work, one decapsulation and one opening.
        """
        try:
            whole = len(sealed) >= len(_NOBODY_S)
            return _SUITE.decrypt(sealed if whole else _NOBODY_S, self._private, info=bound)
        except (InvalidTag, ValueError) as e:
            raise SealError("seal", "the sealed part does not open under this key and call header") from e


class PublicKey:
    """An X-Wing public key, read once: 1216 bytes, ML-KEM-768 then X25519. Raises `SealError("key")` if it is none."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PUBLIC_SIZE:
            raise SealError("key", f"an X-Wing public key has {PUBLIC_SIZE} bytes, not {len(raw)}")
        self.raw = raw
        try:
            self._public = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:_ML_KEM_SIZE]),
                X25519PublicKey.from_public_bytes(raw[_ML_KEM_SIZE:]),
            )
        except ValueError as e:
            raise SealError("key", "the X-Wing public key is not usable") from e

    def seal(self, bound: bytes, plaintext: bytes) -> bytes:
        """Seal to this key under the `label` `bound`. Raises `SealError("key")` for a low-order X25519 point."""
        try:
            return _SUITE.encrypt(plaintext, self._public, info=bound)
        except (InvalidTag, ValueError) as e:
            raise SealError("key", "the X-Wing public key is not usable") from e
