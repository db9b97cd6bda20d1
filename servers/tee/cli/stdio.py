"""`etmcp-tee stdio`: the server on this process' own pipes."""

import argparse

from mcp.server.stdio import stdio_server

from servers.tee.cli.context import Commands, Context
from servers.tee.cli.serving import declare, serving


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("stdio", help="serve on standard input and output")
    declare(parser)
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Serve until standard input ends."""
    async with serving(options, context) as (server, _), stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
    return 0
