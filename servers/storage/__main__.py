"""`etmcp-storage`: the storage server over stdio or HTTP. Composition root: reads arguments, environment and clock."""

import argparse
import asyncio
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp.server.stdio import stdio_server

from attest.errors import AttestError
from attest.schemes.software import SoftwareAttester
from servers.pin import pin
from servers.storage.crypto import KeyFileError, master_key
from servers.storage.http import serve_http
from servers.storage.identity import Callers, SingleUser, TrustedGateways
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
    if options.single_user and options.transport == "http":
        parser.error("--single-user needs stdio: over HTTP anybody on this machine would be that user")
    try:
        anyio.run(_serve, options)
    except (StoreError, AttestError) as e:
        sys.exit(_fail(e.detail))
    except KeyFileError as e:
        sys.exit(_fail(str(e)))
    except OSError as e:
        sys.exit(_fail(f"{e.filename or options.transport}: {e.strerror}; name a file or port that can be used"))
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "etmcp" / "storage"
    bounds = Quota()
    parser = argparse.ArgumentParser(prog=NAME, description="Keep objects for users, versioned and encrypted.")
    parser.add_argument("transport", choices=("stdio", "http"), help="how clients reach it")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--gateway", action="append", type=_key, metavar="KEY", help="Ed25519 key (hex) of a gateway to believe; repeat"
    )
    who.add_argument("--single-user", metavar="NAME", help="stdio only: whoever started it is this user")
    parser.add_argument("--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"), help="loopback only")
    parser.add_argument("--port", type=int, default=8403)
    parser.add_argument("--data", type=Path, default=home, metavar="DIR", help="where the database is kept")
    parser.add_argument("--master-key", type=Path, metavar="FILE", help="made once; DIR/master.key without")
    parser.add_argument("--max-bytes", type=int, default=bounds.total_bytes, metavar="N", help="per user")
    parser.add_argument("--max-objects", type=int, default=bounds.objects, metavar="N", help="per user")
    parser.add_argument("--max-versions", type=int, default=bounds.versions, metavar="N", help="per object")
    parser.add_argument("--max-object-bytes", type=int, default=bounds.object_bytes, metavar="N")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="software attester key; made anew without")
    parser.add_argument("--require-sealed", action="store_true", help="refuse calls that are not sealed")
    return parser


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError
    return key


def _attester(key_file: Path | None) -> SoftwareAttester:
    key = Ed25519PrivateKey.generate()
    if key_file:
        try:
            key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key_file.read_text().strip()))
        except ValueError as e:
            raise KeyFileError(f"{key_file}: {e}; name a file with 64 hex digits") from e
    attester = SoftwareAttester(key, clock)
    if descriptor := os.environ.pop("ETMCP_PIN_FD", None):
        pin(int(descriptor), attester.public_key)
    return attester


async def _serve(options: argparse.Namespace) -> None:
    callers: Callers
    if options.single_user is not None:
        callers = SingleUser(options.single_user)
    else:
        callers = TrustedGateways(options.gateway, NAME, clock)
    quota = Quota(options.max_bytes, options.max_objects, options.max_versions, options.max_object_bytes)
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    master = master_key(options.master_key or options.data / "master.key")
    attester = _attester(options.key_file)
    store = SqliteStore(options.data / "storage.db", master, quota, clock)
    try:
        server = build(
            store,
            callers,
            attester,
            quota=quota,
            version=version("etmcp"),
            clock=clock,
            require_sealed=options.require_sealed,
        )
        sweeping = asyncio.create_task(_sweep(server, store))
        try:
            if options.transport == "stdio":
                async with stdio_server() as (reading, writing):
                    await server.run(reading, writing, server.create_initialization_options())
            else:
                _say(f"{NAME}: http://{options.host}:{options.port}/mcp, attester {attester.public_key.hex()}")
                await serve_http(server, options.host, options.port)
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
