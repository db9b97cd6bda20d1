"""Pins: what a server offers is compared with the manifest that was signed for it, every time it is listed.

The manifest in force is, in this order: one the operator approved here (as long as the publisher's has not changed
since), the publisher's own, and else what the server offered when it was first seen, but for what is flagged as
`hidden` or `confusable`, signed by this gateway.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical, parse
from attest.dsse import Envelope
from attest.encoding import sha256_hex
from attest.errors import AttestError, EvidenceError, ManifestError
from attest.manifest import Manifest, Pin, TrustedManifest, open_manifest, text_digest
from attest.program import MAX_PROGRAMS
from attest.proven import declared, program_of
from attest.statement import Kind
from gateway import flags
from gateway.errors import Withheld
from gateway.flags import INSTRUCTIONS, Flag
from gateway.letters import plain
from gateway.store import Statement, Store
from gateway.upstream import Json

T = TypeVar("T")
RANK: dict[Kind, int] = {"observer-attested": 0, "executor-attested": 1}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server presents of itself, raw. Tools and prompts are by name, templates by URI template."""

    server: str
    version: str
    kind: Kind
    tools: Mapping[str, Json]
    prompts: Mapping[str, Json]
    templates: Mapping[str, Json]
    instructions: str | None
    # What was listed and cannot be offered.
    dropped: tuple[Flag, ...] = ()

    @classmethod
    def listed(
        cls,
        info: Json,
        kind: Kind,
        *,
        tools: Sequence[Json],
        prompts: Sequence[Json],
        templates: Sequence[Json],
        instructions: str | None,
    ) -> "Offer":
        """Of a server's `serverInfo` and lists. Of two definitions under one name nobody could say which is meant, so
        neither is offered."""
        dropped: list[Flag] = []

        def by(key: str, what: str, definitions: Sequence[Json]) -> dict[str, Json]:
            names = Counter(name for each in definitions if isinstance(name := each.get(key), str))
            if unnamed := len(definitions) - names.total():
                dropped.append(Flag(what, "nameless", f"{unnamed} without {key}; none of them is offered"))
            for name, count in names.items():
                if count > 1:
                    said = f"it is listed {count} times; none of them is offered"
                    dropped.append(Flag(f"{what} {name}", "duplicate", said))
            return {each[key]: each for each in definitions if isinstance(each.get(key), str) and names[each[key]] == 1}

        return cls(
            str(info.get("name", "")),
            str(info.get("version", "")),
            kind,
            by("name", "tool", tools),
            by("name", "prompt", prompts),
            by("uriTemplate", "template", templates),
            instructions,
            tuple(dropped),
        )

    def definitions(self) -> dict[str, Json]:
        """All of them by subject: `tool NAME`, `prompt NAME`, `template URI`."""
        return _by_subject(self.tools, self.prompts, self.templates)

    def shown(self) -> dict[str, Any]:
        """The definitions, and the instructions under that word."""
        return {**self.definitions(), **({} if self.instructions is None else {INSTRUCTIONS: self.instructions})}

    def counted(self) -> str:
        """How much it is, in words."""
        words = (("tool", self.tools), ("prompt", self.prompts), ("template", self.templates))
        parts = [f"{len(each)} {word}{'' if len(each) == 1 else 's'}" for word, each in words if each or word == "tool"]
        return ", ".join(parts if self.instructions is None else [*parts, INSTRUCTIONS])

    def manifest(self, attesters: frozenset[str] = frozenset(), without: frozenset[str] = frozenset()) -> Manifest:
        """The manifest that would approve exactly this, but for the subjects `without`, and what nobody may approve."""

        refused = self.refused()

        def pins(what: str, definitions: Mapping[str, Json]) -> dict[str, Pin]:
            return {
                name: Pin.of(each)
                for name, each in definitions.items()
                if f"{what} {name}" not in without | refused.keys()
            }

        tools = pins("tool", self.tools)
        return Manifest(
            self.server,
            self.version,
            self.kind,
            tools,
            pins("prompt", self.prompts),
            pins("template", self.templates),
            None if INSTRUCTIONS in without else _digest(self.instructions),
            attesters,
            {name: program for name in tools if (program := program_of(self.tools[name])) is not None},
        )

    def refused(self) -> dict[str, str]:
        """The tools whose program is refused, by subject, and why: their proofs would prove nothing."""
        found, count = dict[str, str](), 0
        for name, tool in self.tools.items():
            try:
                if declared(tool) and (count := count + 1) > MAX_PROGRAMS:
                    raise EvidenceError("malformed", f"more than {MAX_PROGRAMS} tools of the server name programs")
                program_of(tool)
            except EvidenceError as e:
                found[f"tool {name}"] = f"its program is refused [{e.code}]: {plain(e.detail)[:200]}"
        return found


@dataclass(frozen=True, slots=True)
class Review:
    """An offer against its manifest. `drifted` maps a subject (`tool NAME`) to what happened to it."""

    drifted: Mapping[str, str] = field(default_factory=dict[str, str])
    # Those of them that no approval helps: tools whose program is refused.
    refused: frozenset[str] = frozenset()
    removed: tuple[str, ...] = ()
    instructions_drifted: bool = False
    kind_lowered: bool = False
    # What an operator should look at, approved or not; of this server by itself (`flags.beside` has the rest).
    flagged: tuple[Flag, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything offered is approved."""
        return not (self.drifted or self.instructions_drifted or self.kind_lowered)

    @property
    def state(self) -> str:
        """In a few words, for a list of servers: `ready`, what waits for approval, what was listed and is dropped."""
        dropped = [flag for flag in self.flagged if flag.code in flags.DROPPED]
        named = ", ".join(f"{plain(flag.subject)[:80]} [{flag.code}]" for flag in dropped[:3])
        more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
        waiting = "" if self.clean else ", with unapproved changes"
        return f"ready{waiting}" + (f", without {named}{more}" if dropped else "")


def pinned(manifest: Manifest) -> dict[str, Pin]:
    """All pins by subject, as `Offer.definitions` names them."""
    return _by_subject(manifest.tools, manifest.prompts, manifest.templates)


def review(offer: Offer, manifest: Manifest, known: Callable[[str], Any]) -> Review:
    """Compare; what is new counts as drift just as what changed does. `known` gives the text of a digest, or None."""
    drifted: dict[str, str] = {}
    offered, pins = offer.definitions(), pinned(manifest)
    for subject, definition in offered.items():
        if (pin := pins.get(subject)) is None:
            drifted[subject] = "new since the manifest was signed"
        elif (now := Pin.of(definition)) != pin:
            shown = "what the model is shown" if now.model != pin.model else "what only the client sees"
            drifted[subject] = f"changed in {shown}"
    refused = offer.refused()
    for name, tool in offer.tools.items():
        subject = f"tool {name}"
        if subject not in drifted | refused and program_of(tool) != manifest.programs.get(name):
            drifted[subject] = "its program is not the one in the manifest"
    drifted |= refused
    removed = tuple(subject for subject in pins if subject not in offered)
    gone = {subject: text for subject in removed if (text := known(pins[subject].full)) is not None}
    new = {subject: offered[subject] for subject in drifted if subject not in pins}
    return Review(
        drifted,
        frozenset(refused),
        removed,
        _digest(offer.instructions) != manifest.instructions,
        RANK[offer.kind] < RANK[manifest.kind],
        (*offer.dropped, *flags.alone(offer.shown()), *flags.renamed(gone, new)),
    )


class Pins:
    """Manifests in force, by server alias. `clock` returns milliseconds since 1970."""

    def __init__(self, store: Store, key: Ed25519PrivateKey, clock: Callable[[], int]) -> None:
        self._store, self._key, self._clock = store, key, clock
        self._public = key.public_key().public_bytes_raw()

    def in_force(self, alias: str, published: TrustedManifest | None) -> TrustedManifest | None:
        """The manifest to hold `alias` to; None where it was never seen. Raises `Withheld`, code `pin`."""
        rows = self._store.read("SELECT manifest, basis FROM pins WHERE server = ?", alias)
        basis = published.envelope.digest if published else None
        if rows and (published is None or rows[0]["basis"] == basis):
            try:
                return open_manifest(Envelope.from_json(parse(rows[0]["manifest"]), ManifestError), self._public)
            except AttestError as e:
                raise Withheld(alias, "everything", "pin") from e
        return published

    async def approve(
        self, alias: str, offer: Offer, published: TrustedManifest | None, attesters: frozenset[str] = frozenset()
    ) -> TrustedManifest:
        """Sign and store what is offered now; returns once it is on disk."""
        return await self._sign(alias, offer, published, offer.manifest(attesters))

    async def first_sight(self, alias: str, offer: Offer) -> TrustedManifest:
        """The same for a server that nobody vouched for yet, without what is flagged: that waits for the operator."""
        blocked = frozenset(flag.subject for flag in flags.alone(offer.shown()) if flag.code in flags.BLOCKED)
        return await self._sign(alias, offer, None, offer.manifest(without=blocked))

    async def forget(self, alias: str) -> None:
        """Remove the pin of a server: it is then as if it was never seen."""
        await self._store.write(("DELETE FROM pins WHERE server = ?", (alias,)))

    def review(self, offer: Offer, manifest: Manifest) -> Review:
        """`review`, with the texts that are remembered here."""
        return review(offer, manifest, self.known)

    async def _sign(
        self, alias: str, offer: Offer, published: TrustedManifest | None, manifest: Manifest
    ) -> TrustedManifest:
        envelope = manifest.sign(self._key)
        basis = published.envelope.digest if published else None
        sql = "INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?)"
        text = canonical(envelope.to_json()).decode()
        try:
            trusted = open_manifest(Envelope.from_json(parse(text), ManifestError), self._public)
        except AttestError as e:  # it is too long for an envelope: nobody could read it back
            raise Withheld(alias, "everything", "malformed") from e
        await self._store.write(*self._definitions(offer), (sql, (alias, text, basis, self._clock())))
        return trusted

    async def remember(self, offer: Offer) -> None:
        """Keep the texts of definitions and instructions, so that a later difference can be shown in words."""
        if statements := self._definitions(offer):
            await self._store.write(*statements)

    def subjects(self, alias: str) -> frozenset[str]:
        """What is pinned of a server here, connected or not; none where its pin cannot be read."""
        try:
            held = self.in_force(alias, None)
        except Withheld:
            return frozenset()
        return frozenset(pinned(held.manifest)) if held else frozenset()

    def known(self, digest: str) -> Any:
        """The definition with this full digest, or the instructions with this digest, or None."""
        rows = self._store.read("SELECT text FROM definitions WHERE digest = ?", digest)
        return parse(rows[0]["text"]) if rows else None

    def _definitions(self, offer: Offer) -> list[Statement]:
        texts = [canonical(value) for value in offer.shown().values()]
        digests = {sha256_hex(text): text.decode() for text in texts}
        known = {row["digest"] for row in self._store.read("SELECT digest FROM definitions")}
        sql = "INSERT OR IGNORE INTO definitions VALUES (?, ?)"
        return [(sql, (digest, text)) for digest, text in digests.items() if digest not in known]


def _digest(instructions: str | None) -> str | None:
    return None if instructions is None else text_digest(instructions)


def _by_subject(tools: Mapping[str, T], prompts: Mapping[str, T], templates: Mapping[str, T]) -> dict[str, T]:
    parts = (("tool", tools), ("prompt", prompts), ("template", templates))
    return {f"{what} {name}": value for what, named in parts for name, value in named.items()}
