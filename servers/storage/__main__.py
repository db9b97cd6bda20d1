"""`etmcp-storage`: the storage server over stdio or HTTP. Composition root: reads arguments, environment and clock."""

import argparse
import asyncio
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import anyio
from mcp.server.stdio import stdio_server

from attest.arguments import Arguments, port, positive
from attest.errors import AttestError
from servers import roots
from servers.attesters import AttesterError, choice
from servers.attesters.choice import chosen
from servers.http import bound, serve_http
from servers.roots import RootsError
from servers.storage.identity import Callers, SingleUser, TrustedGateways
from servers.storage.rotate import current_key, rotate
from servers.storage.server import NAME, StorageServer, build
from servers.storage.sqlite import SqliteStore
from servers.storage.store import Quota, StoreError

SWEEP_S = 60.0


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        if options.command == "rotate":
            _rotate(options)
        elif options.single_user is not None and options.command == "http":
            parser.error("--single-user needs stdio: over HTTP anybody on this machine would be that user")
        else:
            anyio.run(_serve, options)
    except (StoreError, AttestError) as e:
        sys.exit(_fail(e.detail))
    except (AttesterError, RootsError) as e:
        sys.exit(_fail(str(e)))
    except OSError as e:
        where = e.filename or (f"port {options.port}" if options.command == "http" else options.command)
        sys.exit(_fail(f"{where}: {e.strerror}; name a file or port that can be used"))
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "etmcp" / "storage"
    place = Arguments(add_help=False)
    place.add_argument("--data", type=Path, default=home, metavar="DIR", help="where the database is kept")
    place.add_argument("--master-key", type=Path, metavar="FILE", help="made once; DIR/master.key without")
    parser = Arguments(prog=NAME, description="Keep objects for users, versioned and encrypted.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, told in (("stdio", "serve MCP on stdin and stdout"), ("http", "serve MCP on a loopback port")):
        _serving(commands.add_parser(name, help=told, parents=[place]), http=name == "http")
    commands.add_parser("rotate", help="put another master key in place of the one in use", parents=[place])
    return parser


def _serving(parser: argparse.ArgumentParser, *, http: bool) -> None:
    bounds = Quota()
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--gateway", action="append", type=_key, metavar="KEY", help="Ed25519 key (hex) of a gateway to believe; repeat"
    )
    who.add_argument("--single-user", metavar="NAME", help="stdio only: whoever started it is this user")
    if http:
        parser.add_argument(
            "--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"), help="loopback only"
        )
        parser.add_argument("--port", type=port, default=8403)
    roots.declare(parser)
    parser.add_argument("--max-bytes", type=_amount, default=bounds.total_bytes, metavar="N", help="per user")
    parser.add_argument("--max-objects", type=positive, default=bounds.objects, metavar="N", help="per user")
    parser.add_argument("--max-versions", type=positive, default=bounds.versions, metavar="N", help="per object")
    parser.add_argument("--max-object-bytes", type=_amount, default=bounds.object_bytes, metavar="N")
    choice.declare(parser)
    parser.add_argument("--require-sealed", action="store_true", help="refuse calls that are not sealed")


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError
    return key


def _amount(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 16 and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes")


def _places(options: argparse.Namespace) -> tuple[Path, Path]:
    """The master key's file and the database's."""
    return options.master_key or options.data / "master.key", options.data / "storage.db"


def _rotate(options: argparse.Namespace) -> None:
    key, database = _places(options)
    count = rotate(key, database)
    _say(f"{NAME}: {count} versions sealed under a new {key}; start servers that run on this store again")


async def _serve(options: argparse.Namespace) -> None:
    callers: Callers
    if options.single_user is not None:
        callers = SingleUser(options.single_user)
    else:
        callers = TrustedGateways(options.gateway, NAME, clock)
    accepted = roots.load_roots(options.trust, options.policy, options.denylist)
    quota = Quota(options.max_bytes, options.max_objects, options.max_versions, options.max_object_bytes)
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, database = _places(options)
    master = current_key(key, database)
    descriptor = os.environ.pop("ETMCP_PIN_FD", None)
    made = chosen(options, clock, None if descriptor is None else int(descriptor))
    store = SqliteStore(database, master, quota, clock)
    try:
        server = build(
            store,
            callers,
            made.attester,
            accepted,
            quota=quota,
            version=version("etmcp"),
            clock=clock,
            require_sealed=options.require_sealed,
        )
        sweeping = asyncio.create_task(_sweep(server, store))
        try:
            if options.command == "stdio":
                async with stdio_server() as (reading, writing):
                    await server.run(reading, writing, server.create_initialization_options())
            else:
                sockets = await bound(options.host, options.port)
                _say(f"{NAME}: http://{options.host}:{options.port}/mcp, attester {made.told}")
                await serve_http(server, sockets)
        finally:
            sweeping.cancel()
    finally:
        store.close()


async def _sweep(server: StorageServer, store: SqliteStore) -> None:
    """Take away what nobody asked for after its time, and tell those who listen."""
    while True:
        try:
            await server.expire(await store.sweep(), store.tag)
        except StoreError as e:
            _say(f"{NAME}: {e.detail}")
        await anyio.sleep(SWEEP_S)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(line: str) -> int:
    _say(f"{NAME}: {line}")
    return 2


if __name__ == "__main__":
    main()
