"""DSSE v1 envelopes with one Ed25519 signature (github.com/secure-systems-lab/dsse, protocol.md)."""

from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attest.encoding import Fields, b64encode, sha256_hex
from attest.errors import AttestError, ReceiptError

MAX_PAYLOAD = 1 << 20


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type.encode(), len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and who says so. Holding one proves nothing: call `open`."""

    payload_type: str
    payload: bytes
    key_id: str
    signature: bytes

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, key: Ed25519PrivateKey, key_id: str) -> "Envelope":
        """Sign `payload` as `payload_type`."""
        return cls(payload_type, payload, key_id, key.sign(pae(payload_type, payload)))

    def open(self, payload_type: str, key: bytes, key_id: str, error: type[AttestError] = ReceiptError) -> bytes:
        """Return the payload if it has this type, names this key id and verifies under this raw Ed25519 key.

        Raises `error` with code `malformed`, `key` or `signature`.
        """
        if self.payload_type != payload_type:
            raise error("malformed", f"the envelope holds {self.payload_type[:80]!r}, not {payload_type!r}")
        if self.key_id != key_id:
            raise error("key", f"signed under key {self.key_id[:16]}, not {key_id[:16]}")
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(self.signature, pae(payload_type, self.payload))
        except (InvalidSignature, ValueError) as e:
            raise error("signature", "the signature does not verify") from e
        return self.payload

    @property
    def digest(self) -> str:
        """SHA-256 of the payload: the identity of what was said, however it was signed."""
        return sha256_hex(self.payload)

    def to_json(self) -> dict[str, Any]:
        """The DSSE JSON form."""
        return {
            "payloadType": self.payload_type,
            "payload": b64encode(self.payload),
            "signatures": [{"keyid": self.key_id, "sig": b64encode(self.signature)}],
        }

    @classmethod
    def from_json(cls, value: Any, error: type[AttestError] = ReceiptError) -> "Envelope":
        """Read the DSSE JSON form with exactly one signature; raises `error("malformed")`."""
        fields = Fields(value, "the envelope", error)
        payload_type = fields.text("payloadType", maximum=200)
        payload = fields.base64("payload", maximum=MAX_PAYLOAD)
        signatures = fields.list("signatures")
        fields.done()
        if len(signatures) != 1:
            raise error("malformed", "the envelope needs exactly one signature")
        signature = Fields(signatures[0], "the signature", error)
        envelope = cls(payload_type, payload, signature.text("keyid", maximum=128), signature.base64("sig", maximum=64))
        signature.done()
        return envelope
