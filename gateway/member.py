"""One configured server: its connection, what it is worth, what it offers, and what of that is approved."""

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import anyio

from attest import wire
from attest.errors import AttestError
from attest.manifest import Manifest, TrustedManifest
from gateway.config import Server
from gateway.errors import Withheld
from gateway.exchange import Caller, listing
from gateway.exchange.appraisal import Appraisal
from gateway.exchange.attested import AttestedCaller
from gateway.exchange.observed import ObservedCaller
from gateway.hub import Hub
from gateway.pins import Offer, Review
from gateway.upstream import Json, Transport, UpstreamError, UpstreamRefused
from gateway.upstream.http import HttpTransport
from gateway.upstream.session import Session
from gateway.upstream.spawn import Command
from gateway.upstream.stdio import StdioTransport, open_stdio

CONNECT_SECONDS = 30
LIST_SECONDS = 10
PIN_SECONDS = 5
RETRY_SECONDS = 2
METHOD_NOT_FOUND = -32601


@dataclass(frozen=True)
class Link:
    """A working connection."""

    transport: Transport
    session: Session
    caller: Caller
    published: TrustedManifest | None

    @property
    def ended(self) -> bool:
        """Whether no request will succeed on it any more."""
        return isinstance(self.transport, StdioTransport) and self.transport.ended.is_set()


@dataclass(frozen=True)
class Listing:
    """What the server offers now, held against its manifest."""

    offer: Offer
    manifest: Manifest
    review: Review

    def approved(self, what: str, definitions: Mapping[str, Json]) -> dict[str, Json]:
        """Those tools, prompts or templates that match their pins; none of a server that lowered its kind."""
        if self.review.kind_lowered:
            return {}
        return {name: value for name, value in definitions.items() if f"{what} {name}" not in self.review.drifted}

    @property
    def instructions(self) -> str | None:
        """The server's instructions, if they are approved."""
        blocked = self.review.kind_lowered or self.review.instructions_drifted
        return None if blocked else self.offer.instructions


class Member:
    """Connects when first needed, and again after a failure. Owned by one event loop; `close` must be called."""

    def __init__(self, alias: str, server: Server, hub: Hub) -> None:
        self.alias, self.server, self._hub = alias, server, hub
        # The connection in use or being made; replaced as a whole, by `link` alone.
        self._linking: asyncio.Task[Link] | None = None
        # Until when (event loop clock) the last failure answers for new attempts.
        self._failed_until = -math.inf
        # When (event loop clock) the connection in use or being made was begun.
        self._begun = -math.inf
        # What the last listing found; None until there was one.
        self.listing: Listing | None = None

    @property
    def failure(self) -> str | None:
        """Why it is not connected, in one line; None if it is, or was not tried."""
        task = self._linking
        if task is None or not task.done() or task.cancelled():
            return None
        error = task.exception()
        return None if error is None else str(error)

    @property
    def must_prove(self) -> bool:
        """Whether nothing that it did not sign may come from it to a client."""
        pinned = self.listing is not None and (
            self.listing.offer.kind == "executor-attested" or self.listing.review.kind_lowered
        )
        return pinned or self.server.etmcp.require == "executor-attested"

    def patience(self, most: float) -> float:
        """How many of `most` seconds a list should wait for it: less the longer it already lets others wait."""
        connecting = self._linking is not None and not self._linking.done()
        return max(most - (anyio.current_time() - self._begun), 1) if connecting else most

    async def link(self) -> Link:
        """The connection; raises `Withheld` or `UpstreamError` where there is none to be had."""
        task = self._linking
        now = anyio.current_time()
        if task is not None and task.done():
            if task.cancelled() or task.exception():
                task = task if now < self._failed_until else None
            elif (link := task.result()).ended:
                self.dropped(link)
                task = None
        if task is None:
            self._begun = now
            task = self._linking = asyncio.create_task(self._connect(), name=f"connect {self.alias}")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may have no waiter left
        return await asyncio.shield(task)

    def dropped(self, link: Link) -> None:
        """The connection failed in use: the next call makes a new one."""
        task = self._linking
        working = task is not None and task.done() and not task.cancelled() and task.exception() is None
        if task is not None and working and task.result() is link:
            self._linking = None
            self._hub.dispose(link.transport)

    async def close(self) -> None:
        """End the connection and all that it started."""
        task, self._linking = self._linking, None
        if task is None:
            return
        task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await (await task).transport.aclose()

    async def survey(self) -> Listing:
        """Ask what it offers and hold that against its manifest. Raises `Withheld` or `UpstreamError`."""
        link = await self.link()
        deadline = anyio.current_time() + LIST_SECONDS
        try:
            tools, prompts, templates = await asyncio.gather(
                self.items(link, "tools/list", "tools", deadline),
                self.items(link, "prompts/list", "prompts", deadline),
                self.items(link, "resources/templates/list", "resourceTemplates", deadline),
            )
        except UpstreamError:
            self.dropped(link)
            raise
        offer = Offer.listed(
            link.session.info,
            link.caller.kind,
            tools=tools,
            prompts=prompts,
            templates=templates,
            instructions=link.session.instructions,
        )
        manifest = await self._manifest(offer, link.published)
        self.listing = Listing(offer, manifest, self._hub.pins.review(offer, manifest))
        return self.listing

    async def items(self, link: Link, method: str, member: str, deadline: float) -> list[Json]:
        """The raw items of one kind; none where the server does not have that kind.

        Tools, prompts and templates come unsigned: their pins, and the definition digest in each receipt of the first
        two, are what holds them.
        """
        if ("resources" if member == "resourceTemplates" else member) not in link.session.capabilities:
            return []
        pinned = member in ("tools", "prompts", "resourceTemplates")

        async def fetch(params: Json) -> Json:
            return await link.caller.fetch(listing(method, params, deadline))

        try:
            items = await link.session.list_all(method, member, deadline=deadline, fetch=None if pinned else fetch)
        except UpstreamRefused as e:
            if e.code == METHOD_NOT_FOUND:
                return []
            raise
        return [cast(Json, item) for item in items if isinstance(item, dict)]

    async def approve(self, listing: Listing) -> None:
        """Sign what was offered then: what the operator has read. Raises `Withheld` or `UpstreamError`."""
        link, pins = await self.link(), self._hub.pins
        attesters = link.published.manifest.attesters if link.published else frozenset[str]()
        approved = await pins.approve(self.alias, listing.offer, link.published, attesters)
        self.listing = Listing(listing.offer, approved.manifest, pins.review(listing.offer, approved.manifest))

    async def _manifest(self, offer: Offer, published: TrustedManifest | None) -> Manifest:
        pins = self._hub.pins
        try:
            manifest = pins.in_force(self.alias, published) or await pins.first_sight(self.alias, offer)
            await pins.remember(offer)
        except AttestError as e:
            raise Withheld(self.alias, "the manifest", e.code) from e
        return manifest.manifest

    async def _connect(self) -> Link:
        deadline = anyio.current_time() + CONNECT_SECONDS
        transport: Transport | None = None
        try:
            published = self._hub.published(self.alias, self.server)
            transport = await self._open()
            session = Session(self.alias, transport, info=self._hub.info, era=self.server.etmcp.era)
            await session.connect(deadline=deadline)
            caller = await self._caller(transport, session, published)
            return Link(transport, session, caller, published)
        except BaseException:  # cancelled too: what was started must not stay
            self._failed_until = anyio.current_time() + RETRY_SECONDS
            if transport is not None:
                with anyio.CancelScope(shield=True):
                    await transport.aclose()
            raise

    async def _open(self) -> Transport:
        server = self.server
        if server.url is not None:
            return HttpTransport(self.alias, self._hub.http, server.url, headers=server.headers)
        command = Command(
            argv=(server.command or "", *server.args),
            environ=self._hub.environ,
            env=server.env,
            cwd=str(server.cwd or "."),
            hidden=(str(self._hub.home.private),) if server.etmcp.confine else (),
            pin=True,
        )
        return await open_stdio(self.alias, command)

    async def _caller(self, transport: Transport, session: Session, published: TrustedManifest | None) -> Caller:
        """Executor-attested where the server offers evidence under a key that we have grounds to trust."""
        settings, clock = self.server.etmcp, self._hub.clock
        anchors: set[str] = set(settings.attesters)
        if published is not None:
            anchors |= published.manifest.attesters
        extensions: Any = session.capabilities.get("extensions")
        offers = isinstance(extensions, dict) and wire.EXTENSION in cast(Json, extensions)
        if offers and isinstance(transport, StdioTransport):
            pin = await transport.pin(deadline=anyio.current_time() + PIN_SECONDS)
            if pin:
                anchors.add(pin.decode("ascii", "replace").strip())
        needed = settings.require == "executor-attested"
        if offers and anchors:
            appraisal = Appraisal(self.alias, session, self._hub.verifier(frozenset(anchors)), clock)
            try:
                await appraisal.current()
            except Withheld:
                if needed:
                    raise
            else:
                return AttestedCaller(self.alias, session, appraisal, sealed=settings.seal, clock=clock)
        if needed:
            raise Withheld(self.alias, "everything", "root" if offers else "unattested")
        return ObservedCaller(self.alias, session, self._hub.observer, self.server.launch())
