"""Streamable HTTP at /mcp and HTTP+SSE at /sse on loopback, by the SDK's own applications."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette


def application(server: MCPServer[Any]) -> Starlette:
    """Both transports in one app; Host and Origin must be loopback names."""
    streamable, sse = server.streamable_http_app(), server.sse_app()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    return Starlette(routes=[*streamable.routes, *sse.routes], lifespan=lifespan)


async def serve_http(server: MCPServer[Any], sockets: list[socket.socket]) -> None:
    """Serve on what `bound` returned until interrupted."""
    config = uvicorn.Config(
        application(server), log_level="warning", http="h11", ws="none", timeout_graceful_shutdown=2
    )
    await uvicorn.Server(config).serve(sockets=sockets)


async def bound(host: str, port: int) -> list[socket.socket]:
    """Where to listen; raises `OSError`. Ours to bind, since uvicorn would end the process where it cannot."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in server.sockets]
    server.close()
    return sockets
