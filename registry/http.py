"""MCP at /mcp and /sse, the official API at /v0.1, the log at /checkpoint and /tile: one application."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from registry import api, write
from registry.catalogue.store import Catalogue
from registry.log import app
from registry.log.log import Log
from registry.submit import Desk

LOOPBACK = TransportSecuritySettings(
    enable_dns_rebinding_protection=True,
    allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*"],
)
CORS = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"], allow_headers=["Authorization"])


def application(server: MCPServer[Any], catalogue: Catalogue, log: Log, desk: Desk) -> Starlette:
    """For MCP and for writing, Host and Origin must be loopback names; reading the API and the log is for any page."""
    streamable = server.streamable_http_app(transport_security=LOOPBACK)
    sse = server.sse_app(transport_security=LOOPBACK)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with server.session_manager.run():
            yield

    reading = [*api.routes(catalogue), *app.routes(log)]
    public = Mount("", routes=[*write.routes(desk, LOOPBACK), *reading], middleware=[CORS])
    return Starlette(routes=[*streamable.routes, *sse.routes, public], lifespan=lifespan)


async def serve_http(application: Starlette, host: str, port: int) -> None:
    """Serve until interrupted; raises `SystemExit` where the port cannot be had."""
    config = uvicorn.Config(
        application, host, port, log_level="warning", http="h11", ws="none", timeout_graceful_shutdown=2
    )
    await uvicorn.Server(config).serve()
