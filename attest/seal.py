"""Sealed I/O: HPKE (RFC 9180, base mode) with X-Wing, HKDF-SHA256 and AES-256-GCM, one message per direction.

The library's single-shot API has no AAD, so the digest of the call header goes into `info`: a ciphertext opens only
beside the header it was made for. The reply is sealed to a one-time key that travels inside the sealed request.
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
PUBLIC_SIZE = 1216
_ML_KEM_SIZE = 1184

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class SealingKey:
    """An X-Wing key pair that lives in this process only."""

    def __init__(self) -> None:
        ml_kem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        self._private = hpke.MLKEM768X25519PrivateKey(ml_kem, x25519)
        self.public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def open(self, direction: bytes, header: bytes, sealed: bytes) -> bytes:
        """Return the plaintext sealed to this key beside `header`; every failure is `SealError("seal")`."""
        try:
            return _SUITE.decrypt(sealed, self._private, info=_info(direction, header))
        except (InvalidTag, ValueError) as e:
            raise SealError("seal", "the ciphertext does not open under this key and call header") from e


def seal(public: bytes, direction: bytes, header: bytes, plaintext: bytes) -> bytes:
    """Seal `plaintext` to a 1216-byte X-Wing public key (ML-KEM-768 then X25519), bound to `header`.

    Raises `SealError("key")` where the public key is malformed.
    """
    if len(public) != PUBLIC_SIZE:
        raise SealError("key", f"an X-Wing public key has {PUBLIC_SIZE} bytes, not {len(public)}")
    try:
        key = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_ML_KEM_SIZE]),
            X25519PublicKey.from_public_bytes(public[_ML_KEM_SIZE:]),
        )
        return _SUITE.encrypt(plaintext, key, info=_info(direction, header))
    except (InvalidTag, ValueError) as e:  # InvalidTag: a low-order X25519 point
        raise SealError("key", "the X-Wing public key is not usable") from e


def _info(direction: bytes, header: bytes) -> bytes:
    return length_prefixed(direction, hashlib.sha256(header).digest())
