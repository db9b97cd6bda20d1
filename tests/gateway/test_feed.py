"""Announcements: who hears which, once, and what of them passes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.feed import CHANGES, UPDATED, Feed, Follower, announcement
from gateway.upstream import Json
from gateway.upstream.wire import SUBSCRIPTION_ID

pytestmark = pytest.mark.anyio
TOOLS, PROMPTS = CHANGES["toolsListChanged"], CHANGES["promptsListChanged"]


def updated(uri: str) -> Json:
    return {"method": UPDATED, "params": {"uri": uri}}


class Ear:
    """A follower, and what was delivered."""

    def __init__(self, *changes: str) -> None:
        self.heard: list[Json] = []
        self.follower = Follower(changes, self.deliver)

    async def deliver(self, message: Json) -> None:
        self.heard.append(message)

    async def listen(self) -> list[Json]:
        """What waits now."""
        task = asyncio.create_task(self.follower.run())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return self.heard


async def test_only_what_is_wanted_from_the_server_and_session_that_it_is_wanted_from() -> None:
    ear, feed = Ear(TOOLS), Feed()
    feed.follow(ear.follower)
    ear.follower.uris["x://a"] = "one", "client-1"
    feed.publish("one", {"method": PROMPTS})
    feed.publish("two", updated("x://a"), "client-1")
    feed.publish("one", updated("x://a"), "client-2")
    feed.publish("one", updated("x://a"))
    feed.publish("one", updated("x://b"), "client-1")
    assert await ear.listen() == []
    feed.publish("one", updated("x://a"), "client-1")
    feed.publish("two", {"method": TOOLS}, "client-9")
    assert await ear.listen() == [updated("x://a"), {"method": TOOLS}]


async def test_a_flood_costs_one_of_each_kind() -> None:
    ear, feed = Ear(*CHANGES.values()), Feed()
    feed.follow(ear.follower)
    for _ in range(1000):
        feed.changed("one")
    assert [message["method"] for message in await ear.listen()] == list(CHANGES.values())


async def test_who_left_hears_nothing() -> None:
    ear, feed = Ear(TOOLS), Feed()
    feed.follow(ear.follower)()
    feed.changed("one")
    assert await ear.listen() == []


@given(st.dictionaries(st.text(max_size=5), st.integers()))
def test_of_a_server_that_must_prove_itself_only_known_things_are_announced(more: Json) -> None:
    params = {**more, "uri": "x://a", "_meta": {"com.etmcp/receipt": 1, SUBSCRIPTION_ID: 3, "v": 1}}
    assert announcement({"method": UPDATED, "params": params}, signed_only=True) == updated("x://a")
    assert announcement({"method": TOOLS, "params": params}, signed_only=True) == {"method": TOOLS}
    passed = announcement({"method": UPDATED, "params": params}, signed_only=False)
    assert passed is not None
    assert passed["params"]["_meta"] == {"v": 1}


@pytest.mark.parametrize("params", [None, [], {}, {"uri": 3}, {"uri": ""}])
def test_an_update_of_nothing_is_no_announcement(params: object) -> None:
    assert announcement({"method": UPDATED, "params": params}, signed_only=False) is None
