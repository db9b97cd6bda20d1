"""`etmcp approve SERVER`: show what changed since the pin, in words, and sign the new state if the operator agrees."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from attest.manifest import Manifest
from gateway.cli.context import Commands, Context
from gateway.client import looking
from gateway.differences import differences, quoted, readable
from gateway.errors import UserError, Withheld
from gateway.flags import INSTRUCTIONS
from gateway.letters import plain
from gateway.member import Listing, Member
from gateway.pins import Pins, pinned
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
        eyes = looking()
        try:
            listing = await member.survey(eyes)
        except Withheld as e:
            if e.code != "pin":
                raise
            return await _anew(member, gateway.pins, sure=options.yes, reason=e)
        link = await member.connections.link(eyes)
        held = gateway.pins.in_force(member.alias, link.published)
        if held is not None:
            for line in explain(listing, held.manifest, gateway.pins):
                print(line)
        for flag in gateway.aggregate.flagged(member.alias):
            print(f"flagged: {flag}")
        if listing.review.clean and not listing.review.removed:
            print(f"{member.alias}: nothing to approve, everything matches its manifest")
            return 0
        if not options.yes and not _agreed(member.alias):
            print(f"{member.alias}: left as it was")
            return 1
        await member.approve(listing, eyes)
        print(f"{member.alias}: approved {listing.offer.counted()} as {listing.offer.kind}")
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
    offer, lines = listing.offer, list[str]()
    if listing.review.kind_lowered:
        lines.append(f"kind: was {manifest.kind} and is now {offer.kind}: its results can no longer be proven")
    if listing.review.instructions_drifted:
        lines += _changed(INSTRUCTIONS, manifest.instructions, offer.shown(), pins)
    digests = {subject: pin.full for subject, pin in pinned(manifest).items()}
    for subject in listing.review.drifted:
        lines += _changed(subject, digests.get(subject), offer.definitions(), pins)
    return lines + [f"{plain(subject)}: gone" for subject in listing.review.removed]


def _changed(subject: str, digest: str | None, offered: Mapping[str, Any], pins: Pins) -> Iterator[str]:
    """How one definition, or the instructions, differ from those with this digest."""
    now, name = offered.get(subject), plain(subject)
    old = pins.known(digest) if digest else None
    if digest is None:
        whole = readable(cast("dict[str, Any]", now)) if isinstance(now, dict) else {"description": now}
        yield f"{name}: new: {quoted(whole.get('description'))}"
        known = {key: value for key, value in whole.items() if key in ("name", "uriTemplate", "description")}
        yield from (f"{name}: {change}" for change in differences(known, whole))
    elif old is None:
        yield f"{name}: changed; what was signed was never seen here; now {quoted(now)}"
    elif now is None:
        yield f"{name}: gone; they were {quoted(old)}"
    elif isinstance(now, dict):
        new = readable(cast("dict[str, Any]", now))
        was = readable(cast("dict[str, Any]", old)) if isinstance(old, dict) else old
        yield from (f"{name}: {change}" for change in differences(was, new))
    else:
        yield from differences(old, now, name)


async def _anew(member: Member, pins: Pins, *, sure: bool, reason: Withheld) -> int:
    """Pin what the server offers now, since there is no pin to compare it with."""
    print(f"{reason}\n{member.alias}: there is nothing to compare with; approving takes it as if it were seen first")
    if not sure and not _agreed(member.alias):
        print(f"{member.alias}: left as it was")
        return 1
    await pins.forget(member.alias)
    listing = await member.survey(looking())
    print(f"{member.alias}: pinned {listing.offer.counted()} as {listing.offer.kind}")
    for flag in listing.review.flagged:
        print(f"flagged: {flag}")
    return 0


def _agreed(alias: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(
            f"{alias}: not approved, there is no terminal to ask on; add --yes once you have read the above"
        )
    return input(f"approve this for {alias}? [y/N] ").strip().lower() in ("y", "yes")
