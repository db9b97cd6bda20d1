"""`etmcp manifest SERVER --key FILE`: a publisher signs what their server offers."""

import argparse
import json
import re
from pathlib import Path

from attest.canonical import canonical
from gateway.cli.approve import find
from gateway.cli.context import Commands, Context
from gateway.client import looking
from gateway.errors import UserError
from gateway.home import load_or_create_key


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("manifest", help="for publishers: sign a manifest of a configured server")
    parser.add_argument("server", metavar="SERVER")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="publisher key; made if absent")
    parser.add_argument(
        "--attester", action="append", default=[], type=_key, metavar="HEX", help="software attester key"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="where to write the manifest")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Write the envelope and say which settings make a gateway hold the server to it."""
    async with context.running() as gateway:
        listing = await find(gateway, options.server).survey(looking())
    try:
        key = load_or_create_key(options.key)
        envelope = listing.offer.manifest(frozenset(options.attester)).sign(key)
        options.file.write_bytes(canonical(envelope.to_json()))
    except OSError as e:
        raise UserError(f"{e.filename}: {e.strerror}; name files that can be written") from e
    publisher = key.public_key().public_bytes_raw().hex()
    print(f"{options.file}: {listing.offer.counted()}, {listing.offer.kind}")
    for flag in listing.review.flagged:
        print(f"flagged: {flag}")
    settings = {"manifest": str(options.file.absolute()), "publisher": publisher}
    print(f'"etmcp": {json.dumps(settings)}')
    return 0


def _key(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a key of 64 lower-case hex digits")
    return text
