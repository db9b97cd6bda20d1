"""MCP at /mcp and /sse, the official API at /v0.1, the log at /checkpoint and /tile: one application."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from registry import api
from registry.catalogue.store import Catalogue
from registry.log import app
from registry.log.log import Log

CORS = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"], allow_headers=["Authorization"])


def application(server: MCPServer[Any], catalogue: Catalogue, log: Log) -> Starlette:
    """For MCP, Host and Origin must be loopback names; API and log are public reading, so any page may fetch them."""
    streamable, sse = server.streamable_http_app(), server.sse_app()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    public = Mount("", routes=[*api.routes(catalogue), *app.routes(log)], middleware=[CORS])
    return Starlette(routes=[*streamable.routes, *sse.routes, public], lifespan=lifespan)


async def serve_http(server: MCPServer[Any], catalogue: Catalogue, log: Log, host: str, port: int) -> None:
    """Serve until interrupted; raises `SystemExit` where the port cannot be had."""
    app = application(server, catalogue, log)
    config = uvicorn.Config(app, host, port, log_level="warning", http="h11", ws="none", timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve()
