"""What a publisher may do to the catalogue: publish a version, change a status. The log comes first, then the entry."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import sha256_hex
from attest.errors import ManifestError
from attest.manifest import open_manifest
from registry.catalogue.challenge import Authority, Challenge, Credential, StatusChange, signing_input, status_input
from registry.catalogue.entry import identify, problems
from registry.catalogue.store import STATUSES, Catalogue, Changed, Entry, Signed, Status
from registry.domains.record import DomainKey
from registry.errors import NotFound, Refused
from registry.log.leaf import Leaf
from registry.log.log import Log

MAX_MESSAGE = 500


class Challenged(Refused):
    """`challenge`: nothing was wrong, but the domain key has to sign `message` first."""

    def __init__(self, challenge: Challenge, message: bytes) -> None:
        super().__init__("challenge", "sign this with a key of the domain, and ask again with nonce and signature")
        self.challenge, self.message = challenge, message


class Publisher:
    """`clock` returns milliseconds since 1970.

    Whoever crashes or loses a race between log and catalogue leaves a leaf without an effect, never the reverse.
    """

    def __init__(self, catalogue: Catalogue, log: Log, authority: Authority, clock: Callable[[], int]) -> None:
        self._catalogue, self._log, self._authority, self._clock = catalogue, log, authority, clock

    async def publish(
        self, server: Mapping[str, Any], manifest: object, given: Credential | None, publisher: bytes = b""
    ) -> Entry:
        """Check in this order, log the manifest's digest, keep the entry.

        `publisher` is the raw Ed25519 key that signed the manifest; without it, the domain key that signs the challenge
        must have. Raises `Refused`:
        1 `oversized`, `ambiguous-json`, `invalid-name`, `invalid-version`, `invalid-description`; 2 `invalid-entry`;
        3 `malformed-manifest`; 4 `Challenged` where nothing is `given`; 5 as `Authority.admit`; 6 `wrong-manifest`;
        7 `version-exists`.
        """
        name, version = identify(server)
        if found := problems(server):
            raise Refused("invalid-entry", "; ".join(found)[:1000])
        try:
            envelope = Envelope.from_json(manifest, ManifestError)
        except ManifestError as e:
            raise Refused("malformed-manifest", e.detail) from e

        def message(challenge: Challenge) -> bytes:
            return signing_input(challenge, server, envelope)

        domain_key = await self._admit(name, given, message)
        key = _manifest_key(publisher, domain_key)
        try:
            trusted = open_manifest(envelope, key).manifest
        except ManifestError as e:
            raise Refused("wrong-manifest", e.detail) from e
        if (trusted.server, trusted.version) != (name, version):
            raise Refused("wrong-manifest", f"the manifest is of {trusted.server[:200]} {trusted.version}")
        with suppress(NotFound):
            if self._catalogue.get(name, version).signed:
                raise Refused("version-exists", f"{name} has a version {version}: versions never change")
        also = {"entry": sha256_hex(canonical(dict(server))), "key": sha256_hex(key)}
        leaf = await self._log.append(Leaf("manifest", envelope.digest, also))
        now = self._clock()
        self._catalogue.add(server, "active", now, now, Signed(json.dumps(envelope.to_json()), key.hex(), leaf))
        return self._catalogue.get(name, version)

    async def change_status(self, change: StatusChange, given: Credential | None) -> list[Entry]:
        """Change one version, or all or none of a server's; returns those that changed. A leaf for each is logged.

        Raises `Refused`: `invalid-status`, `invalid-version`, `no-change`, `Challenged`, as `Authority.admit`;
        `NotFound`.
        """
        if change.status not in STATUSES or len(change.message) > MAX_MESSAGE:
            raise Refused("invalid-status", f"a status is {', '.join(STATUSES)}, a message at most {MAX_MESSAGE} long")
        if change.status == "active" and change.message:
            raise Refused("invalid-status", "what is active has no message")
        self._affected(change)
        key = await self._admit(change.name, given, lambda challenge: status_input(challenge, change))
        now, affected = self._clock(), self._affected(change)
        said = {
            (entry.name, entry.version): status_document(
                entry.name, entry.version, change.status, change.message or None, now
            )
            for entry in affected
        }
        also = {"key": sha256_hex(key.public)}
        leaves = await asyncio.gather(
            *(self._log.append(Leaf("status", sha256_hex(document), also)) for document in said.values())
        )
        with self._catalogue.transaction():
            for (name, version), leaf in zip(said, leaves, strict=True):
                self._catalogue.set_status(name, version, change.status, Changed(change.message or None, now, leaf))
        return [self._catalogue.get(name, version) for name, version in said]

    async def _admit(self, name: str, given: Credential | None, message: Callable[[Challenge], bytes]) -> DomainKey:
        if given is None:
            challenge = await self._authority.challenge(name)
            raise Challenged(challenge, message(challenge))
        return await self._authority.admit(name, given, message)

    def _affected(self, change: StatusChange) -> list[Entry]:
        if change.version == "latest":
            raise Refused("invalid-version", "which version is the latest may change: name the version")
        if change.version:
            entries = [self._catalogue.get(change.name, change.version)]
        else:
            entries = self._catalogue.versions(change.name)
        wanted = (change.status, change.message or None)
        affected = [e for e in entries if (e.status, e.changed.message if e.changed else None) != wanted]
        if not affected:
            raise Refused("no-change", f"{change.name} {change.version} is {change.status} already".replace("  ", " "))
        return affected


def status_document(name: str, version: str, status: Status, message: str | None, changed: int) -> bytes:
    """What the digest of a `status` leaf is of: anybody can make it again from what the API says."""
    members = {"name": name, "version": version, "status": status, "statusMessage": message}
    return canonical(members | {"statusChangedAt": changed})


def _manifest_key(publisher: bytes, domain_key: DomainKey) -> bytes:
    if publisher:
        return publisher
    if domain_key.algorithm != "ed25519":
        raise Refused("wrong-manifest", "a P-384 key signs no manifest: say which Ed25519 key did as `publisher`")
    return domain_key.public
