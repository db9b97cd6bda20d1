"""Nothing is left of clients that went: not in the gateway's process, and none of its own objects."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from gateway.config import load
from gateway.front.http import application
from gateway.front.relay import serve
from gateway.home import Home
from gateway.runtime import Gateway, running
from tests.bench.leaks import leaks
from tests.bridge.client import HttpClient
from tests.bridge.scene import Upstream, answered, eventually
from tests.bridge.test_questions import ABLE, ANSWERS, QUESTIONS
from tests.support.stage import configuration

pytestmark = pytest.mark.anyio
ROUNDS = 40
"""`make bench` has ten thousand."""


async def test_clients_that_come_and_go_leave_no_file_thread_or_process(tmp_path: Path) -> None:
    before, after = await leaks(tmp_path, ROUNDS)
    assert after.no_more_than(before), (before, after)


@asynccontextmanager
async def within(folder: Path, upstream: Upstream) -> AsyncGenerator[tuple[Gateway, Any, int]]:
    """A gateway in this process, whose sessions end after a moment of silence; with the SDK's manager, and its port."""
    config = load(configuration(folder / "config.json", **{upstream.alias: upstream.entry()}))
    home = Home(folder / "own" / "home")
    async with running(config, home, clock=lambda: 1_800_000_000_000, environ={}, version="0") as gateway:
        server = serve(gateway.aggregate, gateway.hub.feed, "0")
        app = application(server, hosts=["127.0.0.1:*"], token=None, idle_seconds=0.5)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            web = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=1))
            task = asyncio.create_task(web.serve(sockets=[listener]))
            await eventually(lambda: web.started, "it listens")
            yield gateway, server.session_manager, int(listener.getsockname()[1])
            web.should_exit = True
            await task


def tasks() -> int:
    """Those that run, but for the one that the event stream library starts with the first stream and keeps."""
    return sum("_shutdown_watcher" not in str(task.get_coro()) for task in asyncio.all_tasks())


@pytest.mark.parametrize("capabilities", [{}, ABLE])
async def test_a_client_that_vanishes_without_a_word_is_let_go(tmp_path: Path, capabilities: Any) -> None:
    upstream = Upstream(tmp_path / "peer", "legacy", "pipe")
    async with within(tmp_path, upstream) as (gateway, manager, port):
        (member,) = gateway.aggregate.members.values()
        sessions: dict[str, Any] = manager._server_instances
        followers: set[Any] = gateway.hub.feed._followers  # pyright: ignore[reportPrivateUsage]
        links: dict[str, Any] = member.connections._links  # pyright: ignore[reportPrivateUsage]
        heard: dict[str, Any] = member._listings  # pyright: ignore[reportPrivateUsage]
        watched: dict[Any, Any] = member.connections._watched  # pyright: ignore[reportPrivateUsage]
        await member.survey()
        before = tasks()
        for _ in range(5):
            async with aiohttp.ClientSession() as pool:
                client = HttpClient("legacy", capabilities, port, pool)
                client.polite = False
                await client.hello()
                await client.result("tools/list")
                await client.result("resources/subscribe", {"uri": "peer://a"})
                if capabilities:
                    await answered(client, QUESTIONS, ANSWERS)
                assert sessions
                assert followers
                await client.leave()
        await eventually(lambda: not sessions and not followers, "the sessions are let go")
        await eventually(lambda: set(links) == set(heard) == {""}, "what was theirs is gone")
        await eventually(lambda: not any(watched.values()), "nothing is watched")
        await eventually(lambda: tasks() <= before, "their tasks have ended")
        await eventually(lambda: len(upstream.processes) == 1, "their processes have ended")
