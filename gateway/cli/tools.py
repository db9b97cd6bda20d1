"""`etmcp tools`: what there is, of which kind, and what is blocked."""

import argparse
import json

from gateway.aggregate import SERVERS
from gateway.cli.context import Commands, Context
from gateway.client import looking
from gateway.letters import plain, visible


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("tools", help="list the tools of all servers")
    parser.add_argument("--json", action="store_true", help="print the merged tools/list result")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 where every server answered, else 1."""
    async with context.running() as gateway:
        listed = await gateway.aggregate.merged("tools/list", looking())
        members = gateway.aggregate.members
        states = listed["_meta"][SERVERS]
        if options.json:
            print(json.dumps(listed))
        else:
            for tool in listed["tools"]:
                first = str(tool.get("description", "")).strip().split("\n")[0]
                print(f"{tool['name']:<32} {visible(first)[:100]}")
            for alias, member in members.items():
                kind = member.listing.offer.kind if member.listing else "not connected"
                print(f"server {alias}: {kind}, {states[alias]}")
                for name, change in member.listing.review.drifted.items() if member.listing else ():
                    print(f"  blocked: {plain(name)} {change}; see `etmcp approve {alias}`")
        return 0 if all(state.startswith("ready") for state in states.values()) else 1
