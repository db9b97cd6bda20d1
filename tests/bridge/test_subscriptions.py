"""What clients hear of changes: in every pair of eras, and of nothing that they did not ask for."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.client import Client
from tests.bridge.scene import ERAS, WAYS, Upstream, Way, cell, eventually, gateway
from tests.support.rawclient import Era

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
UPDATED = "notifications/resources/updated"
CHANGED = "notifications/tools/list_changed"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


async def watch(client: Client, *uris: str, lists: bool = False) -> "asyncio.Task[Json] | None":
    """Subscribe; returns once the server knows. The stream of a modern client is the task."""
    if client.era == "legacy":
        for uri in uris:
            await client.result("resources/subscribe", {"uri": uri})
        return None
    wanted: Json = {"resourceSubscriptions": list(uris)} | ({"toolsListChanged": True} if lists else {})
    task = client.begin("subscriptions/listen", {"notifications": wanted})
    told = await client.hears(lambda message: message["method"] == ACKNOWLEDGED)
    assert told["params"]["notifications"] == {k: v for k, v in wanted.items() if v}
    return task


def updates(client: Client) -> list[str]:
    return [message["params"]["uri"] for message in client.heard if message["method"] == UPDATED]


@pytest.mark.parametrize("back", WAYS)
@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("front", WAYS)
@pytest.mark.parametrize("client", ERAS)
async def test_changes_are_heard_by_whoever_asked_for_them_and_for_nothing_else(
    tmp_path: Path, client: Era, front: Way, server: Era, back: Way
) -> None:
    async with cell(tmp_path, client, front, server, back, {}) as (there, upstream):
        assert await there.result("tools/list")
        one, other = f"{upstream.alias}://a", f"{upstream.alias}://b"
        await watch(there, one, lists=True)
        await there.call("change", method=UPDATED, uri=other)
        await there.call("change", method=UPDATED, uri=one)
        await there.hears(lambda message: message["method"] == UPDATED)
        assert updates(there) == [one]
        await there.call("change", method=CHANGED)
        await there.hears(lambda message: message["method"] == CHANGED)
        if client == "legacy":
            await there.result("resources/unsubscribe", {"uri": one})
            await there.call("change", method=UPDATED, uri=one)
            await there.call("change", method=CHANGED)
            await eventually(lambda: sum(m["method"] == CHANGED for m in there.heard) >= 2, "the second change")
            assert updates(there) == [one]
            if server == "legacy":
                assert len(upstream.received("resources/unsubscribe")) == 1


@pytest.mark.parametrize("server", ERAS)
async def test_a_stream_that_its_client_closes_ends_at_the_server_too(tmp_path: Path, server: Era) -> None:
    with gateway(tmp_path, (server, "http")) as running:
        (upstream,) = running.upstreams.values()
        uri = f"{upstream.alias}://a"
        async with running.client("modern") as one, running.client("modern") as two:
            stream, _ = await asyncio.gather(watch(one, uri), watch(two, uri))
            assert stream is not None
            stream.cancel()
            if server == "modern":
                await upstream.writes(_ends(uri))
            await two.call("change", method=UPDATED, uri=uri)
            await two.hears(lambda message: message["method"] == UPDATED)
            assert updates(one) == []
        if server == "legacy":
            await eventually(lambda: upstream.received("resources/unsubscribe"), "the server hears of the end")


def _ends(uri: str) -> Callable[[Json], bool]:
    return lambda entry: entry.get("note") == "cancelled" and uri in str(entry["params"])


async def test_each_session_s_update_goes_to_its_own_client_once(tmp_path: Path) -> None:
    with gateway(tmp_path, ("legacy", "http")) as running:
        (upstream,) = running.upstreams.values()
        uri = f"{upstream.alias}://a"
        async with running.client("legacy", {"roots": {}}) as one, running.client("legacy", {"sampling": {}}) as two:
            await asyncio.gather(watch(one, uri), watch(two, uri))
            await one.call("change", method=UPDATED, uri=uri)
            await one.call("change", method=CHANGED)
            for there in (one, two):
                await there.hears(lambda message: message["method"] == CHANGED)
                await there.hears(lambda message: message["method"] == UPDATED)
                assert updates(there) == [uri]


async def test_what_a_server_lets_nobody_watch_is_an_error_or_not_acknowledged(tmp_path: Path) -> None:
    with gateway(tmp_path, ("modern", "http")) as running:
        async with running.client("legacy") as old, running.client("modern") as new:
            error = (await old.request("resources/subscribe", {"uri": "nobody://x"}))["error"]
            assert "no resource 'nobody://x' here" in error["message"]
            new.begin("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["nobody://x"]}})
            told = await new.hears(lambda message: message["method"] == ACKNOWLEDGED)
            assert told["params"]["notifications"] == {}


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
async def test_what_is_watched_is_watched_again_when_the_server_comes_back(
    tmp_path: Path, client: Era, server: Era
) -> None:
    method = "subscriptions/listen" if server == "modern" else "resources/subscribe"

    def watching(upstream: Upstream) -> int:
        return sum(upstream.alias in str(entry["message"]["params"]) for entry in upstream.received(method))

    able: Json = {"roots": {}} if client == "legacy" else {}  # a modern one that could be asked gets another process
    async with cell(tmp_path, client, "http", server, "pipe", able) as (there, upstream):
        uri = f"{upstream.alias}://a"
        await watch(there, uri)
        assert watching(upstream) == 1
        await there.request("tools/call", {"name": "die", "arguments": {}})
        await eventually(lambda: watching(upstream) >= 2, "it is watched again")
        await there.call("change", method=UPDATED, uri=uri)
        await there.hears(lambda message: message["method"] == UPDATED)
