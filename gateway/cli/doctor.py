"""`etmcp doctor`: is everything as it should be, and if not, what to do."""

import argparse
import platform
import subprocess
import sys
from pathlib import Path

import anyio

from gateway.cli.context import Commands, Context
from gateway.cli.status import examined, line
from gateway.letters import visible


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
    for text in await _tiers(home.cache):
        print(text)
    return 0 if all(server["state"] == "ready" for server in told.values()) else 1


async def _tiers(cache: Path) -> list[str]:
    """What `etmcp-tee` says of the tiers of this machine, a line each."""
    command = [str(Path(sys.executable).with_name("etmcp-tee")), "doctor", "--cache", str(cache)]
    try:
        asked = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT)
    except OSError as e:
        return [f"tiers: {command[0]}: {e.strerror}; install etmcp again"]
    return [visible(text) for text in asked.stdout.decode("utf-8", "replace").splitlines()]
