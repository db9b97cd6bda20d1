"""Servers that fail and come back, that hang, that have enough to do; and a configuration that changes meanwhile."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.client import Client
from tests.bridge.scene import Gateway, Upstream, eventually, gateway, serving
from tests.bridge.test_subscriptions import CHANGED, watch
from tests.support.stage import Lean, configuration

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
SERVERS = "com.etmcp/servers"


async def states(client: Client) -> dict[str, str]:
    return (await client.result("tools/list"))["_meta"][SERVERS]


async def tools(client: Client) -> set[str]:
    return {tool["name"] for tool in (await client.result("tools/list"))["tools"]}


async def announced(client: Client, until: Any) -> None:
    """Return once a change was announced after which `until` holds."""
    async with asyncio.timeout(25):
        while True:
            await client.hears(lambda message: message["method"] == CHANGED)
            client.heard.clear()
            if await until():
                return


async def test_a_server_that_did_not_start_is_back_by_itself_and_says_so(tmp_path: Path) -> None:
    with gateway(tmp_path, ("legacy", "pipe"), ("modern", "pipe")) as running:
        mended = running.upstreams["legacy_pipe"]
        (mended.folder / "broken").touch()
        async with running.client("modern") as new, running.client("legacy") as old:
            await watch(new, lists=True)
            assert (await states(new))["legacy_pipe"].startswith("failed: legacy_pipe: exited with code 1")
            assert (await states(old))["modern_pipe"] == "ready"
            (mended.folder / "broken").unlink()

            async def back() -> bool:
                return (await states(new))["legacy_pipe"] == "ready"

            await announced(new, back)
            await old.hears(lambda message: message["method"] == CHANGED)


async def test_a_server_that_dies_in_each_call_is_waited_for_after_a_few(tmp_path: Path) -> None:
    with gateway(tmp_path, ("legacy", "pipe"), ("modern", "pipe")) as running:
        async with running.client("modern") as there:
            assert await tools(there)
            said = ""
            for _ in range(12):
                response = await there.request("tools/call", {"name": "legacy_pipe_die", "arguments": {}})
                said = json.dumps(response)
                assert (await there.call("modern_pipe_steps", n=1))["content"]
                if "several times in a row" in said:
                    break
            assert "lost its connection several times in a row; it is tried again by itself" in said

            async def back() -> bool:
                return (await states(there))["legacy_pipe"] == "ready"

            await watch(there, lists=True)
            if not await back():
                await announced(there, back)


async def test_a_hung_server_is_waited_for_once_and_calls_to_others_go_on(tmp_path: Path) -> None:
    hung = Lean(tmp_path / "hung", "work", mode="mute")
    upstream = Upstream(tmp_path / "good", "modern", "pipe")
    with serving(tmp_path, {"hung": hung.entry(), "good": upstream.entry()}) as (port, pid):
        async with Gateway(port, pid, tmp_path, {}).client("modern") as there:
            assert "no answer yet" in (await states(there))["hung"]
            begun = time.monotonic()
            assert (await states(there))["good"] == "ready"
            assert time.monotonic() - begun < 6  # the first waits up to 12 s; this bound is not about speed
            assert (await there.call("steps", n=1))["content"]


async def test_calls_beyond_the_limit_wait_their_turn(tmp_path: Path) -> None:
    with gateway(tmp_path, ("modern", "pipe"), limit=1) as running:
        (upstream,) = running.upstreams.values()
        async with running.client("modern") as there:
            waits: Json = {"name": "wait", "arguments": {}, "_meta": {"progressToken": 1}}
            first = there.begin("tools/call", waits)
            await there.hears(lambda message: message["method"] == "notifications/progress")
            second = there.begin("tools/call", {"name": "steps", "arguments": {"n": 0}})
            (upstream.folder / "go").touch()
            assert (await first)["result"]["content"] == (await second)["result"]["content"]
        calls = [entry["message"]["params"]["name"] for entry in upstream.received("tools/call")]
        assert calls == ["wait", "steps"]


async def test_three_timeouts_in_a_row_end_the_connection(tmp_path: Path) -> None:
    with gateway(tmp_path, ("modern", "pipe"), timeout=1) as running:
        (upstream,) = running.upstreams.values()
        async with running.client("modern") as there:
            for _ in range(3):
                assert "in time" in (await there.call("hang"))["content"][0]["text"]
            await eventually(lambda: len(upstream.received("server/discover")) == 2, "it is started again")

            async def works() -> bool:
                return (await there.call("steps", n=1)).get("isError") is not True

            await watch(there, lists=True)
            if not await works():
                await announced(there, works)
        assert len(upstream.processes) <= 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_server_is_added_changed_and_removed_while_it_works(tmp_path: Path, era: Any) -> None:
    with gateway(tmp_path, (era, "pipe"), quiet=False) as running:
        (upstream,) = running.upstreams.values()
        more = Upstream(tmp_path / "more", "modern", "pipe")
        (more.folder / "tools").write_text("extra")
        async with running.client("modern") as there, running.client("legacy") as old:
            await watch(there, lists=True)
            slow = there.begin("tools/call", {"name": "wait", "arguments": {}, "_meta": {"progressToken": 1}})
            await there.hears(lambda message: message["method"] == "notifications/progress")
            there.heard.clear()
            configuration(running.config, more=more.entry())
            await announced(there, _lists(there, "extra"))
            await old.hears(lambda message: message["method"] == CHANGED)
            assert set(await states(there)) == {"more"}
            assert not slow.done()
            assert upstream.processes
            (upstream.folder / "go").touch()
            assert (await slow)["result"]["content"]
            await eventually(lambda: not upstream.processes, "the removed server ends")
            before = more.processes
            configuration(running.config, more=more.entry(timeout=7))
            await announced(there, _lists(there, "extra"))
            await eventually(lambda: not before & more.processes, "the changed server ends")
            running.config.write_text("{")
            await eventually(lambda: "goes on with what it had" in running.errors, "the broken file is named")
            assert "extra" in await tools(there)
            assert (await there.call("steps", n=1))["content"]
        assert running.errors.count("goes on with what it had") == 1


def _lists(there: Client, name: str) -> Any:
    async def listed() -> bool:
        return name in await tools(there)

    return listed
