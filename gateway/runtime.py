"""Builds a running gateway from a configuration: the one place where its parts are put together."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.aggregate import Aggregate
from gateway.config import Config, Server
from gateway.endorsements import source
from gateway.exchange.observed import Observer
from gateway.feed import Feed
from gateway.home import Home
from gateway.hub import Hub
from gateway.identity import Identity
from gateway.journal import Journal
from gateway.member import Member
from gateway.pins import Pins
from gateway.records import Records
from gateway.registry import Registry
from gateway.results import Keep, Results
from gateway.rounds import Rounds
from gateway.state import States
from gateway.store import Store
from gateway.storing import StoringMember
from gateway.upstream.http import new_pool

logger = logging.getLogger(__name__)
NO_ROOTS: Mapping[str, frozenset[str]] = MappingProxyType({})


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
        self.observer.policy_digest, self.hub.registry.settings = config.digest(), config.registry
        self._later(self._keep(config))
        self.aggregate.replace({alias: kept.get(alias) or new[alias] for alias in config.servers})
        for alias, member in old.items():
            if alias not in kept:
                self._later(_retire(member))

    def keep_by(self, config: Config) -> None:
        """From now on, keep results where and as this configuration says."""
        alias = config.storing
        storage = StoringMember(lambda: self.aggregate.members[alias or ""])
        policies: dict[str, Keep] = {
            name: server.etmcp.store for name, server in config.servers.items() if name != alias
        }
        self.aggregate.rounds.results = Results(storage, policies, logger.warning) if alias else None

    async def _keep(self, config: Config) -> None:
        before = self.aggregate.rounds.results
        self.keep_by(config)
        if before is not None:
            await before.close()

    def _later(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End every member, those that were leaving too, when the results that wait are kept."""
        if self.aggregate.rounds.results is not None:
            await self.aggregate.rounds.results.close()
        for task in (leaving := list(self._leaving)):
            task.cancel()
        await asyncio.gather(*leaving, *(member.close() for member in self.aggregate.members.values()))


@asynccontextmanager
async def running(
    config: Config,
    home: Home,
    *,
    clock: Callable[[], int],
    environ: Mapping[str, str],
    version: str,
    test_roots: Mapping[str, frozenset[str]] = NO_ROOTS,
) -> AsyncGenerator[Gateway]:
    """Open the store, make the members, and at the end close both. `test_roots` are by vendor. Raises `UserError`."""
    store = Store(home.database)
    key = home.signing_key()
    observer = Observer(key, config.digest(), clock)
    records, pins = Records(store, clock), Pins(store, key, clock)
    identity = Identity(key, environ.get("USER") or environ.get("USERNAME") or "local", clock)
    try:
        async with new_pool() as http:
            info = {"name": "etmcp", "version": version}
            registry = Registry(config.registry, store, http, home, environ, info)
            trust = (source(config.endorsements, home.private / "endorsements", http, clock), test_roots)
            hub = Hub(home, http, pins, records, observer, clock, environ, info, Feed(), identity, registry, *trust)
            rounds = Rounds(records, States(home.state_key(), clock), clock, identity.user, hub.later)
            members = {alias: Member(alias, server, hub) for alias, server in config.servers.items()}
            gateway = Gateway(Aggregate(members, hub, rounds), records, pins, observer, hub)
            gateway.keep_by(config)
            journal = asyncio.create_task(Journal(registry, records).run(), name="journal")
            try:
                yield gateway
            finally:
                journal.cancel()
                await asyncio.gather(journal, return_exceptions=True)
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
