"""`etmcp-tee http`: the server on a loopback port."""

import argparse

from attest.arguments import port
from servers.http import bound, serve_http
from servers.tee.cli.context import Commands, Context, say
from servers.tee.cli.serving import declare, serving


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("http", help="serve Streamable HTTP at /mcp and HTTP+SSE at /sse")
    parser.add_argument("--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"), help="loopback only")
    parser.add_argument("--port", type=port, default=8401)
    declare(parser)
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Serve until interrupted."""
    async with serving(options, context) as (server, attester):
        sockets = await bound(options.host, options.port)
        say(f"etmcp-tee: http://{options.host}:{options.port}/mcp, attester {attester}")
        await serve_http(server, sockets)
    return 0
