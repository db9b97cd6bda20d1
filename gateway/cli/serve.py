"""`etmcp stdio` and `etmcp serve`: the gateway as an MCP server."""

import argparse
import gc

from attest.arguments import port
from gateway.cli.context import Commands, Context
from gateway.front.http import serve_http
from gateway.front.relay import serve
from gateway.front.stdio import claimed, serve_stdio


def add(commands: Commands) -> None:
    """Declare both commands."""
    stdio = commands.add_parser("stdio", help="serve one client on stdin and stdout")
    stdio.set_defaults(run=over_stdio)
    http = commands.add_parser("serve", help="serve HTTP clients: /mcp and /sse")
    http.add_argument("--host", default="127.0.0.1", help="beyond loopback, ETMCP_TOKEN must be set")
    http.add_argument("--port", type=port, default=8400)
    http.set_defaults(run=over_http)


async def over_stdio(_: argparse.Namespace, context: Context) -> int:
    """Until the client hangs up."""
    gc.freeze()  # the imports are most of the heap: without this each full collection pauses every call
    async with claimed() as wire, context.running() as gateway:
        await serve_stdio(serve(gateway.aggregate, context.version), wire)
    return 0


async def over_http(options: argparse.Namespace, context: Context) -> int:
    """Until interrupted."""
    gc.freeze()
    async with context.running() as gateway:
        server = serve(gateway.aggregate, context.version)
        token = context.environ.get("ETMCP_TOKEN")
        await serve_http(server, host=options.host, port=options.port, token=token)
    return 0
