"""Streamable HTTP at /mcp and HTTP+SSE at /sse on loopback, by the SDK's own applications."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette

from servers.http import serve_app


def application(server: MCPServer[Any]) -> Starlette:
    """Both transports in one app; Host and Origin must be loopback names."""
    streamable, sse = server.streamable_http_app(), server.sse_app()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    return Starlette(routes=[*streamable.routes, *sse.routes], lifespan=lifespan)


async def serve_http(server: MCPServer[Any], sockets: list[socket.socket]) -> None:
    """Serve on what `servers.http.bound` returned until interrupted."""
    await serve_app(application(server), sockets)
