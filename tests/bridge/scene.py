"""Gateways in front of scripted servers: one of each era on a pipe and over HTTP."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any, Literal

from tests.bridge import peer
from tests.bridge.client import SECONDS, Client, HttpClient, on_pipe, over_http
from tests.support.rawclient import ETMCP, Era, wait_for
from tests.support.stage import configuration

Json = dict[str, Any]
Way = Literal["pipe", "http"]
ERAS: tuple[Era, Era] = ("legacy", "modern")
WAYS: tuple[Way, Way] = ("pipe", "http")
SCRIPT = str(Path(peer.__file__))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Upstream:
    """One scripted server, and what it wrote down."""

    def __init__(self, folder: Path, era: Era, way: Way) -> None:
        self.folder, self.era, self.way, self.alias = folder, era, way, folder.name
        folder.mkdir(parents=True)
        (folder / "log").touch()
        self.port = free_port()

    def entry(self, **settings: Any) -> Json:
        """What stands under `mcpServers`."""
        if self.way == "http":
            return {"url": f"http://127.0.0.1:{self.port}/mcp", "etmcp": settings}
        return {"command": sys.executable, "args": [SCRIPT, str(self.folder), self.era], "etmcp": settings}

    @contextmanager
    def running(self) -> Generator[None]:
        """Started, where nobody else does it."""
        if self.way == "pipe":
            yield
            return
        with Popen([sys.executable, SCRIPT, str(self.folder), self.era, str(self.port)], stdin=DEVNULL) as process:
            try:
                wait_for(self.port, process)
                yield
            finally:
                process.kill()

    @property
    def log(self) -> list[Json]:
        """Everything so far; a line that is being written is not there yet."""
        whole = (self.folder / "log").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def received(self, method: str) -> list[Json]:
        """The requests and notifications of this method that it received, each with its session."""
        return [entry for entry in self.log if entry.get("message", {}).get("method") == method]

    @property
    def processes(self) -> set[int]:
        """Those that live, of all that it was."""
        return {entry["pid"] for entry in self.log if Path(f"/proc/{entry['pid']}").exists()}

    async def writes(self, wanted: Callable[[Json], bool]) -> Json:
        """The first such entry of its log, now or later."""
        return await eventually(lambda: next((entry for entry in self.log if wanted(entry)), None), "the log")


async def eventually(found: Callable[[], Any], what: str) -> Any:
    """What `found` returns once it is true; fails at the deadline."""
    async with asyncio.timeout(SECONDS):
        while not (value := found()):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)
    assert value, what
    return value


class Gateway:
    """`etmcp serve` in front of some servers."""

    def __init__(self, port: int, pid: int, folder: Path, upstreams: dict[str, Upstream]) -> None:
        self.port, self.pid, self.folder, self.upstreams = port, pid, folder, upstreams

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def client(
        self, era: Era, capabilities: Json | None = None, **headers: str
    ) -> AbstractAsyncContextManager[HttpClient]:
        """A client of it."""
        return over_http(self.port, era, capabilities, headers)


@contextmanager
def serving(folder: Path, entries: Json, *options: str, token: str | None = None) -> Generator[tuple[int, int]]:
    """Run `etmcp serve` with these servers; yields its port and process id."""
    config, port = configuration(folder / "config.json", **entries), free_port()
    environ = {**os.environ} | ({"ETMCP_TOKEN": token} if token else {})
    command = [ETMCP, "--config", str(config), "--home", str(folder / "own" / "home"), "serve", "--port", str(port)]
    with (folder / "stderr").open("ab") as errors, Popen([*command, *options], stderr=errors, env=environ) as process:
        try:
            wait_for(port, process)
            yield port, process.pid
        finally:
            process.terminate()


@contextmanager
def gateway(folder: Path, *kinds: tuple[Era, Way], quiet: bool = True, **settings: Any) -> Generator[Gateway]:
    """A gateway in front of one server of each kind, whose alias is the kind: `legacy_pipe` and so on."""
    upstreams = {f"{era}_{way}": Upstream(folder / f"{era}_{way}", era, way) for era, way in kinds}
    with ExitStack() as stack:
        for upstream in upstreams.values():
            stack.enter_context(upstream.running())
        entries = {alias: upstream.entry(**settings) for alias, upstream in upstreams.items()}
        port, pid = stack.enter_context(serving(folder, entries))
        yield Gateway(port, pid, folder, upstreams)
    if quiet:
        assert not (folder / "stderr").read_text()


@asynccontextmanager
async def cell(
    folder: Path, client: Era, front: Way, server: Era, back: Way, capabilities: Json
) -> AsyncGenerator[tuple[Client, Upstream]]:
    """One client, one gateway, one server."""
    if front == "http":
        with gateway(folder, (server, back)) as running:
            async with running.client(client, capabilities) as there:
                yield there, running.upstreams[f"{server}_{back}"]
        return
    upstream = Upstream(folder / f"{server}_{back}", server, back)
    config = configuration(folder / "config.json", **{upstream.alias: upstream.entry()})
    with upstream.running():
        started: AbstractAsyncContextManager[Client] = on_pipe(config, folder / "own" / "home", client, capabilities)
        async with started as there:
            yield there, upstream


async def answered(client: Client, questions: Json, answers: Json, tool: str = "ask") -> tuple[Json, list[Json]]:
    """Call `ask` and answer: over the wire (legacy), or in rounds (modern). The last result, and all of them."""
    params: Json = {"name": tool, "arguments": {"questions": questions}}
    results: list[Json] = []
    if client.era == "legacy":
        client.answer = lambda question: {"result": answers[question["method"]]}
    while True:
        response = await client.request("tools/call", params)
        assert "result" in response, response
        results.append(response["result"])
        if response["result"].get("resultType") != "input_required":
            return response["result"], results
        asked: Json = response["result"]["inputRequests"]
        client.asked += asked.values()
        given = {name: answers[question["method"]] for name, question in asked.items()}
        params |= {"inputResponses": given, "requestState": response["result"]["requestState"]}
