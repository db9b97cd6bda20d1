"""`etmcp stdio` and `etmcp serve`: the gateway as an MCP server."""

import argparse
import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.lowlevel import Server

from attest.arguments import port
from gateway.cli.context import Commands, Context
from gateway.config import load
from gateway.front.flat import flat
from gateway.front.http import serve_http
from gateway.front.relay import as_is, serve
from gateway.front.stdio import claimed, serve_stdio
from gateway.reload import follow
from gateway.runtime import Gateway

logger = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Declare both commands."""
    stdio = commands.add_parser("stdio", help="serve one client on stdin and stdout")
    stdio.set_defaults(run=over_stdio)
    http = commands.add_parser("serve", help="serve HTTP clients: /mcp and /sse")
    http.add_argument("--host", default="127.0.0.1", help="beyond loopback, ETMCP_TOKEN must be set")
    http.add_argument("--port", type=port, default=8400)
    http.set_defaults(run=over_http)
    for command in (stdio, http):
        command.add_argument("--era", choices=("auto", "legacy", "modern"), default="auto", help="serve only one")
        told = "flat: for clients that drop or misread rich schemas, as Copilot Studio does"
        command.add_argument("--schemas", choices=("as-is", "flat"), default="as-is", help=told)


async def over_stdio(options: argparse.Namespace, context: Context) -> int:
    """Until the client hangs up."""
    gc.freeze()  # the imports are most of the heap: without this each full collection pauses every call
    async with claimed() as wire, context.running() as gateway, _following(context, gateway):
        await serve_stdio(_server(gateway, options, context), wire)
    return 0


async def over_http(options: argparse.Namespace, context: Context) -> int:
    """Until interrupted."""
    gc.freeze()
    async with context.running() as gateway, _following(context, gateway):
        server = _server(gateway, options, context)
        token = context.environ.get("ETMCP_TOKEN")
        await serve_http(server, host=options.host, port=options.port, token=token)
    return 0


def _server(gateway: Gateway, options: argparse.Namespace, context: Context) -> Server[Any]:
    shown = flat if options.schemas == "flat" else as_is
    return serve(gateway.aggregate, gateway.hub.feed, context.version, options.era, shown)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the configuration is not watched any more: %s; start the gateway again", error, exc_info=error)


@asynccontextmanager
async def _following(context: Context, gateway: Gateway) -> AsyncGenerator[None]:
    """Take up changes of the configuration file meanwhile."""
    if context.config.source == "built in":
        yield
        return
    task = asyncio.create_task(
        follow(context.config, lambda path, denylist: load(path, context.environ, denylist), gateway.apply)
    )
    task.add_done_callback(_ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
