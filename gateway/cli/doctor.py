"""`etmcp doctor`: is everything as it should be, and if not, what to do."""

import argparse
import platform
import sys

from gateway.cli.context import Commands, Context
from gateway.cli.status import examined, line


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="check this installation and every configured server")
    parser.set_defaults(run=run)


async def run(_: argparse.Namespace, context: Context) -> int:
    """Exit code 0 where every server is ready, else 1."""
    home, config = context.home, context.config
    print(f"etmcp {context.version}, Python {platform.python_version()}, {sys.platform}")
    print(f"configuration: {config.source}, {len(config.servers)} servers")
    print(f"data: {home.private}, mode {oct(home.private.stat().st_mode & 0o777)[2:]}")
    async with context.running() as gateway:
        print(f"observer key: {gateway.observer.public_key.hex()}")
        told = await examined(gateway)
        for alias, server in told.items():
            print(line(alias, server))
    return 0 if all(server["state"] == "ready" for server in told.values()) else 1
