"""`etmcp approve SERVER`: show what changed since the pin, in words, and sign the new state if the operator agrees."""

import argparse
import sys

from attest.manifest import Manifest
from gateway.cli.context import Commands, Context
from gateway.differences import differences, quoted, visible
from gateway.errors import UserError
from gateway.member import Listing, Member
from gateway.pins import Pins
from gateway.runtime import Gateway


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("approve", help="review and approve what a server offers now")
    parser.add_argument("server", metavar="SERVER")
    parser.add_argument("--yes", action="store_true", help="approve without asking")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 where everything is approved at the end, 1 where the operator declined."""
    async with context.running() as gateway:
        member = find(gateway, options.server)
        listing = await member.survey()
        link = await member.connections.link()
        pinned = gateway.pins.in_force(member.alias, link.published)
        if listing.review.clean and not listing.review.removed:
            print(f"{member.alias}: nothing to approve, everything matches its manifest")
            return 0
        if pinned is not None:
            for line in explain(listing, pinned.manifest, gateway.pins):
                print(line)
        if not options.yes and not _agreed(member.alias):
            print(f"{member.alias}: left as it was")
            return 1
        await member.approve()
        print(f"{member.alias}: approved {len(listing.offer.tools)} tools as {listing.offer.kind}")
    return 0


def find(gateway: Gateway, alias: str) -> Member:
    """The member of that name; raises `UserError`."""
    member = gateway.aggregate.members.get(alias)
    if member is None:
        known = ", ".join(gateway.aggregate.members) or "none"
        raise UserError(f"{alias}: no such server in the configuration; there are: {known}")
    return member


def explain(listing: Listing, manifest: Manifest, pins: Pins) -> list[str]:
    """What changed since the manifest, one line a difference, invisible characters spelled out."""
    lines: list[str] = []
    offer = listing.offer
    if listing.review.kind_lowered:
        lines.append(f"kind: was {manifest.kind} and is now {offer.kind}: its results can no longer be proven")
    if listing.review.instructions_drifted:
        lines.append(f"instructions: now {quoted(offer.instructions)}")
    for what, offered, pinned in (("tool", offer.tools, manifest.tools), ("prompt", offer.prompts, manifest.prompts)):
        for name, definition in offered.items():
            if f"{what} {name}" not in listing.review.drifted:
                continue
            old = pins.known(pinned[name]) if name in pinned else None
            if name not in pinned:
                lines.append(f"{what} {visible(name)}: new: {quoted(definition.get('description'))}")
            elif old is None:
                lines.append(f"{what} {visible(name)}: changed; the definition that was signed was never seen here")
            else:
                lines += [f"{what} {visible(name)}: {change}" for change in differences(old, definition)]
    return lines + [f"{visible(name)}: gone" for name in listing.review.removed]


def _agreed(alias: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(
            f"{alias}: not approved, there is no terminal to ask on; add --yes once you have read the above"
        )
    return input(f"approve this for {alias}? [y/N] ").strip().lower() in ("y", "yes")
