"""MCP over HTTP: Streamable HTTP at /mcp for both eras, HTTP+SSE at /sse for clients that still need it."""

import asyncio
import hmac
import ipaddress
import json
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import PARSE_ERROR
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attest.canonical import parse
from attest.errors import CanonicalError
from gateway.errors import UserError
from gateway.upstream import MAX_MESSAGE

IDLE_SECONDS = 1800
"""A client that vanished without a word is let go after that; one that is there still begins a new session."""
MOST_SESSIONS = 1000
"""Legacy sessions at once. Each may need one of its own with every legacy server: a process, where that is stdio."""


class Strict:
    """Refuses a body whose JSON has no single meaning before the SDK's lenient parser sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        stray = scope["path"] == "/mcp" and MCP_SESSION_ID_HEADER not in Headers(scope=scope)
        body = bytearray()
        async for chunk in Request(scope, receive).stream():
            body += chunk
            if len(body) > MAX_MESSAGE:
                return await _refuse(413, f"the message is larger than {MAX_MESSAGE} bytes")(scope, receive, send)
        try:
            message = parse(bytes(body))
        except CanonicalError as e:
            return await _refuse(400, f"no single meaning [{e.code}]: {e.detail}")(scope, receive, send)
        if stray and isinstance(message, dict) and "method" in message and "id" not in message:
            return await Response(status_code=202)(scope, receive, send)  # nobody's notification: taken, and no more
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return await self._app(scope, replay, send)


class Streamless:
    """Says 405 to whoever asks for a stream, or ends a session, without naming a session: some clients take the SDK's
    400 for a broken server (Streamable HTTP, "Listening for Messages from the Server")."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        wants = scope["type"] == "http" and scope["method"] in ("GET", "DELETE") and scope["path"] == "/mcp"
        if wants and MCP_SESSION_ID_HEADER not in Headers(scope=scope):
            return await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
        return await self._app(scope, receive, send)


class Bearer:
    """Asks for `Authorization: Bearer TOKEN` on every request."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization", "")
            if not hmac.compare_digest(given.encode(), self._expected.encode()):
                challenge = {"www-authenticate": 'Bearer realm="etmcp"'}
                return await JSONResponse({"error": "unauthorized"}, 401, challenge)(scope, receive, send)
        return await self._app(scope, receive, send)


class Events:
    """The event stream of HTTP+SSE. A class, so that `Route` takes it as an ASGI app; a `Mount` would move `/messages/`
    below itself."""

    def __init__(self, server: Server[Any], sse: SseServerTransport) -> None:
        self._server, self._sse = server, sse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with AsyncExitStack() as stack:
            try:
                read, write = await stack.enter_async_context(self._sse.connect_sse(scope, receive, send))
            except ValueError:  # a Host or Origin that is not ours, and the transport has said so
                return
            await self._server.run(read, write, self._server.create_initialization_options())


def application(
    server: Server[Any], *, hosts: list[str], token: str | None, idle_seconds: float = IDLE_SECONDS
) -> ASGIApp:
    """The ASGI app. `hosts` are the names under which clients may reach it, with port, as in a Host header; a legacy
    session with no request and no stream for `idle_seconds` is ended."""
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")],
    )
    streamable = server.streamable_http_app(
        transport_security=security,
        max_request_body_size=MAX_MESSAGE,
        session_idle_timeout=idle_seconds,
        max_sessions=MOST_SESSIONS,
    )
    sse = SseServerTransport("/messages/", security_settings=security, max_request_body_size=MAX_MESSAGE)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    routes = [
        *streamable.routes,
        Route("/sse", endpoint=Events(server, sse), methods=["GET"]),
        Mount("/messages/", app=sse.handle_post_message),
    ]
    app: ASGIApp = Streamless(Strict(Starlette(routes=routes, lifespan=lifespan)))
    return Bearer(app, token) if token else app


async def serve_http(server: Server[Any], *, host: str, port: int, token: str | None) -> None:
    """Serve until interrupted. Beyond loopback only with a token. Raises `UserError`."""
    if not _loopback(host) and not token:
        raise UserError(f"{host}: not a loopback address; set ETMCP_TOKEN, or serve on 127.0.0.1")
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    app = application(server, hosts=[f"{name}:*" for name in names], token=token)
    config = uvicorn.Config(app, host, port, log_level="warning", http="h11", ws="none", timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve(sockets=await _bound(host, port))


async def _bound(host: str, port: int) -> list[socket.socket]:
    """Where to listen. Ours to bind, since uvicorn would end the process where it cannot."""
    try:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as e:
        raise UserError(f"{host}:{port}: {e.strerror}; choose another --host or --port") from e
    sockets = [socket.socket(fileno=os.dup(bound.fileno())) for bound in server.sockets]
    server.close()
    return sockets


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(status: int, message: str) -> Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": PARSE_ERROR, "message": message}}
    return Response(json.dumps(body), status, media_type="application/json")
