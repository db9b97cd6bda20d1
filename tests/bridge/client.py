"""Raw clients that answer questions, hear notifications and can go away in the middle: both eras, pipe and HTTP."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.rawclient import ETMCP, LEGACY, VERSION, Era, envelope

Json = dict[str, Any]
SECONDS = 25
ACCEPT = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Client:
    """One client. `heard` are the notifications so far; `answer` makes the reply to a question (legacy)."""

    def __init__(self, era: Era, capabilities: Json) -> None:
        self.era, self.capabilities = era, capabilities
        self.heard: list[Json] = []
        self.asked: list[Json] = []
        self.answer: Callable[[Json], Json | None] = lambda question: {"result": {"to": question["method"]}}
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()
        self._waiting: dict[Any, asyncio.Future[Json]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def _put(self, message: Json) -> None:
        raise NotImplementedError

    async def hello(self) -> None:
        """The handshake, where there is one."""
        if self.era == "legacy":
            info = {"name": "raw", "version": "1"}
            said = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "clientInfo": info}
            await self.request("initialize", said)
            await self.notify("notifications/initialized")

    def begin(self, method: str, params: Json | None = None) -> "asyncio.Task[Json]":
        """Send a request; its response is the task's result. Cancelling the task cancels the request."""
        return self._spawn(self.request(method, params))

    async def request(self, method: str, params: Json | None = None) -> Json:
        """Send a request and return the raw response."""
        number, sent = next(self._numbers), dict(params or {})
        if self.era == "modern":
            sent["_meta"] = envelope(self.capabilities) | sent.get("_meta", {})
        message: Json = {"jsonrpc": "2.0", "id": number, "method": method, "params": sent}
        self._waiting[number] = response = asyncio.get_running_loop().create_future()
        try:
            await self._put(message)
            return await asyncio.wait_for(response, SECONDS)
        except asyncio.CancelledError:
            await self._cancelled(number)
            raise
        finally:
            del self._waiting[number]

    async def result(self, method: str, params: Json | None = None) -> Json:
        """The result; fails where there is an error."""
        response = await self.request(method, params)
        assert "result" in response, response
        return response["result"]

    async def call(self, name: str, **arguments: Any) -> Json:
        """A tool call's result."""
        return await self.result("tools/call", {"name": name, "arguments": arguments})

    async def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification."""
        await self._put({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    async def hears(self, wanted: Callable[[Json], bool]) -> Json:
        """The first notification like that, heard or to come."""
        async with asyncio.timeout(SECONDS):
            while True:
                for message in self.heard:
                    if wanted(message):
                        return message
                self._news.clear()
                await self._news.wait()

    async def is_asked(self, count: int = 1) -> None:
        """Return once that many questions have come."""
        async with asyncio.timeout(SECONDS):
            while len(self.asked) < count:
                self._news.clear()
                await self._news.wait()

    async def _cancelled(self, number: int) -> None:
        if self.era == "legacy":
            await self.notify("notifications/cancelled", {"requestId": number})

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take(self, message: Json) -> None:
        if "method" not in message:
            if (waiting := self._waiting.get(message["id"])) is not None and not waiting.done():
                waiting.set_result(message)
        elif "id" in message:
            self.asked.append(message)
            if (reply := self.answer(message)) is not None:
                self._spawn(self._put({"jsonrpc": "2.0", "id": message["id"], **reply}))
        else:
            self.heard.append(message)
        self._news.set()

    async def _end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class HttpClient(Client):
    """Streamable HTTP. `polite`: ends its session when it goes."""

    def __init__(self, era: Era, capabilities: Json, port: int, pool: aiohttp.ClientSession) -> None:
        super().__init__(era, capabilities)
        self._url, self._pool = f"http://127.0.0.1:{port}/mcp", pool
        self.polite = True
        self.headers: dict[str, str] = {}
        self._streams: dict[Any, asyncio.Task[None]] = {}

    async def _put(self, message: Json) -> None:
        opened = asyncio.Event()
        task = self._spawn(self._post(message, opened))
        if "id" in message and "method" in message:
            self._streams[message["id"]] = task
        else:
            await task
        if message["method"] == "notifications/initialized" if "method" in message else False:
            self._spawn(self._listen())

    async def _post(self, message: Json, opened: asyncio.Event) -> None:
        headers: dict[str, str] = {**ACCEPT, **self.headers}
        if self.era == "modern":
            name = message["params"].get("name", message["params"].get("uri"))
            headers |= {"mcp-protocol-version": VERSION, "mcp-method": message["method"]}
            headers |= {} if name is None else {"mcp-name": name}
        async with self._pool.post(self._url, json=message, headers=headers) as response:
            if message.get("method") == "initialize":
                self.headers = {
                    "mcp-session-id": response.headers["mcp-session-id"],
                    "mcp-protocol-version": LEGACY,
                } | {k: v for k, v in self.headers.items() if k == "authorization"}
            opened.set()
            await self._read(response)

    async def _listen(self) -> None:
        async with self._pool.get(self._url, headers={**self.headers, "accept": "text/event-stream"}) as response:
            await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        if response.content_type != "text/event-stream":
            if body := await response.read():
                await self._take(json.loads(body))
            return
        async for line in response.content:
            if line.startswith(b"data:") and line[5:].strip():
                await self._take(json.loads(line[5:]))

    async def _cancelled(self, number: int) -> None:
        if self.era == "legacy":
            await super()._cancelled(number)
        elif (stream := self._streams.get(number)) is not None:
            stream.cancel()

    async def leave(self) -> None:
        """Go away."""
        await self._end()
        if self.polite and "mcp-session-id" in self.headers:
            async with self._pool.delete(self._url, headers=self.headers):
                pass


class PipeClient(Client):
    """Starts `etmcp stdio`."""

    process: asyncio.subprocess.Process

    async def start(self, config: Path, home: Path, stderr: Path, *options: str) -> None:
        """Start the gateway."""
        pipe = asyncio.subprocess.PIPE
        with stderr.open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                ETMCP, "--config", str(config), "--home", str(home), "stdio", *options,
                stdin=pipe, stdout=pipe, stderr=errors, limit=1 << 26,
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read())

    async def _put(self, message: Json) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            await self._take(json.loads(line))

    async def _cancelled(self, number: int) -> None:
        await self.notify("notifications/cancelled", {"requestId": number})

    async def leave(self) -> None:
        """Hang up, and wait for the gateway to end."""
        await self._end()
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), SECONDS)
        await self._reading


@asynccontextmanager
async def over_http(
    port: int, era: Era, capabilities: Json | None = None, headers: Mapping[str, str] | None = None
) -> AsyncGenerator[HttpClient]:
    """A client of a gateway that runs."""
    async with aiohttp.ClientSession() as pool:
        client = HttpClient(era, capabilities or {}, port, pool)
        client.headers = dict(headers or {})
        await client.hello()
        try:
            yield client
        finally:
            await client.leave()


@asynccontextmanager
async def on_pipe(
    config: Path, home: Path, era: Era, capabilities: Json | None = None, *options: str
) -> AsyncGenerator[PipeClient]:
    """A client that starts its own gateway."""
    client = PipeClient(era, capabilities or {})
    stderr = config.with_name("stderr")
    await client.start(config, home, stderr, *options)
    try:
        await client.hello()
        yield client
    finally:
        await client.leave()
    assert not stderr.read_bytes(), stderr.read_text()
