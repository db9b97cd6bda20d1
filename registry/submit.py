"""What publishers and gateways hand in, in JSON: the one way that the MCP tools and the HTTP API both go."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attest.encoding import b64encode
from registry.api import response_of
from registry.catalogue.challenge import Credential, StatusChange
from registry.catalogue.publish import Challenged, Publisher
from registry.catalogue.store import STATUSES
from registry.errors import Refused
from registry.log.leaf import Leaf
from registry.log.log import Log

MAX_BATCH = 256
_KEY = re.compile(r"[0-9a-f]{64}")

Json = dict[str, Any]


def told(challenged: Challenged) -> Json:
    """A challenge as publishers get it; `sign` is what the domain key signs, in base64."""
    return {"challenge": challenged.challenge.to_json(), "sign": b64encode(challenged.message)}


class Desk:
    """Reads requests, has them carried out, and says what came of it. Raises `RegistryError`."""

    def __init__(self, publisher: Publisher, log: Log) -> None:
        self._publisher, self._log = publisher, log

    async def publish(
        self, server: Mapping[str, Any], manifest: object, *, nonce: str, signature: str, publisher: str
    ) -> Json:
        """Publish one version; see `Publisher.publish`. Without a nonce, `Challenged`. `publisher` in hex or empty."""
        if publisher and not _KEY.fullmatch(publisher):
            raise Refused("malformed-request", "publisher is an Ed25519 key of 64 hex digits, or left out")
        key = bytes.fromhex(publisher)
        entry = await self._publisher.publish(server, manifest, _credential(nonce, signature), key)
        return response_of(entry)

    async def status(
        self, name: str, version: str, status: str, message: str, *, nonce: str, signature: str
    ) -> list[Json]:
        """Change a status; see `Publisher.change_status`. Without a nonce, `Challenged`."""
        if status not in STATUSES:
            raise Refused("invalid-status", f"a status is one of {', '.join(STATUSES)}")
        change = StatusChange(name, version, status, message)
        changed = await self._publisher.change_status(change, _credential(nonce, signature))
        return [response_of(entry) for entry in changed]

    async def log_receipts(self, digests: Sequence[object]) -> Json:
        """Put receipt ids (SHA-256 in hex) into the log, each once, and prove all of them under one checkpoint."""
        if not 0 < len(digests) <= MAX_BATCH:
            raise Refused("oversized-batch", f"a batch is of 1 to {MAX_BATCH} digests")
        leaves = [Leaf("receipt", digest) for digest in digests if isinstance(digest, str)]
        if len(leaves) != len(digests):
            raise Refused("malformed-leaf", "a digest is a string of 64 hex digits")
        indexes = await self._log.append_once(leaves)
        proofs = self._log.prove_inclusions(indexes)
        entries = [
            {"digest": leaf.digest, "index": index, "hashes": [b64encode(value) for value in proof.hashes]}
            for leaf, index, proof in zip(leaves, indexes, proofs, strict=True)
        ]
        return {"entries": entries, "checkpoint": proofs[0].note.decode(), "log": str(self._log.verifier)}


def _credential(nonce: str, signature: str) -> Credential | None:
    return Credential.read(nonce, signature) if nonce else None
