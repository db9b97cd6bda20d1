"""Streamable HTTP, raw: both eras, streams, lost sessions, and everything a bad server may answer."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web

from gateway.upstream import (
    DEAF,
    Downlink,
    Json,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamSessionLost,
    UpstreamTimeout,
    UpstreamUnavailable,
    refuse,
    wire,
)
from gateway.upstream.http import HttpTransport, new_pool
from gateway.upstream.session import ClientFace, Session

pytestmark = pytest.mark.anyio
FACE = ClientFace({"roots": {}}, {"name": "c", "version": "1"})
MODERN = {"mcp-method": "tools/call", "mcp-protocol-version": "2026-07-28"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncGenerator[HttpTransport]:
    """A server that gives every request to `handler`, and a transport to it."""
    app = web.Application(client_max_size=10**9)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with new_pool() as pool:
            transport = HttpTransport("odd", pool, f"http://127.0.0.1:{port}/mcp", **options)
            try:
                with anyio.fail_after(20):
                    yield transport
            finally:
                await transport.aclose()
    finally:
        await runner.cleanup()


async def ask(transport: HttpTransport, params: Json | None = None, **options: Any) -> Json:
    message = {"method": options.pop("method", "tools/call"), "params": params or {}} | options.pop("extra", {})
    given: Any = {"headers": MODERN, "down": DEAF, "deadline": math.inf} | options
    return await transport.request(message, **given)


async def stream(request: web.Request, *parts: str, end: bool = True) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for part in parts:
        await response.write(part.encode())
    if not end:
        await asyncio.sleep(3600)
    return response


def event(message: Json, **fields: Any) -> str:
    lines = [f"{name}: {value}\n" for name, value in fields.items()]
    return "".join(lines) + f"data: {json.dumps({'jsonrpc': '2.0'} | message)}\n\n"


async def test_json_crosses_unchanged_with_the_headers_of_the_era_and_of_the_configuration() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        sent = await request.json()
        assert request.headers["authorization"] == "Bearer s"
        assert request.headers["mcp-method"] == "tools/call"
        assert "cookie" not in request.headers
        text = json.dumps({"jsonrpc": "2.0", "id": sent["id"], "result": sent["params"], "vendor": None})
        return web.Response(text=text, content_type="application/json", headers={"set-cookie": "a=b"})

    async with serving(handler, headers={"Authorization": "Bearer s"}) as transport:
        params = {"null": None, "big": 2**70, "text": "é\u2028😀"}
        for _ in range(2):
            answer = await ask(transport, params)
            assert (answer["result"], answer["vendor"]) == (params, None)


async def test_notifications_of_a_stream_come_in_order_under_the_ids_of_the_caller() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        sent = await request.json()
        number, token = sent["id"], sent["params"]["_meta"]["progressToken"]
        progress = [
            {"method": "notifications/progress", "params": {"progressToken": token, "progress": n}} for n in range(3)
        ]
        other = {"id": 999, "result": "of another"}
        answer = {"id": number, "result": {"_meta": {wire.SUBSCRIPTION_ID: number}}}
        text = ": hello\r\n\r\n" + "".join(map(event, [*progress, other, answer]))
        return await stream(request, *text, end=False)  # one byte a chunk, and the stream stays open

    async with serving(handler) as transport:
        heard: list[Json] = []

        async def sink(message: Json) -> None:
            heard.append(message["params"])

        answer = await ask(
            transport, {"_meta": {"progressToken": "t"}}, down=Downlink(sink, refuse), extra={"id": "mine"}
        )
        assert heard == [{"progressToken": "t", "progress": n} for n in range(3)]
        assert answer["result"] == {"_meta": {wire.SUBSCRIPTION_ID: "mine"}}


async def test_cancelling_a_modern_request_closes_its_response_and_sends_nothing_else() -> None:
    posts: list[Json] = []
    closed = anyio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        posts.append(await request.json())
        try:
            return await stream(request, ": open\n\n", end=False)
        finally:
            closed.set()

    async with serving(handler) as transport:
        with pytest.raises(UpstreamTimeout):
            await ask(transport, deadline=anyio.current_time() + 0.2)
        await closed.wait()
        assert [post["method"] for post in posts] == ["tools/call"]


class Legacy:
    """A legacy server: sessions that can be lost, streams that break off and resume, a standalone stream."""

    def __init__(self) -> None:
        self.posts: list[Json] = []
        self.sessions = 0
        self.deleted: list[str] = []
        self.resumed: list[str] = []
        self.cancelled = anyio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911, PLR0912 - one case a line
        session = request.headers.get("mcp-session-id")
        if request.method == "DELETE":
            self.deleted.append(session or "")
            return web.Response(status=200)
        if request.method == "GET":
            assert request.headers["mcp-protocol-version"] == "2025-11-25"
            last = request.headers.get("last-event-id")
            if last is None:
                return await stream(request, event({"method": "notifications/tools/list_changed"}, id="g"), end=False)
            self.resumed.append(last)
            if len(self.resumed) < 3:
                return await stream(request, event({"method": "n", "params": {}}, id=f"e{len(self.resumed)}", retry=10))
            return await stream(request, event({"id": self.posts[-1]["id"], "result": {"resumed": True}}, id="z"))
        sent = await request.json()
        self.posts.append(sent)
        match sent.get("method"):
            case "server/discover":
                return web.Response(status=400, text="Bad Request: no session")
            case "initialize":
                self.sessions += 1
                assert session is None
                asked: Json = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "l"},
                }
                result: Json = {"id": sent["id"], "result": asked | {"given": sent["params"]}}
                return web.json_response(result, headers={"mcp-session-id": f"s{self.sessions}"})
            case _ if session != f"s{self.sessions}":
                return web.json_response({"id": sent.get("id"), "error": {"code": -32001, "message": "no"}}, status=404)
            case "notifications/cancelled":
                self.cancelled.set()
            case "resume":
                return await stream(request, "id: e0\nretry: 10\ndata:\n\n")
            case "hang":
                return await stream(request, ": open\n\n", end=False)
            case "ask":
                ping = {"id": "p", "method": "ping"}
                return await stream(request, event(ping), event({"id": sent["id"], "result": {}}))
            case method if "id" in sent and method:
                headers = {"mcp-session-id": "not from initialize"}
                return web.json_response({"id": sent["id"], "result": {"params": sent.get("params")}}, headers=headers)
            case _:
                pass
        return web.Response(status=202)


async def connected(transport: HttpTransport) -> Session:
    session = Session("odd", transport, face=ClientFace({}, {"name": "etmcp", "version": "0"}))
    await session.connect(deadline=anyio.current_time() + 10)
    assert session.era == "legacy"
    return session


async def test_a_legacy_session_is_kept_ended_and_declares_no_capabilities() -> None:
    server = Legacy()
    async with serving(server) as transport:
        session = await connected(transport)
        for _ in range(2):
            answer = await session.request("x", {"a": None}, client=FACE, deadline=math.inf)
            assert answer["result"] == {"params": {"a": None}}
    assert server.deleted == ["s1"]
    assert [post["method"] for post in server.posts[:3]] == [
        "server/discover",
        "initialize",
        "notifications/initialized",
    ]
    assert server.posts[1]["params"]["capabilities"] == {}


async def test_a_lost_session_is_renewed_once_for_all_callers() -> None:
    server = Legacy()
    async with serving(server) as transport:
        session = await connected(transport)
        server.sessions += 1  # it was restarted
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(lambda: session.request("x", {}, client=FACE, deadline=math.inf))
        assert server.sessions == 3
        assert sum(post["method"] == "initialize" for post in server.posts) == 2
        server.sessions += 1
        with pytest.raises(UpstreamSessionLost):
            await ask(transport, headers={})


async def test_a_broken_off_legacy_stream_is_resumed_where_it_stopped() -> None:
    server = Legacy()
    async with serving(server) as transport:
        session = await connected(transport)
        heard: list[str] = []

        async def sink(message: Json) -> None:
            heard.append(message["method"])

        answer = await session.request("resume", {}, client=FACE, deadline=math.inf, down=Downlink(sink, refuse))
        assert answer["result"] == {"resumed": True}
        assert server.resumed == ["e0", "e1", "e2"]
        assert heard == ["n", "n"]


async def test_cancelling_a_legacy_request_names_its_wire_id() -> None:
    server = Legacy()
    async with serving(server) as transport:
        session = await connected(transport)
        with anyio.move_on_after(0.2):
            await session.request("hang", {}, client=FACE, deadline=math.inf)
        await server.cancelled.wait()
        hang, cancel = server.posts[-2:]
        assert cancel["params"]["requestId"] == hang["id"]


async def test_the_standalone_stream_reaches_the_listener_and_a_ping_is_answered() -> None:
    server = Legacy()
    send, receive = anyio.create_memory_object_stream[Json](10)
    async with serving(server, owner=Downlink(send.send, refuse)) as transport:
        session = await connected(transport)
        assert (await receive.receive())["method"] == "notifications/tools/list_changed"
        await session.request("ask", {}, client=FACE, deadline=math.inf)
        assert {"jsonrpc": "2.0", "id": "p", "result": {}} in server.posts
    send.close()
    receive.close()


async def test_a_modern_session_over_http() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        sent = await request.json()
        if request.headers["mcp-method"] != sent["method"] or "mcp-session-id" in request.headers:
            return web.Response(status=400)
        if sent["method"] == "server/discover":
            result: Json = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"}
            return web.json_response({"id": sent["id"], "result": result}, headers={"mcp-session-id": "no"})
        if sent["method"] == "nope":
            error = {"code": -32601, "message": "no", "data": None}
            return web.json_response({"jsonrpc": "2.0", "id": sent["id"], "error": error}, status=404)
        return web.json_response({"id": sent["id"], "result": {"name": request.headers["mcp-name"]}})

    async with serving(handler) as transport:
        session = Session("odd", transport, face=ClientFace({}, {}))
        await session.connect(deadline=math.inf)
        assert session.era == "modern"
        answer = await session.request("tools/call", {"name": "é"}, client=FACE, deadline=math.inf)
        assert answer["result"] == {"name": "=?base64?w6k=?="}
        answer = await session.request("nope", {}, client=FACE, deadline=math.inf)
        assert answer["error"] == {"code": -32601, "message": "no", "data": None}


def plain(text: str, status: int = 200, kind: str = "application/json", **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        number = str((await request.json())["id"])
        response = web.Response(text=text.replace("ID", number), status=status, content_type=kind)
        response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return response

    return handler


LOCATION = "https://u:p@evil.example/x?token=s"


@pytest.mark.parametrize(
    ("handler", "error", "text"),
    [
        (plain('{"id":ID,"result":{"a":1,"a":2}}'), UpstreamGarbled, "duplicate-key"),
        (plain('{"id":ID,"result":NaN}'), UpstreamGarbled, "not-a-number"),
        (plain("<html>", kind="text/html"), UpstreamGarbled, "HTTP 200 and text/html, not JSON"),
        (plain("<html>", 404, kind="text/html"), UpstreamRefused, "HTTP 404"),
        (plain("oops"), UpstreamGarbled, "not-json"),
        (plain("oops", 400), UpstreamRefused, "HTTP 400"),
        (plain('{"detail":"x"}', 422), UpstreamRefused, "HTTP 422"),
        (plain('{"id":4711,"result":{}}'), UpstreamGarbled, "another message"),
        (plain('{"id":true,"result":{}}'), UpstreamGarbled, "another message"),
        (plain("", 401), UpstreamRefused, "credentials"),
        (plain("", 503), UpstreamUnavailable, "HTTP 503"),
        (plain("", 302, location=LOCATION), UpstreamGarbled, "redirects (HTTP 302) to evil.example, "),
        (plain("x" * 2_000_000), UpstreamGarbled, "1,000,000 bytes"),
        (plain("data: " + "x" * 2_000_000, kind="text/event-stream"), UpstreamGarbled, "1,000,000 bytes"),
        (plain("data: x\n" * 200_000, kind="text/event-stream"), UpstreamGarbled, "1,000,000 bytes"),
        (plain("data: {\n\n", kind="text/event-stream"), UpstreamGarbled, "not-json"),
        (plain(": nothing\n\n", kind="text/event-stream"), UpstreamUnavailable, "without an answer"),
        (plain("id: 1\ndata:\n\n", kind="text/event-stream"), UpstreamUnavailable, "without an answer"),
    ],
)
async def test_what_is_no_answer_is_one_line_of_error(handler: Handler, error: type[Exception], text: str) -> None:
    async with serving(handler, max_message=1_000_000, headers={"x-key": "hunter2"}) as transport:
        with pytest.raises(error) as caught:
            await ask(transport)
    line = str(caught.value)
    assert line.startswith("odd: ")
    assert text in line
    assert not any(secret in line for secret in ("\n", "hunter2", "token", "u:p"))


async def test_an_endless_body_is_cut_off() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 100_000)

    async with serving(handler, max_message=1_000_000) as transport:
        with pytest.raises(UpstreamGarbled, match="1,000,000 bytes"):
            await ask(transport)


async def test_a_dropped_connection_and_a_closed_port_are_unavailable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with serving(handler) as transport:
        with pytest.raises(UpstreamUnavailable, match="the connection failed"):
            await ask(transport)
        await transport.notify({"method": "notifications/x"}, headers={})
    async with new_pool() as pool:
        closed = HttpTransport("odd", pool, "http://127.0.0.1:1/mcp")
        with pytest.raises(UpstreamUnavailable, match=r"cannot connect to 127\.0\.0\.1:1 "):
            await ask(closed)
        for url in ("nonsense", "ftp://x/", "http://[::"):
            with pytest.raises(UpstreamError):
                await ask(HttpTransport("odd", pool, url))
