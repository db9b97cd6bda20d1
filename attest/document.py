"""Policy files, of appraisal and of execution: one shape, plain or in a signed envelope (WIRE.md, "Policies")."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import parse
from attest.dsse import Envelope
from attest.encoding import Fields
from attest.errors import CanonicalError, PolicyError
from attest.evidence import key_id

PAYLOAD_TYPE = "application/vnd.etmcp.policy+json"
MAX_BYTES = 512 << 10
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a file says, and the envelope around it, if there is one. Holding it proves no signature: call `signer`."""

    payload: bytes
    members: dict[str, Any]
    envelope: Envelope | None

    @classmethod
    def read(cls, data: bytes, kind: str) -> "PolicyFile":
        """A policy of this kind in version 1, plain or in an envelope; raises `PolicyError("malformed")`."""
        value, envelope = _object(data, "the policy file"), None
        if "payloadType" in value:
            envelope = Envelope.from_json(value, PolicyError)
            data = envelope.payload
            value = _object(data, "the signed policy")
        told = value.get("kind")
        if told != kind:
            found = "says no kind" if told is None else f"says kind {str(told)[:40]!a}"
            raise PolicyError("malformed", f'the policy {found}; this one must say "kind": "{kind}"')
        if type(value.get("version")) is not int or value["version"] != 1:
            raise PolicyError("malformed", 'the policy must say "version": 1')
        return cls(data, value, envelope)

    def signer(self, keys: Collection[bytes]) -> bytes:
        """Which of these raw Ed25519 keys signed it; raises `PolicyError`: `signature` where there is none, `key`."""
        if self.envelope is None:
            raise PolicyError("signature", "the policy is not signed")
        for key in keys:
            if self.envelope.key_id == key_id(key):
                self.envelope.open(PAYLOAD_TYPE, key, key_id(key), PolicyError)
                return key
        raise PolicyError("key", f"the policy is signed under key {self.envelope.key_id[:16]}, which was not given")


def sign_policy(payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """The operator's act."""
    return Envelope.sign(PAYLOAD_TYPE, payload, key, key_id(key.public_key().public_bytes_raw()))


def _object(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise PolicyError("malformed", f"{what} is longer than {MAX_BYTES} bytes")
    try:
        value = parse(data, max_depth=MAX_DEPTH)
    except CanonicalError as e:
        raise PolicyError("malformed", f"{what}: {e.detail}") from e
    Fields(value, what, PolicyError)
    return cast(dict[str, Any], value)
