"""Builds a running gateway from a configuration: the one place where its parts are put together."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from gateway.aggregate import Aggregate
from gateway.config import Config
from gateway.exchange.observed import Observer
from gateway.home import Home
from gateway.hub import Hub
from gateway.member import Member
from gateway.pins import Pins
from gateway.records import Records
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
            hub = Hub(home, http, pins, records, observer, clock, environ, info)
            members = {alias: Member(alias, server, hub) for alias, server in config.servers.items()}
            try:
                yield Gateway(Aggregate(members, hub), records, pins, observer, hub)
            finally:
                for member in members.values():
                    await member.close()
                await hub.closed()
    finally:
        store.close()
