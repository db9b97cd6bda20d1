"""Builds a running gateway from a configuration: the one place where its parts are put together."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from gateway.aggregate import Aggregate
from gateway.config import Config, Server
from gateway.exchange.observed import Observer
from gateway.feed import Feed
from gateway.home import Home
from gateway.hub import Hub
from gateway.member import Member
from gateway.pins import Pins
from gateway.records import Records
from gateway.rounds import Rounds
from gateway.state import States
from gateway.store import Store

KEEPALIVE_SECONDS = 4  # below the 5 s after which uvicorn closes an idle connection


@dataclass(frozen=True)
class Gateway:
    """A gateway that is running; its members connect when they are needed."""

    aggregate: Aggregate
    records: Records
    pins: Pins
    observer: Observer
    hub: Hub
    # Members that the configuration names no more, until their calls are done; each removes itself.
    _leaving: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    async def apply(self, config: Config) -> None:
        """Go on with another configuration. What did not change keeps its connections; calls under way finish."""
        old = self.aggregate.members
        kept = {alias: old[alias] for alias, server in config.servers.items() if _same(old.get(alias), server)}
        new = {alias: Member(alias, server, self.hub) for alias, server in config.servers.items() if alias not in kept}
        self.observer.policy_digest = config.digest()
        self.aggregate.replace({alias: kept.get(alias) or new[alias] for alias in config.servers})
        for alias, member in old.items():
            if alias not in kept:
                task = asyncio.create_task(_retire(member))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End every member, those that were leaving too."""
        for task in (leaving := list(self._leaving)):
            task.cancel()
        await asyncio.gather(*leaving, *(member.close() for member in self.aggregate.members.values()))


@asynccontextmanager
async def running(
    config: Config, home: Home, *, clock: Callable[[], int], environ: Mapping[str, str], version: str
) -> AsyncGenerator[Gateway]:
    """Open the store, make the members, and at the end close both. Raises `UserError`."""
    store = Store(home.database)
    key = home.signing_key()
    observer = Observer(key, config.digest(), clock)
    records, pins = Records(store, clock), Pins(store, key, clock)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    try:
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
        ) as http:
            info = {"name": "etmcp", "version": version}
            feed = Feed()
            hub = Hub(home, http, pins, records, observer, clock, environ, info, feed)
            rounds = Rounds(records, States(home.state_key(), clock), clock, hub.later)
            members = {alias: Member(alias, server, hub) for alias, server in config.servers.items()}
            gateway = Gateway(Aggregate(members, hub, rounds), records, pins, observer, hub)
            try:
                yield gateway
            finally:
                rounds.close()
                await gateway.close()
                await hub.closed()
    finally:
        store.close()


def _same(member: Member | None, server: Server) -> bool:
    return member is not None and member.server == server


async def _retire(member: Member) -> None:
    """Close it when its calls are done, or when the gateway ends."""
    try:
        await member.connections.drained()
    finally:
        await member.close()
