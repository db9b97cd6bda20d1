"""A server of HTTP+SSE that does what a test says, and connections to it."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import anyio
from aiohttp import web

from gateway.upstream import DEAF, Downlink, Json
from gateway.upstream.http import new_pool
from gateway.upstream.http_sse import SseTransport, open_sse

CREDENTIALS = {"Authorization": "Bearer hunter2"}
Poster = Callable[["Old", Json], Awaitable[web.StreamResponse]]


def message(content: Json) -> bytes:
    return b"event: message\r\ndata: " + json.dumps({"jsonrpc": "2.0"} | content).encode() + b"\r\n\r\n"


def text(content: str) -> bytes:
    return b"event: message\ndata: " + content.encode() + b"\n\n"


class Old:
    """A server of one stream: what goes down it is `down`, what is done with a POST is `poster`."""

    def __init__(self, poster: Poster, first: bytes) -> None:
        self.poster, self.first = poster, first
        self.url = ""
        self.down = asyncio.Queue[bytes | None]()  # None breaks the connection off, b"" ends the stream
        self.posts: list[Json] = []
        self.queries: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.left = anyio.Event()  # the stream is over

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            await response.prepare(request)
            await response.write(self.first)
            while chunk := await self.down.get():
                await response.write(chunk)
                if len(chunk) == 1:
                    await asyncio.sleep(0)
            if chunk is None:
                assert request.transport
                request.transport.abort()
        finally:
            self.left.set()
        return response

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.queries.append(request.raw_path)
        self.posts.append(await request.json())
        return await self.poster(self, self.posts[-1])

    def say(self, *chunks: bytes | None) -> None:
        for chunk in chunks:
            self.down.put_nowait(chunk)

    def answer(self, request: Json) -> None:
        self.say(message({"id": request["id"], "result": request.get("params", {})}))


async def accept(server: Old, posted: Json) -> web.StreamResponse:
    """Answer each request on the stream, as it should be."""
    if "id" in posted and "method" in posted:
        server.answer(posted)
    return web.Response(status=202, text="Accepted")


async def swallow(server: Old, posted: Json) -> web.StreamResponse:
    return web.Response(status=202)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncGenerator[str]:
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def old(poster: Poster = accept, first: bytes = b"event: endpoint\ndata: /post?id=1\n\n") -> AsyncGenerator[Old]:
    server = Old(poster, first)
    app = web.Application(client_max_size=10**9)
    app.router.add_get("/sse", server.get)
    app.router.add_post("/{path:.*}", server.post)
    async with serving(app) as origin:
        server.url = f"{origin}/sse"
        with anyio.fail_after(20):
            yield server


@asynccontextmanager
async def connected(server: Old, **options: Any) -> AsyncGenerator[SseTransport]:
    given: Any = {"headers": CREDENTIALS, "deadline": math.inf} | options
    async with new_pool() as pool:
        transport = await open_sse("odd", pool, server.url, **given)
        try:
            yield transport
        finally:
            await transport.aclose()


async def ask(
    transport: SseTransport,
    params: Json | None = None,
    *,
    method: str = "tools/call",
    headers: Mapping[str, str] = MappingProxyType({}),
    down: Downlink = DEAF,
    deadline: float = math.inf,
) -> Json:
    content = {"method": method, "params": params or {}}
    return await transport.request(content, headers=headers, down=down, deadline=deadline)
