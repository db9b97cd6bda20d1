"""`etmcp manifest SERVER --key FILE`: a publisher signs what their server offers."""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from attest.canonical import canonical, parse
from attest.errors import AttestError
from attest.manifest import ByScheme, read_reference_values
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
    told = "what hardware measures there, as `etmcp-tee measure` writes it"
    parser.add_argument("--reference-values", type=Path, metavar="FILE", help=told)
    parser.add_argument("file", type=Path, metavar="FILE", help="where to write the manifest")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Write the envelope and say which settings make a gateway hold the server to it."""
    values = _reference_values(options.reference_values)
    async with context.running() as gateway:
        listing = await find(gateway, options.server).survey(looking())
    try:
        key = load_or_create_key(options.key)
        manifest = replace(listing.offer.manifest(frozenset(options.attester)), reference_values=values)
        envelope = manifest.sign(key)
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


def _reference_values(path: Path | None) -> ByScheme:
    if path is None:
        return {}
    try:
        return read_reference_values(parse(path.read_bytes()))
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; name what `etmcp-tee measure` wrote") from e
    except AttestError as e:
        raise UserError(f"{path}: {e.detail}; name what `etmcp-tee measure` wrote") from e


def _key(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a key of 64 lower-case hex digits")
    return text
