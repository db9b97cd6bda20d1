"""`etmcp receipts list|show|export`: what was done, and the means for others to check it."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attest.arguments import positive
from attest.canonical import canonical, parse
from attest.schemes.software import SCHEME
from attest.trust import FORMAT
from attest.verdict import OBSERVER
from gateway.cli.context import Commands, Context
from gateway.errors import UserError
from gateway.home import Home
from gateway.records import Records
from gateway.runtime import Gateway
from gateway.store import Store


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("receipts", help="list, show or export receipts")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the newest receipts")
    listing.add_argument("--limit", type=positive, default=20)
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=show_list)
    show = actions.add_parser("show", help="what one receipt says")
    show.add_argument("receipt", metavar="ID", help="its id or the beginning of it")
    show.set_defaults(run=show_one)
    export = actions.add_parser("export", help="write a bundle for `etmcp-verify`")
    export.add_argument("receipt", metavar="ID")
    export.add_argument("file", type=Path, metavar="FILE")
    export.set_defaults(run=write_bundle)


async def show_list(options: argparse.Namespace, context: Context) -> int:
    """Newest first."""
    for row in _records(context).recent(options.limit):
        if options.json:
            print(json.dumps(row))
            continue
        when = datetime.fromtimestamp(row["at"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        what = f"{row['server']} {row['method']} {row['target'] or ''}".rstrip()
        worth = f"{row['assurance']}, {row['anchor']}" if row["anchor"] else row["assurance"]
        print(f"{row['id'][:16]}  {when}  {row['kind']} ({worth})  {row['outcome']:<7} {what}")
    return 0


async def show_one(options: argparse.Namespace, context: Context) -> int:
    """The statement, and the preimages it covers."""
    records = _records(context)
    receipt = records.find(options.receipt)
    bundle, logged = records.bundle(receipt), records.log_entry(receipt)
    told: dict[str, Any] = {
        "statement": parse(bundle.receipt.envelope.payload),
        "params": parse(bundle.params),
        "result": parse(bundle.result),
    }
    if logged is not None:
        told["log"] = {"index": logged.index, "hashes": logged.hashes, "checkpoint": logged.checkpoint}
    print(json.dumps(told, indent=2, ensure_ascii=False))
    return 0


async def write_bundle(options: argparse.Namespace, context: Context) -> int:
    """A file that says everything but whom to trust."""
    records = _records(context)
    data = records.bundle(records.find(options.receipt)).encode()
    try:
        options.file.write_bytes(data)
    except OSError as e:
        raise UserError(f"{options.file}: {e.strerror}; name a file that can be written") from e
    print(f"{options.file}: {len(data)} bytes; check it with `etmcp-verify {options.file} --policy ... --trust ...`")
    return 0


def trust_document(gateway: Gateway, software: frozenset[str]) -> bytes:
    """A trust file with these software attesters and this gateway's own observer key."""
    anchors = {SCHEME: sorted(software), OBSERVER: [gateway.observer.public_key.hex()]}
    return canonical({"format": FORMAT, "anchors": anchors})


def _records(context: Context) -> Records:
    home: Home = context.home
    return Records(Store(home.database), context.clock)
