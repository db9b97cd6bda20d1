"""What clients watch: a legacy client's `resources/subscribe`, a modern one's `subscriptions/listen`, on any server."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import anyio

from attest import wire
from gateway.aggregate import Aggregate, Unknown
from gateway.client import Client
from gateway.errors import Withheld
from gateway.feed import CHANGES, Feed, Follower, announcement
from gateway.member import Member
from gateway.upstream import Json, UpstreamError
from gateway.upstream.wire import SUBSCRIPTION_ID

OPEN_SECONDS = 5
MOST_URIS = 1000
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class Watching:
    """One client's watched resources. Owned by one event loop; `close` must be called."""

    def __init__(self, aggregate: Aggregate, follower: Follower) -> None:
        self._aggregate, self.follower = aggregate, follower
        # How each URI is given up.
        self._ends: dict[str, Callable[[], Awaitable[None]]] = {}

    async def begin(self, uri: str, params: Json, client: Client) -> Json:
        """Watch a resource: the raw reply. Raises `Unknown`, `Withheld`, `UpstreamError`."""
        member = await self._aggregate.owner(uri, client.audience)
        if uri in self._ends:
            return {"result": {}}
        if len(self._ends) >= MOST_URIS:
            raise Unknown(f"more than {MOST_URIS} resources are watched; give some up first")
        self.follower.uris[uri] = member.alias
        try:
            end, reply = await self._on(member, uri, params, client)
        except BaseException:
            self.follower.uris.pop(uri, None)
            raise
        if "error" in reply:
            self.follower.uris.pop(uri, None)
        else:
            self._ends[uri] = end
        return reply

    async def end(self, uri: str) -> None:
        """Watch it no more; nothing happens where it was not watched."""
        self.follower.uris.pop(uri, None)
        if (end := self._ends.pop(uri, None)) is not None:
            with suppress(UpstreamError, Withheld):  # whoever cannot be told will not tell us either
                await end()

    async def close(self) -> None:
        """Give up everything."""
        for uri in list(self._ends):
            await self.end(uri)

    async def _on(
        self, member: Member, uri: str, params: Json, client: Client
    ) -> tuple[Callable[[], Awaitable[None]], Json]:
        connections, audience = member.connections, client.audience
        link = await connections.link(audience)
        if link.session.era == "legacy":
            reply = await connections.watch(audience, uri, wire.without_ours(params))
            return (lambda: connections.unwatch(audience, uri)), reply
        opened = anyio.Event()

        async def tell(message: Json) -> None:
            opened.set()
            if (news := announcement(message, signed_only=member.must_prove)) is not None:
                self.follower.offer(member.alias, news)

        wanted = {"resourceSubscriptions": [uri]}
        task = asyncio.create_task(connections.listen(link, client.face, wanted, tell))

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        with anyio.move_on_after(OPEN_SECONDS):
            await opened.wait()
        return stop, {"result": {}}


async def listen(
    aggregate: Aggregate, feed: Feed, params: Json, client: Client, stream: Any, tell: Callable[[Json], Awaitable[None]]
) -> Json:
    """Serve one `subscriptions/listen` request, whose id is `stream`, until cancelled (2026-07-28, SEP-2575)."""
    asked = params.get("notifications")
    wanted = cast(Json, asked) if isinstance(asked, dict) else {}
    meta = {SUBSCRIPTION_ID: stream}

    async def deliver(message: Json) -> None:
        told = cast(Json, message.get("params", {}))
        await tell({**message, "params": {**told, "_meta": {**told.get("_meta", {}), **meta}}})

    flags: Json = {name: True for name in CHANGES if wanted.get(name) is True}
    follower = Follower((CHANGES[name] for name in flags), deliver)
    watching, stop = Watching(aggregate, follower), feed.follow(follower)
    try:
        uris: Any = wanted.get("resourceSubscriptions")
        honoured: list[str] = []
        for uri in cast(list[Any], uris) if isinstance(uris, list) else []:
            with suppress(Unknown, Withheld, UpstreamError):
                if isinstance(uri, str) and "error" not in await watching.begin(uri, {"uri": uri}, client):
                    honoured.append(uri)
        subscribed: Json = {"resourceSubscriptions": honoured} if honoured else {}
        await tell({"method": ACKNOWLEDGED, "params": {"notifications": flags | subscribed, "_meta": meta}})
        await follower.run()
    finally:
        stop()
        with anyio.CancelScope(shield=True):
            await watching.close()
    return {"result": {"_meta": meta}}
