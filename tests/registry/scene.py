"""A registry without a process: catalogue and log on disk, a clock and key records that tests set."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.canonical import canonical, parse
from attest.dsse import Envelope
from attest.encoding import sha256_hex
from attest.evidence import key_id
from attest.manifest import Manifest, Pin
from attest.statement import PAYLOAD_TYPE
from registry.catalogue.challenge import Authority, Challenge, Credential, signing_input
from registry.catalogue.entry import SCHEMA
from registry.catalogue.publish import Challenged, Publisher
from registry.catalogue.store import Catalogue
from registry.domains.lookup import FileRecords, Keys
from registry.log.log import Log

Json = dict[str, Any]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NAME = "com.example/weather"


def entry(**changed: Any) -> Json:
    """A server.json that may be published."""
    return {"$schema": SCHEMA, "name": NAME, "description": "Weather of the day", "version": "1.0.0", **changed}


def raw(key: Ed25519PrivateKey) -> bytes:
    """The public half."""
    return key.public_key().public_bytes_raw()


def record(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> str:
    """The official record of a key."""
    if isinstance(key, Ed25519PrivateKey):
        return f"v=MCPv1; k=ed25519; p={base64.b64encode(raw(key)).decode()}"
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return f"v=MCPv1; k=ecdsap384; p={base64.b64encode(point).decode()}"


def p384(key: EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A signature as the official record's P-384 has it."""
    assert isinstance(key.curve, SECP384R1)
    r, s = decode_dss_signature(key.sign(message, ECDSA(SHA384())))
    return r.to_bytes(48) + s.to_bytes(48)


def manifest(
    name: str = NAME, version: str = "1.0.0", key: Ed25519PrivateKey = KEY, attesters: frozenset[str] = frozenset()
) -> Json:
    """A manifest with one tool."""
    tools = {"today": Pin.of({"name": "today"})}
    return Manifest(name, version, "observer-attested", tools, {}, {}, None, attesters).sign(key).to_json()


def with_program(program: Json) -> Json:
    """A manifest that names a program of its tool, whatever it is worth."""
    payload = parse(base64.b64decode(manifest()["payload"]))
    payload["predicate"]["programs"] = {"today": program}
    payload["subject"][0]["digest"]["sha256"] = sha256_hex(canonical(payload["predicate"]))
    return Envelope.sign(PAYLOAD_TYPE, canonical(payload), KEY, key_id(raw(KEY))).to_json()


def sign(challenge: Challenge, server: Json, envelope: Json, key: Ed25519PrivateKey = KEY) -> bytes:
    """The answer to a challenge to publish."""
    return key.sign(signing_input(challenge, server, Envelope.from_json(envelope)))


@dataclass
class Scene:
    """A registry at a time that tests set, and the domains it knows."""

    catalogue: Catalogue
    log: Log
    now: int = 1_000_000
    records: dict[str, list[str]] = field(default_factory=lambda: {"example.com": [record(KEY)]})

    @classmethod
    def at(cls, folder: Path) -> "Scene":
        """A new one."""
        Log.create(folder / "log.db", "registry.example", KEY)
        return cls(Catalogue(folder / "catalogue.db"), Log(folder / "log.db", KEY))

    def authority(self, audience: str = "registry.example") -> Authority:
        """Who gives challenges."""
        return Authority(self.catalogue, Keys(FileRecords(self.records)), audience, lambda: self.now)

    def publisher(self) -> Publisher:
        """Who publishes."""
        return Publisher(self.catalogue, self.log, self.authority(), lambda: self.now)

    async def challenged(self, server: Json, envelope: Json) -> Challenge:
        """The challenge that publishing this begins with."""
        try:
            await self.publisher().publish(server, envelope, None)
        except Challenged as e:
            return e.challenge
        raise AssertionError

    async def published(self, server: Json, envelope: Json, key: Ed25519PrivateKey = KEY) -> None:
        """Publish under this domain key."""
        challenge = await self.challenged(server, envelope)
        given = Credential(challenge.nonce, sign(challenge, server, envelope, key))
        await self.publisher().publish(server, envelope, given)

    def close(self) -> None:
        """Let go of the files."""
        self.catalogue.close()
        self.log.close()
