"""Pins: what a server offers is compared with the manifest that was signed for it, every time it is listed.

The manifest in force is, in this order: one the operator approved here (as long as the publisher's has not changed
since), the publisher's own, and else what the server offered when it was first seen, signed by this gateway.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical, parse
from attest.dsse import Envelope
from attest.encoding import sha256_hex
from attest.errors import ManifestError
from attest.manifest import Manifest, Pin, TrustedManifest, open_manifest
from attest.statement import Kind
from gateway.store import Statement, Store
from gateway.upstream import Json

RANK: dict[Kind, int] = {"observer-attested": 0, "executor-attested": 1}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server presents of itself, raw."""

    server: str
    version: str
    kind: Kind
    tools: Mapping[str, Json]
    prompts: Mapping[str, Json]
    instructions: str | None

    def manifest(self, attesters: frozenset[str] = frozenset()) -> Manifest:
        """The manifest that would approve exactly this."""
        return Manifest(
            self.server,
            self.version,
            self.kind,
            {name: Pin.of(tool) for name, tool in self.tools.items()},
            {name: Pin.of(prompt) for name, prompt in self.prompts.items()},
            _instructions(self.instructions),
            attesters,
        )


@dataclass(frozen=True, slots=True)
class Review:
    """An offer against its manifest. `drifted` maps a definition's name to what happened to it."""

    drifted: Mapping[str, str] = field(default_factory=dict[str, str])
    removed: tuple[str, ...] = ()
    instructions_drifted: bool = False
    kind_lowered: bool = False

    @property
    def clean(self) -> bool:
        """Whether everything offered is approved."""
        return not (self.drifted or self.instructions_drifted or self.kind_lowered)


def review(offer: Offer, manifest: Manifest) -> Review:
    """Compare; what is new counts as drift just as what changed does."""
    drifted: dict[str, str] = {}
    for what, offered, pinned in (("tool", offer.tools, manifest.tools), ("prompt", offer.prompts, manifest.prompts)):
        for name, definition in offered.items():
            if (pin := pinned.get(name)) is None:
                drifted[f"{what} {name}"] = "new since the manifest was signed"
            elif (now := Pin.of(definition)) != pin:
                shown = "what the model is shown" if now.model != pin.model else "what only the client sees"
                drifted[f"{what} {name}"] = f"changed in {shown}"
    removed = [f"tool {name}" for name in manifest.tools if name not in offer.tools]
    return Review(
        drifted,
        tuple(removed),
        _instructions(offer.instructions) != manifest.instructions,
        RANK[offer.kind] < RANK[manifest.kind],
    )


class Pins:
    """Manifests in force, by server alias. `clock` returns milliseconds since 1970."""

    def __init__(self, store: Store, key: Ed25519PrivateKey, clock: Callable[[], int]) -> None:
        self._store, self._key, self._clock = store, key, clock
        self._public = key.public_key().public_bytes_raw()

    def in_force(self, alias: str, published: TrustedManifest | None) -> TrustedManifest | None:
        """The manifest to hold `alias` to; None where it was never seen. Raises `ManifestError`."""
        rows = self._store.read("SELECT manifest, basis FROM pins WHERE server = ?", alias)
        basis = published.envelope.digest if published else None
        if rows and (published is None or rows[0]["basis"] == basis):
            envelope = Envelope.from_json(parse(rows[0]["manifest"]), ManifestError)
            return open_manifest(envelope, self._public)
        return published

    async def approve(
        self, alias: str, offer: Offer, published: TrustedManifest | None, attesters: frozenset[str] = frozenset()
    ) -> TrustedManifest:
        """Sign and store what is offered now; returns once it is on disk."""
        envelope = offer.manifest(attesters).sign(self._key)
        basis = published.envelope.digest if published else None
        sql = "INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?)"
        text = canonical(envelope.to_json()).decode()
        await self._store.write(*self._definitions(offer), (sql, (alias, text, basis, self._clock())))
        return open_manifest(envelope, self._public)

    async def remember(self, offer: Offer) -> None:
        """Keep the texts of definitions, so that a later difference can be shown in words."""
        if statements := self._definitions(offer):
            await self._store.write(*statements)

    def known(self, pin: Pin) -> Any:
        """The definition with this full digest, or None."""
        rows = self._store.read("SELECT text FROM definitions WHERE digest = ?", pin.full)
        return parse(rows[0]["text"]) if rows else None

    def _definitions(self, offer: Offer) -> list[Statement]:
        texts = [canonical(definition) for definition in (*offer.tools.values(), *offer.prompts.values())]
        digests = {sha256_hex(text): text.decode() for text in texts}
        known = {row["digest"] for row in self._store.read("SELECT digest FROM definitions")}
        sql = "INSERT OR IGNORE INTO definitions VALUES (?, ?)"
        return [(sql, (digest, text)) for digest, text in digests.items() if digest not in known]


def _instructions(text: str | None) -> str | None:
    return None if text is None else sha256_hex(text.encode())
