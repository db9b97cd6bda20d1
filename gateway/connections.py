"""The connections to one server: made when needed, shared where safe, made again after a failure."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio

from gateway.client import SHARED, Audience
from gateway.config import Server
from gateway.errors import UserError, Withheld
from gateway.exchange.attested import AttestedCaller
from gateway.health import Breaker
from gateway.hub import Hub
from gateway.link import Era, Link, connect
from gateway.upstream import Downlink, Json, UpstreamBusy, UpstreamError, UpstreamTimeout, UpstreamUnavailable, refuse
from gateway.upstream.http_sse import SseTransport
from gateway.upstream.session import ClientFace
from gateway.upstream.stdio import StdioTransport
from gateway.upstream.wire import ACKNOWLEDGED

STEADY_SECONDS = 10
REQUEST_SECONDS = 10
FORGIVEN = 3
"""Connections lost, or calls timed out, in a row before a server has to wait."""
UNDECIDED = "?"
LISTEN = "subscriptions/listen"


class Connections:
    """A modern server has one connection for everybody. A legacy one has a shared one, and one for each client that
    declared something a server could ask it for. Owned by one event loop; `close` must be called.

    `owner` makes what takes the server's words outside of any call, for one audience; `survey` looks whether a server
    that failed is of use again.
    """

    def __init__(
        self,
        alias: str,
        server: Server,
        hub: Hub,
        owner: Callable[[Audience], Downlink],
        survey: Callable[[], Awaitable[Any]],
    ) -> None:
        self.alias, self.server, self._hub, self._owner, self._survey = alias, server, hub, owner, survey
        # In use or being made, by the audience's key; `UNDECIDED` while the server's era is unknown.
        self._links: dict[str, asyncio.Task[Link]] = {}
        # The era it last spoke; what the configuration says before the first connection and after a failure.
        self._era: Era = server.etmcp.era
        self._breaker = Breaker(random.random)
        # Why it is not connected; None while it is, or was not tried.
        self.error: Withheld | UpstreamError | UserError | None = None
        # Tries a failed server again in the background; replaced when it is done.
        self._tending: asyncio.Task[None] | None = None
        # When (event loop clock) the newest connection was begun.
        self._begun = float("-inf")
        # What runs beside each connection, and ends with it.
        self._beside: dict[str, list[asyncio.Task[None]]] = {}
        # URIs that clients of legacy sessions watch, by the audience; watched again in each new session.
        self._watched: dict[Audience, Counter[str]] = {}
        # Set by `close`: from then on nothing is connected.
        self._closed = False
        self._slots = asyncio.Semaphore(server.etmcp.limit)
        # Calls that hold a slot or wait for one, and what is set while there are none.
        self._busy, self._idle = 0, anyio.Event()
        self._idle.set()
        # Calls that timed out in a row.
        self._timeouts = 0

    @property
    def ailing(self) -> bool:
        """Whether it failed and did not recover yet: no list should wait for it."""
        return self.error is not None and self._tending is not None and not self._tending.done()

    def patience(self, most: float) -> float:
        """How many of `most` seconds a list should wait for it: less the longer it already lets others wait."""
        connecting = any(not task.done() for task in self._links.values())
        return max(most - (anyio.current_time() - self._begun), 1) if connecting else most

    async def link(self, audience: Audience = SHARED) -> Link:
        """A connection for this audience; raises `Withheld`, `UpstreamError` or `UserError` where there is none."""
        while True:
            key = self._key(audience)
            task = self._links.get(key)
            if task is None:
                if self._closed:
                    raise UpstreamUnavailable(self.alias, "is configured no more", "list again what there is")
                if self.error is not None and self._breaker.open(anyio.current_time()):
                    raise self.error.with_traceback(None)
                self._begun = anyio.current_time()
                task = asyncio.create_task(self._connect(key, audience), name=_name(self.alias, audience))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may have no waiter left
                self._links[key] = task
            try:
                link = await asyncio.shield(task)
            except asyncio.CancelledError:
                if not task.cancelled() or (us := asyncio.current_task()) is None or us.cancelling():
                    raise
                if task.get_name() == _name(self.alias, audience):
                    raise UpstreamUnavailable(self.alias, "was stopped", "its client has gone") from None
                continue  # another client, for whom it was begun, has gone
            if link.ended:
                self.dropped(link)
            elif link.key == self._key(audience):
                return link

    def dropped(self, link: Link) -> None:
        """The connection failed in use: whoever comes next makes a new one."""
        if not self._holds(link):
            return
        if self._failed(link, forgiven=FORGIVEN):
            advice = "it is tried again by itself; look at its log"
            self.error = UpstreamUnavailable(self.alias, "lost its connection several times in a row", advice)
        self._abandon(link)

    def failed(self, link: Link, error: UpstreamError) -> None:
        """The connection is of no use: it does not even list what it offers."""
        if self._holds(link):
            self.error = error
            self._failed(link, forgiven=0)
            self._abandon(link)

    def timed_out(self, link: Link) -> None:
        """A call got no answer in time; several in a row mean that the connection is worth nothing."""
        self._timeouts += 1
        if self._timeouts >= FORGIVEN:
            self._timeouts = 0
            self.failed(link, UpstreamTimeout(self.alias, "left several calls unanswered", "it hangs: look at its log"))

    def answered(self) -> None:
        """A call was answered."""
        self._timeouts = 0

    async def forget(self, audience: Audience) -> None:
        """The client is gone, and so is its session."""
        if audience.key:
            self._watched.pop(audience, None)
        for key in [audience.key, UNDECIDED] if audience.key else []:
            if (task := self._links.get(key)) is not None and task.get_name() == _name(self.alias, audience):
                del self._links[key]
                await self._end(task)

    async def close(self) -> None:
        """End every connection and all that it started; there will be no other."""
        self._closed = True
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*map(self._end, links))

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncGenerator[None]:
        """One of the calls that it may have under way. Raises `UpstreamBusy`."""
        if self._busy == 0:
            self._idle = anyio.Event()
        self._busy += 1
        try:
            with anyio.move_on_after(deadline - anyio.current_time()) as waiting:
                await self._slots.acquire()
            if waiting.cancelled_caught:
                what = f"has {self.server.etmcp.limit} calls under way"
                raise UpstreamBusy(self.alias, what, 'try again, or raise its "limit"')
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._busy -= 1
            if self._busy == 0:
                self._idle.set()

    async def drained(self) -> None:
        """Return once no call is under way."""
        await self._idle.wait()

    async def watch(self, audience: Audience, uri: str, params: Json) -> Json:
        """`resources/subscribe` on the legacy session of this audience: the raw answer. Kept until `unwatch`."""
        link = await self.link(audience)
        answer = await self._ask(link, audience, "resources/subscribe", params)
        if "error" not in answer:
            self._watched.setdefault(audience, Counter())[uri] += 1
        return answer

    async def unwatch(self, audience: Audience, uri: str) -> None:
        """Undo one `watch`; the server hears of it with the last. Raises `UpstreamError`."""
        watched = self._watched.get(audience, Counter[str]())
        watched[uri] -= 1
        if watched[uri] > 0:
            return
        del watched[uri]
        if (link := self._working(audience.key)) is not None:  # a session that is gone needs no word
            await self._ask(link, audience, "resources/unsubscribe", {"uri": uri})

    async def set_level(self, audience: Audience) -> None:
        """Pass the log level of this audience on to its own legacy session, if it has one. Raises `UpstreamError`."""
        level = audience.log_level()
        if audience.key and level is not None and (link := self._working(audience.key)) is not None:
            await self._ask(link, audience, "logging/setLevel", {"level": level})

    async def notify(self, audience: Audience, method: str, params: Json | None) -> None:
        """Pass a client's notification on to its own legacy session, if it has one. Raises `UpstreamUnavailable`."""
        if audience.key and (link := self._working(audience.key)) is not None:
            await link.session.notify(method, params)

    async def _ask(self, link: Link, audience: Audience, method: str, params: Json) -> Json:
        deadline = anyio.current_time() + REQUEST_SECONDS
        asked = link.identified(method, params)
        return await link.session.request(method, asked, client=audience.face, deadline=deadline)

    def _key(self, audience: Audience) -> str:
        if self._era == "auto":
            return UNDECIDED
        return "" if self._era == "modern" else audience.key

    def _working(self, key: str) -> Link | None:
        task = self._links.get(key)
        working = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if task is not None and working else None

    def _holds(self, link: Link) -> bool:
        return self._working(link.key) is link

    async def _connect(self, key: str, audience: Audience) -> Link:
        def owner() -> Downlink:  # the connection to a modern server is everybody's
            return self._owner(SHARED if self._era == "modern" else audience)

        outside = Downlink(lambda message: owner().tell(message), lambda request: owner().ask(request))
        try:
            link = await connect(self.alias, self.server, self._hub, audience, era=self._era, owner=outside)
        except (Withheld, UpstreamError, UserError) as e:
            self._links.pop(key, None)
            self.error = e
            self._breaker.failed(anyio.current_time())
            self._forget_era()
            self._tend()
            raise
        except BaseException:  # cancelled too
            self._links.pop(key, None)
            raise
        self._era = link.session.era
        if link.key != key:
            self._links[link.key] = self._links.pop(key)
        self.error = None
        self._beside[link.key] = [asyncio.create_task(job) for job in self._jobs(link, audience)]
        return link

    def _failed(self, link: Link, *, forgiven: int) -> bool:
        """Whether the server has to wait now. What went well for a while pays for earlier failures."""
        now = anyio.current_time()
        if now - link.since >= STEADY_SECONDS:
            self._breaker.worked()
        self._breaker.failed(now, forgiven=forgiven)
        return self._breaker.open(now)

    def _abandon(self, link: Link) -> None:
        del self._links[link.key]
        for job in self._beside.pop(link.key):
            job.cancel()
        self._forget_era()
        self._hub.later(link.transport.aclose())
        self._tend()

    def _forget_era(self) -> None:
        """A server that went away may come back as another."""
        if not self._links:
            self._era = self.server.etmcp.era

    async def _end(self, task: asyncio.Task[Link]) -> None:
        task.cancel()
        try:
            link = await task
        except (asyncio.CancelledError, Exception):  # noqa: BLE001 - it is over either way
            return
        jobs = self._beside.pop(link.key, [])
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await link.transport.aclose()

    def _tend(self) -> None:
        if not self._closed and (self._tending is None or self._tending.done()):
            self._tending = asyncio.create_task(self._recover(), name=f"recover {self.alias}")

    async def _recover(self) -> None:
        """Try until it works, and then say so to whoever follows."""
        while True:
            await anyio.sleep(max(self._breaker.until - anyio.current_time(), 0))
            try:
                await self._survey()
            except (Withheld, UpstreamError, UserError):
                if self._breaker.open(anyio.current_time()):
                    continue
                return  # it is connected, and refused for what it says
            self._hub.feed.changed(self.alias)
            for audience in self._watched:  # their clients may do nothing but wait for news
                self._hub.later(self._linked(audience))
            return

    async def _linked(self, audience: Audience) -> None:
        with suppress(Withheld, UpstreamError, UserError):
            await self.link(audience)

    def _jobs(self, link: Link, audience: Audience) -> list[Coroutine[Any, Any, None]]:
        jobs: list[Coroutine[Any, Any, None]] = []
        if isinstance(link.caller, AttestedCaller):
            jobs.append(link.caller.ahead())
        if isinstance(link.transport, StdioTransport | SseTransport):
            jobs.append(self._ended(link, link.transport))
        promised: dict[str, Any] = {
            kind: link.session.capabilities.get(kind) for kind in ("tools", "prompts", "resources")
        }
        wanted: Json = {f"{kind}ListChanged": True for kind, told in promised.items() if _changes(told)}
        if wanted and link.session.era == "modern":
            jobs.append(self._listen(wanted))
        if (level := audience.log_level()) is not None and link.session.era == "legacy":
            jobs.append(self._say_level(link, audience, level))
        if link.session.era == "legacy" and self._watched.get(audience):
            jobs.append(self._rewatch(link, audience))
        return jobs

    async def _ended(self, link: Link, transport: StdioTransport | SseTransport) -> None:
        await transport.ended.wait()
        self.dropped(link)

    async def _listen(self, wanted: Json) -> None:
        """Hear of changed lists. What was not heard while there was no stream may be anything."""
        opened = False

        async def tell(message: Json) -> None:
            nonlocal opened
            if message["method"] != ACKNOWLEDGED:
                await self._owner(SHARED).tell(message)
            elif opened:
                self._hub.feed.changed(self.alias)
            opened = True

        await self.listen(SHARED, SHARED.face, wanted, tell)

    async def _say_level(self, link: Link, audience: Audience, level: str) -> None:
        with suppress(UpstreamError):
            await self._ask(link, audience, "logging/setLevel", {"level": level})

    async def _rewatch(self, link: Link, audience: Audience) -> None:
        for uri in list(self._watched.get(audience, ())):
            with suppress(UpstreamError):
                await self._ask(link, audience, "resources/subscribe", {"uri": uri})

    async def listen(
        self, audience: Audience, face: ClientFace, wanted: Json, tell: Callable[[Json], Awaitable[None]]
    ) -> None:
        """Hold a `subscriptions/listen` stream of a modern server open until cancelled, on whatever connection there
        is (2026-07-28, SEP-2575). Returns where the server does not serve it."""
        pause, params = Breaker(random.random), {"notifications": wanted}
        while not self._closed:
            begun = anyio.current_time()
            try:
                link = await self.link(audience)
                if link.session.era == "legacy":
                    return  # it came back as another
                asked = link.identified(LISTEN, params)
                answer = await link.session.request(
                    LISTEN, asked, client=face, deadline=float("inf"), down=Downlink(tell, refuse)
                )
                if "error" in answer:
                    return  # it promised more than it serves
            except (Withheld, UpstreamError, UserError):
                pass
            if anyio.current_time() - begun > STEADY_SECONDS:
                pause.worked()
            pause.failed(anyio.current_time())
            await anyio.sleep(max(pause.until - anyio.current_time(), 0))


def _name(alias: str, audience: Audience) -> str:
    return f"connect {alias} {audience.key}"


def _changes(told: Any) -> bool:
    match told:
        case {"listChanged": True}:
            return True
        case _:
            return False
