"""`etmcp doctor`: is everything as it should be, and if not, what to do."""

import argparse
import platform
import sys

from gateway.cli.context import Commands, Context


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
        states = await gateway.aggregate.survey()
        for alias, state in states.items():
            member = gateway.aggregate.members[alias]
            if member.listing is None:
                print(f"{alias}: {state}")
                continue
            link = await member.link()
            offer = member.listing.offer
            era = f"{link.session.era} era, {link.session.protocol_version}"
            print(f"{alias}: {state}; {offer.server} {offer.version}, {era}, {offer.kind}, {len(offer.tools)} tools")
            if not member.listing.review.clean:
                print(f"  has unapproved changes; review them with `etmcp approve {alias}`")
    return 0 if all(state == "ready" for state in states.values()) else 1
