"""Streamable HTTP at /mcp and HTTP+SSE at /sse on loopback, by the SDK's own transports."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

LOOPBACK = TransportSecuritySettings(
    enable_dns_rebinding_protection=True,
    allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"],
)


class _Sse:
    """GET /sse: one connection of the older transport."""

    def __init__(self, server: Server[Any], transport: SseServerTransport) -> None:
        self._server, self._transport = server, transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._transport.connect_sse(scope, receive, send) as (reading, writing):
            await self._server.run(reading, writing, self._server.create_initialization_options())
        await Response()(scope, receive, send)


def application(server: Server[Any]) -> Starlette:
    """Both transports in one app; Host and Origin must be loopback names."""
    streamable = server.streamable_http_app(transport_security=LOOPBACK)
    transport = SseServerTransport("/messages/", security_settings=LOOPBACK)
    older = [
        Route("/sse", endpoint=_Sse(server, transport), methods=["GET"]),
        Mount("/messages/", app=transport.handle_post_message),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    return Starlette(routes=[*streamable.routes, *older], lifespan=lifespan)


async def serve_http(server: Server[Any], sockets: list[socket.socket]) -> None:
    """Serve on what `bound` returned until interrupted."""
    await serve_app(application(server), sockets)


async def serve_app(app: Starlette, sockets: list[socket.socket]) -> None:
    """Serve an app of one's own there until interrupted."""
    config = uvicorn.Config(app, log_level="warning", http="h11", ws="none", timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve(sockets=sockets)


async def bound(host: str, port: int) -> list[socket.socket]:
    """Where to listen; raises `OSError`. Ours to bind, since uvicorn would end the process where it cannot."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
    server.close()
    return sockets
