"""One configured server: what it offers, and what of that is approved."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import anyio

from attest import wire
from attest.errors import AttestError
from attest.manifest import Manifest, TrustedManifest
from attest.statement import Kind
from gateway.client import SHARED, Audience
from gateway.config import Server
from gateway.connections import Connections
from gateway.errors import UserError, Withheld
from gateway.exchange import listing
from gateway.feed import announcement
from gateway.hub import Hub
from gateway.link import Link
from gateway.pins import Offer, Review
from gateway.upstream import METHOD_NOT_FOUND, Downlink, Json, UpstreamError, UpstreamRefused, refuse
from gateway.upstream.session import LONGEST, STALE, Freshness, Items

LIST_SECONDS = 10
EXECUTOR: Kind = "executor-attested"
CORE = frozenset({"tools", "prompts", "resources", "completions", "logging"})


@dataclass(frozen=True)
class Listing:
    """What the server offers now, held against its manifest."""

    offer: Offer
    manifest: Manifest
    review: Review
    freshness: Freshness = STALE

    @property
    def instructions(self) -> str | None:
        """Its instructions for the model, if they are those that were approved."""
        return None if self.review.kind_lowered or self.review.instructions_drifted else self.offer.instructions

    def approved(self, what: str, definitions: Mapping[str, Json]) -> dict[str, Json]:
        """Those tools, prompts or templates that match their pins; none of a server that lowered its kind."""
        if self.review.kind_lowered:
            return {}
        return {name: value for name, value in definitions.items() if f"{what} {name}" not in self.review.drifted}


class Member:
    """Surveyed when its offer is asked for. Owned by one event loop; `close` must be called."""

    def __init__(self, alias: str, server: Server, hub: Hub) -> None:
        self.alias, self.server, self._hub = alias, server, hub
        self.connections = Connections(alias, server, hub, self._owner, lambda: self.survey(self._eyes))
        # What each audience was offered last, and the newest of these; None until there was one.
        self._listings: dict[str, Listing] = {}
        self.listing: Listing | None = None
        # For whom it was surveyed last: recovery is looked for with the same eyes.
        self._eyes = SHARED
        # What it declared when it was surveyed last.
        self._capabilities: Json = {}

    @property
    def must_prove(self) -> bool:
        """Whether nothing that it did not sign may come from it to a client."""
        if self.server.etmcp.proven:
            return True
        if self.listing is not None:
            return self.listing.offer.kind == EXECUTOR or self.listing.review.kind_lowered
        try:  # it may speak before it is surveyed
            pinned = self._hub.pins.in_force(self.alias, self._hub.published(self.alias, self.server))
        except (AttestError, UserError):
            return True
        return pinned is not None and pinned.manifest.kind == EXECUTOR

    @property
    def extended(self) -> Json:
        """Its capabilities beyond the core protocol, and beyond our own extension, as it declared them."""
        told = self._capabilities
        beyond = {k: v for k, v in told.items() if k not in CORE and k not in ("extensions", "experimental")}
        for name in ("extensions", "experimental"):
            declared: Any = told.get(name)
            named = cast(Json, declared) if isinstance(declared, dict) else {}
            kept = {k: v for k, v in named.items() if not k.startswith(wire.PREFIX)}
            beyond |= {name: kept} if kept else {}
        return beyond

    def offered(self, audience: Audience) -> Listing | None:
        """What this audience, or else anybody, was offered last."""
        return self._listings.get(audience.key, self.listing)

    def heard(self, audience: Audience) -> bool:
        """Whether it was surveyed for this audience."""
        return audience.key in self._listings

    async def forget(self, audience: Audience) -> None:
        """The client is gone: so are its session and what it was offered."""
        if audience.key:
            self._listings.pop(audience.key, None)
        if self._eyes is audience:
            self._eyes = SHARED
        await self.connections.forget(audience)

    async def close(self) -> None:
        """End every connection and all that it started."""
        await self.connections.close()

    async def survey(self, audience: Audience = SHARED) -> Listing:
        """Ask what it offers and hold that against its manifest. Raises `Withheld` or `UpstreamError`."""
        link = await self.connections.link(audience)
        deadline = anyio.current_time() + LIST_SECONDS
        self._eyes = audience
        try:
            tools, prompts, templates = await asyncio.gather(
                self.items(link, "tools/list", "tools", deadline),
                self.items(link, "prompts/list", "prompts", deadline),
                self.items(link, "resources/templates/list", "resourceTemplates", deadline),
            )
        except UpstreamError as e:
            self.connections.failed(link, e)
            raise
        self._capabilities = link.session.capabilities
        offer = Offer.listed(
            link.session.info,
            link.caller.kind,
            tools=tools.items,
            prompts=prompts.items,
            templates=templates.items,
            instructions=link.session.instructions,
        )
        manifest = await self._manifest(offer, link.published)
        freshness = tools.freshness.least(prompts.freshness).least(templates.freshness)
        reviewed = self._hub.pins.review(offer, manifest)
        self.listing = self._listings[audience.key] = Listing(offer, manifest, reviewed, freshness)
        return self.listing

    async def items(self, link: Link, method: str, member: str, deadline: float) -> Items:
        """The raw objects of one kind; none where the server does not have that kind.

        Tools, prompts and templates come unsigned: their pins, and the definition digest in each receipt of the first
        two, are what holds them.
        """
        if ("resources" if member == "resourceTemplates" else member) not in link.session.capabilities:
            return Items([], LONGEST)
        pinned = member in ("tools", "prompts", "resourceTemplates")

        async def fetch(params: Json) -> Json:
            return await link.caller.fetch(listing(method, link.identified(method, params), deadline))

        try:
            found = await link.session.list_all(method, member, deadline=deadline, fetch=None if pinned else fetch)
        except UpstreamRefused as e:
            if e.code == METHOD_NOT_FOUND:
                return Items([], LONGEST)
            raise
        return Items([item for item in found.items if isinstance(item, dict)], found.freshness)

    async def approve(self, listing: Listing, audience: Audience = SHARED) -> None:
        """Sign what was offered then: what the operator has read. Raises `Withheld` or `UpstreamError`."""
        link, pins = await self.connections.link(audience), self._hub.pins
        attesters = link.published.manifest.attesters if link.published else frozenset[str]()
        approved = await pins.approve(self.alias, listing.offer, link.published, attesters)
        reviewed = pins.review(listing.offer, approved.manifest)
        self.listing = self._listings[audience.key] = Listing(listing.offer, approved.manifest, reviewed)

    def _owner(self, audience: Audience) -> Downlink:
        """What takes the server's words outside of any call, in a session for this audience."""

        async def tell(message: Json) -> None:
            must_prove = self.must_prove
            if (news := announcement(message, signed_only=must_prove)) is not None:
                self._hub.feed.publish(self.alias, news, audience.key)
            elif not must_prove:
                await audience.owner.tell(message)

        async def ask(request: Json) -> Json:
            return await (refuse if self.must_prove else audience.owner.ask)(request)

        return Downlink(tell, ask)

    async def _manifest(self, offer: Offer, published: TrustedManifest | None) -> Manifest:
        pins = self._hub.pins
        try:
            manifest = pins.in_force(self.alias, published) or await pins.first_sight(self.alias, offer)
            await pins.remember(offer)
        except AttestError as e:
            raise Withheld(self.alias, "the manifest", e.code) from e
        return manifest.manifest
