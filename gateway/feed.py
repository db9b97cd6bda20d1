"""What servers announce (lists that changed, resources that were updated), given to each client that wants it."""

from collections.abc import Awaitable, Callable, Iterable
from typing import cast

import anyio

from attest import wire
from gateway.upstream import Json
from gateway.upstream.wire import SUBSCRIPTION_ID

UPDATED = "notifications/resources/updated"
CHANGES = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
"""The members of a subscription filter (SEP-2575) and what they ask for."""


class Follower:
    """One client's share. Of each announcement at most one waits for delivery, so no client can be flooded.

    `changes` are the methods it wants. Owned by one event loop.
    """

    def __init__(self, changes: Iterable[str], deliver: Callable[[Json], Awaitable[None]]) -> None:
        self._changes, self._deliver = frozenset(changes), deliver
        # URIs it wants to hear of, each with the server that it belongs to and the audience of the session that says
        # so. Filled by whoever subscribes.
        self.uris: dict[str, tuple[str, str]] = {}
        # What waits for delivery, oldest first.
        self._waiting: dict[tuple[str, str], Json] = {}
        self._woken = anyio.Event()

    def offer(self, alias: str, message: Json, key: str = "") -> None:
        """Take what one server announced in the session of an audience, if it is wanted."""
        method, uri = message["method"], _uri(message)
        if method in self._changes or (method == UPDATED and self.uris.get(uri) == (alias, key)):
            self._waiting[(method, uri)] = message
            self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            while self._waiting:
                await self._deliver(self._waiting.pop(next(iter(self._waiting))))


class Feed:
    """Every server's announcements, and who follows. Owned by one event loop."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()

    def publish(self, alias: str, message: Json, key: str = "") -> None:
        """Offer to every follower what a server announced in the session of the audience `key`."""
        for follower in self._followers:
            follower.offer(alias, message, key)

    def changed(self, alias: str) -> None:
        """All lists of one server may be different now: it came, went, or came back."""
        for method in CHANGES.values():
            self.publish(alias, {"method": method})

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Begin; the returned function ends it."""
        self._followers.add(follower)
        return lambda: self._followers.discard(follower)


def announcement(message: Json, *, signed_only: bool) -> Json | None:
    """What of a server's notification may be announced: None if it is none.

    `signed_only`: of a server that must prove what it says, only what we know anyway.
    """
    method = message["method"]
    if method in CHANGES.values():
        return {"method": method} if signed_only else _stripped(message)
    if method == UPDATED and _uri(message):
        return {"method": method, "params": {"uri": _uri(message)}} if signed_only else _stripped(message)
    return None


def _stripped(message: Json) -> Json:
    """Without what belongs to the stream it came on, and without what it says in our name."""
    params = message.get("params")
    if not isinstance(params, dict):
        return {"method": message["method"]}
    told = wire.without_ours(cast(Json, params))
    meta = {name: value for name, value in told.pop("_meta", {}).items() if name != SUBSCRIPTION_ID}
    told |= {"_meta": meta} if meta else {}
    return {"method": message["method"]} | ({"params": told} if told else {})


def _uri(message: Json) -> str:
    match message.get("params"):
        case {"uri": str(uri)}:
            return uri
        case _:
            return ""
