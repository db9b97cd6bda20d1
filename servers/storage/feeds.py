"""Who is told of changes: each user's own listeners and nobody else's, in both eras.

Modern (2026-07-28): `subscriptions/listen` on a bus per user. Legacy: `resources/subscribe` per connection and user,
and `list_changed` to each connection that acted as that user. A subscription outlives the assertion that opened it.
"""

from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)
from mcp_types import SubscriptionsListenRequestParams, SubscriptionsListenResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from attest.identity import META

MAX_STREAMS = 64
MAX_SUBSCRIPTIONS = 1000
PATIENCE_S = 1.0

RequestContext = ServerRequestContext[Any, Any]


class TooMany(Exception):
    """One user subscribes to more than is kept for them."""


@dataclass(eq=False)
class _Bus:
    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    handler: ListenHandler = field(init=False)
    streams: int = 0

    def __post_init__(self) -> None:
        self.handler = ListenHandler(self.bus, max_subscriptions=MAX_STREAMS)


class Feeds:
    """Owned by the server's event loop."""

    def __init__(self) -> None:
        # Modern: one bus per user with an open stream.
        self._buses: dict[str, _Bus] = {}
        # Legacy: by connection, the users it acted as and the URIs that each subscribed to.
        self._peers: dict[Connection, dict[str, set[str]]] = {}

    @property
    def users(self) -> set[str]:
        """Everybody who may be told something."""
        return set(self._buses).union(*self._peers.values())

    def see(self, ctx: RequestContext, user: str) -> set[str] | None:
        """Note that a legacy connection acts as `user`; returns what they subscribed to there."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return None
        # The SDK shows handlers a proxy per request; only the connection behind it can be told from another.
        connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
        if connection not in self._peers:
            self._peers[connection] = {}
            connection.exit_stack.callback(self._peers.pop, connection, None)
        return self._peers[connection].setdefault(user, set())

    def subscribe(self, ctx: RequestContext, user: str, uri: str) -> None:
        """Legacy: tell this connection of changes of `uri`, if it is ever the user's. Raises `TooMany`."""
        if (uris := self.see(ctx, user)) is not None:
            if len(uris) >= MAX_SUBSCRIPTIONS:
                raise TooMany
            uris.add(uri)

    def unsubscribe(self, ctx: RequestContext, user: str, uri: str) -> None:
        """Legacy: stop that."""
        if (uris := self.see(ctx, user)) is not None:
            uris.discard(uri)

    async def listen(
        self, ctx: RequestContext, user: str, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Modern: one stream of the user's changes, until the client ends it."""
        feed = self._buses.setdefault(user, _Bus())
        feed.streams += 1
        try:
            return await feed.handler(ctx, params)
        finally:
            feed.streams -= 1
            if not feed.streams:
                self._buses.pop(user, None)

    async def publish(self, user: str, uri: str | None, *, listed: bool) -> None:
        """Tell the user's listeners that `uri` changed, and whether their list did. Never fails the caller."""
        events: list[ServerEvent] = [ResourceUpdated(uri)] if uri is not None else []
        if listed:
            events.append(ResourcesListChanged())
        if (feed := self._buses.get(user)) is not None:
            for event in events:
                await feed.bus.publish(event)
        for connection, users in list(self._peers.items()):
            if (uris := users.get(user)) is None:
                continue
            with anyio.move_on_after(PATIENCE_S):  # whoever does not read must not hold up whoever writes
                if uri in uris:
                    await connection.send_resource_updated(str(uri))
                if listed:
                    # Several users may share the connection; it acted as this one.
                    await connection.send_resource_list_changed(meta={META: {"user": user}})
