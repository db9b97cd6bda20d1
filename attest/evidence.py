"""Evidence (RFC 9334), who makes it, and what it must bind."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Protocol

from attest.encoding import Fields, length_prefixed, sha256_hex
from attest.errors import EvidenceError

CMW_EVIDENCE = 4  # RFC 9999: indicator bit 2 says that the message is Evidence
MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Binding:
    """What an Attester's report_data commits to: the challenge and everything that later speaks for the server.

    `nonce` 32 bytes; `signing_key` Ed25519, 32; `sealing_key` X-Wing (ML-KEM-768 then X25519), 1216;
    `configuration` SHA-256 of the server's configuration document, 32; `boot_id` fresh per process, 16.
    """

    nonce: bytes
    signing_key: bytes
    sealing_key: bytes
    configuration: bytes
    boot_id: bytes

    def report_data(self) -> bytes:
        """The 64 bytes that the Evidence must carry."""
        fields = (self.nonce, self.signing_key, self.sealing_key, self.configuration, self.boot_id)
        return hashlib.sha512(length_prefixed(b"etmcp/report-data/v1", *fields)).digest()

    @property
    def key_id(self) -> str:
        """Names the pair of keys in calls and receipts."""
        return key_id(self.signing_key, self.sealing_key)

    def to_json(self) -> dict[str, Any]:
        """All five members in lower-case hex."""
        return {
            "nonce": self.nonce.hex(),
            "signingKey": self.signing_key.hex(),
            "sealingKey": self.sealing_key.hex(),
            "configuration": self.configuration.hex(),
            "bootId": self.boot_id.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Binding":
        """Read `to_json`'s form; raises `EvidenceError("malformed")`."""
        fields = Fields(value, "the binding", EvidenceError)
        binding = cls(
            fields.hex("nonce", 32),
            fields.hex("signingKey", 32),
            fields.hex("sealingKey", 1216),
            fields.hex("configuration", 32),
            fields.hex("bootId", 16),
        )
        fields.done()
        return binding


def key_id(signing_key: bytes, sealing_key: bytes = b"") -> str:
    """SHA-256 over both public keys, hex. A key that only signs has no sealing key."""
    return sha256_hex(length_prefixed(b"etmcp/key-id/v1", signing_key, sealing_key))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Opaque bytes an Attester made, and the media type that says which Scheme reads them."""

    media_type: str
    body: bytes

    def to_cmw(self) -> list[Any]:
        """The JSON record form of a RATS conceptual message wrapper (RFC 9999 section 3.1)."""
        return [self.media_type, urlsafe_b64encode(self.body).rstrip(b"=").decode(), CMW_EVIDENCE]

    @classmethod
    def from_cmw(cls, value: Any) -> "Evidence":
        """Read `to_cmw`'s form; raises `EvidenceError("malformed")`."""
        match value:
            case [str(media_type), str(body), int(indicator)] if indicator == CMW_EVIDENCE and len(media_type) < 200:
                pass
            case _:
                raise EvidenceError("malformed", "the evidence is not a CMW record of type evidence")
        try:
            evidence = cls(media_type, urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except ValueError as e:
            raise EvidenceError("malformed", "the evidence body is not base64url") from e
        if len(evidence.body) > MAX_BODY or evidence.to_cmw()[1] != body:
            raise EvidenceError("malformed", "the evidence body is too long or not in its one base64url form")
        return evidence


class Attester(Protocol):
    """Runs beside the executor."""

    def attest(self, report_data: bytes) -> Evidence:
        """Return fresh Evidence that carries these 64 bytes."""
        ...
