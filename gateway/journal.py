"""Receipts into the registry's log: their ids only, in batches, behind the calls.

What is in the store and not yet in the log is what waits, so a restart forgets nothing. The registry is not trusted: an
entry counts as logged once its inclusion is proven under a checkpoint that the configured log key signed.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

import anyio

from attest.canonical import canonical
from attest.encoding import Fields
from attest.errors import LogError
from attest.note import NoteKey
from attest.tlog import leaf_hash, open_checkpoint, verify_inclusion
from gateway.errors import UserError
from gateway.health import Breaker
from gateway.records import Logged, Records
from gateway.registry import Registry
from gateway.resolve import Unresolved
from gateway.upstream import Json, UpstreamError

BATCH = 256
LOOK_SECONDS = 2.0
logger = logging.getLogger(__name__)


class Journal:
    """Runs beside a gateway whose configuration says `"receipts": true` of its registry. Owned by one event loop."""

    def __init__(self, registry: Registry, records: Records) -> None:
        self._registry, self._records = registry, records
        self._pause = Breaker(random.random)

    async def run(self) -> None:
        """Log what waits until cancelled; a registry that fails is said once and tried again."""
        failing = False
        while True:
            settings = self._registry.settings
            waiting = self._records.unlogged(BATCH) if settings is not None and settings.receipts else []
            if not waiting or settings is None or settings.log is None:
                await anyio.sleep(LOOK_SECONDS)
                continue
            try:
                answer = await self._registry.ask("registry_log", {"receipts": waiting})
                await self._records.logged(proven(answer, waiting, NoteKey.parse(settings.log)))
            except (UpstreamError, Unresolved, LogError, UserError) as e:
                if not failing:
                    logger.warning("receipts cannot be logged: %s (it is tried again, and nothing is lost)", e)
                failing = True
                self._pause.failed(anyio.current_time())
                await anyio.sleep(max(self._pause.until - anyio.current_time(), 0))
            else:
                failing = False
                self._pause.worked()
                await asyncio.sleep(0)


def proven(answer: Json, receipts: Sequence[str], log: NoteKey) -> list[Logged]:
    """The entries of an answer of `registry_log`, each proven (WIRE.md section 11). Raises `LogError`."""
    told = Fields(answer.get("structuredContent"), "the registry's answer", LogError)
    note = told.text("checkpoint", maximum=10_000)
    checkpoint, found = open_checkpoint(note.encode(), log), list[Logged]()
    for entry in told.list("entries"):
        fields = Fields(entry, "an entry of the log", LogError)
        digest, index, hashes = fields.digest("digest"), fields.integer("index"), fields.list("hashes")
        proof = [Fields({"hash": value}, "a proof", LogError).base64("hash", maximum=32) for value in hashes]
        leaf = canonical({"type": "receipt", "digest": digest})
        verify_inclusion(leaf_hash(leaf), index, proof, checkpoint)
        found.append(Logged(digest, index, tuple(str(value) for value in hashes), note))
    if [entry.receipt for entry in found] != list(receipts):
        raise LogError("malformed", "the registry logged other receipts than it was given")
    return found
