"""What clients watch: a legacy client's `resources/subscribe`, a modern one's `subscriptions/listen`, on any server."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import anyio

from attest import wire
from gateway.aggregate import Aggregate, Unknown
from gateway.client import Client
from gateway.errors import UserError, Withheld
from gateway.feed import CHANGES, Feed, Follower, announcement
from gateway.member import Member
from gateway.rounds import unclaimed
from gateway.upstream import METHOD_NOT_FOUND, Json, UpstreamError
from gateway.upstream.wire import ACKNOWLEDGED, SUBSCRIPTION_ID

OPEN_SECONDS = 5
MOST_URIS = 1000


class Watching:
    """One client's watched resources. Owned by one event loop; `close` must be called."""

    def __init__(self, aggregate: Aggregate, follower: Follower) -> None:
        self._aggregate, self.follower = aggregate, follower
        # How each URI is given up.
        self._ends: dict[str, Callable[[], Awaitable[None]]] = {}

    async def begin(self, uri: str, params: Json, client: Client) -> Json:
        """Watch a resource: the raw reply. Raises `Unknown`, `Withheld`, `UpstreamError`."""
        member = await self._aggregate.owner(uri, client.audience)
        if uri in self.follower.uris:
            return {"result": {}}
        if len(self.follower.uris) >= MOST_URIS:
            raise Unknown(f"more than {MOST_URIS} resources are watched; give some up first")
        self.follower.uris[uri] = member.alias, client.audience.key
        try:
            end, reply = await self._on(member, uri, params, client)
        except BaseException:  # cancelled too
            self.follower.uris.pop(uri, None)
            raise
        if "error" in reply:
            self.follower.uris.pop(uri, None)
            return {"error": unclaimed(reply["error"])}
        self._ends[uri] = end
        if uri not in self.follower.uris:  # given up meanwhile
            await self.end(uri)
        return {"result": {}}

    async def end(self, uri: str) -> None:
        """Watch it no more; nothing happens where it was not watched."""
        self.follower.uris.pop(uri, None)
        if (end := self._ends.pop(uri, None)) is not None:
            with suppress(UpstreamError, Withheld, UserError):  # whoever cannot be told will not tell us either
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
        honoured = asyncio.get_running_loop().create_future()

        async def tell(message: Json) -> None:
            if message["method"] == ACKNOWLEDGED and not honoured.done():
                honoured.set_result(_honoured(message, uri))
            elif (news := announcement(message, signed_only=member.must_prove)) is not None:
                self.follower.offer(member.alias, news, audience.key)

        async def listen() -> None:
            try:
                await connections.listen(audience, client.face, {"resourceSubscriptions": [uri]}, tell)
            finally:
                if not honoured.done():
                    honoured.set_result(False)

        task = asyncio.create_task(listen())

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        try:
            with anyio.move_on_after(OPEN_SECONDS):
                await asyncio.shield(honoured)
        except BaseException:  # cancelled too
            task.cancel()
            raise
        if not honoured.done() or honoured.result():
            return stop, {"result": {}}
        await stop()
        return stop, {"error": {"code": METHOD_NOT_FOUND, "message": f"{member.alias} lets nobody watch {uri[:200]}"}}


def _honoured(message: Json, uri: str) -> bool:
    """Whether a server's acknowledgement names the resource; one that names nothing at all is taken at its word."""
    match message.get("params"):
        case {"notifications": {"resourceSubscriptions": uris}}:
            return isinstance(uris, list) and uri in uris
        case {"notifications": dict()}:
            return False
        case _:
            return True


async def _begun(watching: Watching, uri: str, client: Client) -> bool:
    with suppress(Unknown, Withheld, UpstreamError, UserError):
        return "error" not in await watching.begin(uri, {"uri": uri}, client)
    return False


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
        named = [uri for uri in cast(list[Any], uris) if isinstance(uri, str)] if isinstance(uris, list) else []
        begun = await asyncio.gather(*(_begun(watching, uri, client) for uri in named))
        honoured = [uri for uri, there in zip(named, begun, strict=True) if there]
        subscribed: Json = {"resourceSubscriptions": honoured} if honoured else {}
        await tell({"method": ACKNOWLEDGED, "params": {"notifications": flags | subscribed, "_meta": meta}})
        await follower.run()
    finally:
        stop()
        with anyio.CancelScope(shield=True):
            await watching.close()
    return {"result": {"_meta": meta}}
