"""Who may publish under a name: the holder of the key that the name's domain states, proven on a fresh challenge.

The key record is the official one (`v=MCPv1; k=ed25519; p=...`). What is signed is not a bare time as there, but names
this registry, a nonce that works once, and what is published: a captured signature is worth nothing elsewhere.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import length_prefixed, sha256_hex
from attest.errors import ManifestError
from attest.manifest import open_manifest
from registry.catalogue.entry import identify, problems
from registry.catalogue.store import Catalogue, Signed
from registry.errors import NotFound, Refused
from registry.log.leaf import Leaf
from registry.log.log import Log

LIFETIME = 300_000
TAG = b"com.etmcp/registry-publish/v1"

Records = Callable[[str], Sequence[str]]
"""A domain to the key records that it states."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Good once, for one name, at one registry, until `expires` (milliseconds since 1970)."""

    audience: str
    nonce: str
    name: str
    expires: int


def signing_input(challenge: Challenge, server: Mapping[str, Any], manifest: Envelope) -> bytes:
    """What the domain key signs. `server` is the server.json as published."""
    entry = bytes.fromhex(sha256_hex(canonical(dict(server))))
    parts = (challenge.audience.encode(), challenge.nonce.encode(), challenge.name.encode(), entry)
    return length_prefixed(TAG, *parts, bytes.fromhex(manifest.digest))


def parse_record(record: str) -> bytes:
    """The raw Ed25519 key of `v=MCPv1; k=ed25519; p=<base64>`. Raises `Refused("malformed-key-record")`."""
    fields = [part.strip().partition("=") for part in record.split(";") if part.strip()]
    members = {name: value for name, _, value in fields}
    try:
        if len(members) != len(fields) or members.get("v") != "MCPv1" or members.get("k") != "ed25519":
            raise ValueError("not an Ed25519 record of version MCPv1")
        key = base64.b64decode(members.get("p", "").encode("ascii"), validate=True)
        if len(key) != 32:
            raise ValueError("the key has not 32 bytes")
    except (ValueError, binascii.Error) as e:
        raise Refused("malformed-key-record", str(e)) from e
    return key


def domains(name: str) -> list[str]:
    """The domains whose keys may publish `name`: its namespace read backwards, and each that this is below."""
    labels = name.partition("/")[0].lower().split(".")
    return [".".join(reversed(labels[:count])) for count in range(len(labels), 1, -1)]


class Publisher:
    """`clock` returns milliseconds since 1970; `audience` names this registry to publishers."""

    def __init__(
        self, catalogue: Catalogue, log: Log, records: Records, audience: str, clock: Callable[[], int]
    ) -> None:
        self._catalogue, self._log, self._records = catalogue, log, records
        self._audience, self._clock = audience, clock

    def challenge(self, name: str) -> Challenge:
        """A fresh challenge for publishing `name`. Raises `Refused("unknown-namespace")` where no key could meet it."""
        self._keys(name)
        now = self._clock()
        challenge = Challenge(self._audience, secrets.token_hex(32), name, now + LIFETIME)
        self._catalogue.challenge(challenge.nonce, name, challenge.expires, now)
        return challenge

    async def publish(self, server: Mapping[str, Any], manifest: object, nonce: str, signature: bytes) -> int:
        """Check in this order, log the manifest's digest, keep the entry; returns the leaf's number.

        Raises `Refused`:
        1 `oversized`, `ambiguous-json`, `invalid-name`, `invalid-version`, `invalid-description`; 2 `invalid-entry`;
        3 `unknown-namespace`; 4 `malformed-manifest`; 5 `wrong-key` (no key of the domain signed the challenge);
        6 `unknown-challenge`, `replayed-challenge`, `expired-challenge`; 7 `wrong-manifest`; 8 `version-exists`.
        Whoever crashes or loses a race between log and catalogue leaves a leaf without an entry, never the reverse.
        """
        name, version = identify(server)
        if found := problems(server):
            raise Refused("invalid-entry", "; ".join(found)[:1000])
        keys = self._keys(name)
        try:
            envelope = Envelope.from_json(manifest, ManifestError)
        except ManifestError as e:
            raise Refused("malformed-manifest", e.detail) from e
        message = signing_input(Challenge(self._audience, nonce, name, 0), server, envelope)
        key = next((key for key in keys if _signed(key, signature, message)), None)
        if key is None:
            raise Refused("wrong-key", f"no key of {' or '.join(domains(name))} signed this challenge and entry")
        self._catalogue.spend(nonce, name, self._clock())
        try:
            trusted = open_manifest(envelope, key).manifest
        except ManifestError as e:
            raise Refused("wrong-manifest", e.detail) from e
        if (trusted.server, trusted.version) != (name, version):
            raise Refused("wrong-manifest", f"the manifest is of {trusted.server[:200]} {trusted.version}")
        try:
            self._catalogue.get(name, version)
        except NotFound:
            pass
        else:
            raise Refused("version-exists", f"{name} has a version {version}; versions never change: publish another")
        also = {"entry": sha256_hex(canonical(dict(server))), "key": sha256_hex(key)}
        leaf = await self._log.append(Leaf("manifest", envelope.digest, also))
        now = self._clock()
        self._catalogue.add(server, "active", now, now, Signed(json.dumps(envelope.to_json()), key.hex(), leaf))
        return leaf

    def _keys(self, name: str) -> list[bytes]:
        keys = [parse_record(record) for domain in domains(name) for record in self._records(domain)]
        if not keys:
            raise Refused("unknown-namespace", f"no key is known for {' or '.join(domains(name)) or name[:80]}")
        return keys


def _signed(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
