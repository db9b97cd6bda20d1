"""Streamable HTTP at /mcp and HTTP+SSE at /sse on loopback, by the SDK's own applications."""

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


async def serve_http(server: MCPServer[Any], host: str, port: int) -> None:
    """Serve until interrupted; raises `SystemExit` where the port cannot be had."""
    config = uvicorn.Config(
        application(server), host, port, log_level="warning", http="h11", ws="none", timeout_graceful_shutdown=2
    )
    await uvicorn.Server(config).serve()
