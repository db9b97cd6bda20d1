"""What all members of one gateway share. Made in a composition root, read-only afterwards."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from attest import schemes
from attest.canonical import parse
from attest.claims import Endorsements
from attest.dsse import Envelope
from attest.errors import AttestError, ManifestError
from attest.manifest import TrustedManifest, open_manifest
from attest.policy import AllOf
from attest.presets import UNNAMED
from attest.rules import ReferenceValues
from attest.schemes.roots import VENDOR_ROOTS
from attest.schemes.software import SCHEME
from attest.verifier import Verifier
from gateway.appraising import Accepting
from gateway.config import Server
from gateway.errors import UserError
from gateway.exchange.observed import Observer
from gateway.feed import Feed
from gateway.home import Home
from gateway.identity import Identity
from gateway.pins import Pins
from gateway.records import Records
from gateway.registry import Registry
from gateway.upstream import Json
from registry.endorsements import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hub:
    """`clock` returns milliseconds since 1970; `environ` is the gateway's environment, of which little is passed on."""

    home: Home
    http: aiohttp.ClientSession
    pins: Pins
    records: Records
    observer: Observer
    clock: Callable[[], int]
    environ: Mapping[str, str]
    info: Json
    feed: Feed
    identity: Identity
    registry: Registry
    endorsements: Source
    # By vendor: roots that count beside the vendors' own, and are named in every verdict. Of the command line alone.
    test_roots: Mapping[str, frozenset[str]]
    # What is being ended in the background; each removes itself.
    _ending: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def verifier(
        self, accepting: Accepting | None, published: TrustedManifest | None, attesters: frozenset[str]
    ) -> Verifier:
        """The appraisal of one server: these keys of attesters and the vendors' roots, its publisher's reference
        values, and the configured policy, or else that somebody whom we know vouches for it."""
        policy = accepting.policy if accepting else UNNAMED
        if published is not None:
            policy = AllOf([ReferenceValues(published.manifest.reference_values), policy])
        anchors = {**VENDOR_ROOTS, SCHEME: attesters, "tpm": attesters}
        trust = Endorsements(anchors, test_anchors=self.test_roots)
        return Verifier(schemes=schemes.ALL, endorsements=trust, policy=policy)

    def published(self, alias: str, server: Server) -> TrustedManifest | None:
        """The publisher's manifest, if one is configured. Raises `UserError`."""
        path, publisher = server.etmcp.manifest, server.etmcp.publisher
        if path is None or publisher is None:
            return None
        try:
            return open_manifest(Envelope.from_json(parse(path.read_bytes()), ManifestError), bytes.fromhex(publisher))
        except OSError as e:
            raise UserError(f'{path}: {e.strerror}; correct "manifest" of {alias}') from e
        except AttestError as e:
            raise UserError(f"{path}: the manifest of {alias} is refused [{e.code}]; ask its publisher") from e

    def later(self, ending: Coroutine[Any, Any, None]) -> None:
        """End something in the background: whoever let it go may be cancelled, or in a hurry."""
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ended)

    async def closed(self) -> None:
        """Return once everything that was to end has ended."""
        while self._ending:
            await asyncio.wait(self._ending)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("what was to end did not: %s", error, exc_info=error)
