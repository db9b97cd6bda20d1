"""`etmcp-verifier`: the attestation verifier over stdio or HTTP. Composition root: arguments, environment and clock."""

import argparse
import os
import sys
import time
from importlib.metadata import version

import anyio
from mcp.server.stdio import stdio_server

from attest.arguments import Arguments, port
from attest.errors import LogError
from attest.note import NoteKey
from servers import roots
from servers.attesters import AttesterError, choice
from servers.attesters.choice import chosen
from servers.http import bound, serve_http
from servers.roots import RootsError
from servers.verifier.server import NAME, build


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    options = _parser().parse_args(argv)
    try:
        anyio.run(_serve, options)
    except (AttesterError, RootsError) as e:
        sys.exit(_fail(str(e)))
    except OSError as e:
        where = e.filename or (f"port {options.port}" if options.transport == "http" else "stdio")
        sys.exit(_fail(f"{where}: {e.strerror}; name a file or port that can be used"))
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog=NAME, description="Check receipt bundles and log inclusion proofs for MCP clients.")
    parser.add_argument("transport", choices=("stdio", "http"), help="how clients reach it")
    parser.add_argument("--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"), help="loopback only")
    parser.add_argument("--port", type=port, default=8404)
    roots.declare(parser)
    parser.add_argument(
        "--log", action="append", type=_log, default=[], metavar="KEY", help="key of a log you trust; repeat"
    )
    choice.declare(parser)
    parser.add_argument("--require-sealed", action="store_true", help="refuse calls that are not sealed")
    return parser


def _log(text: str) -> NoteKey:
    try:
        return NoteKey.parse(text)
    except LogError as e:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a log key like name+id+base64: {e.detail}") from e


async def _serve(options: argparse.Namespace) -> None:
    accepted = roots.load_roots(options.trust, options.policy, options.denylist)
    descriptor = os.environ.pop("ETMCP_PIN_FD", None)
    made = chosen(options, clock, None if descriptor is None else int(descriptor))
    server = build(
        accepted,
        options.log,
        made.attester,
        version=version("etmcp"),
        clock=clock,
        require_sealed=options.require_sealed,
    )
    if options.transport == "stdio":
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
    else:
        sockets = await bound(options.host, options.port)
        _say(f"{NAME}: http://{options.host}:{options.port}/mcp, attester {made.told}")
        await serve_http(server, sockets)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(line: str) -> int:
    _say(f"{NAME}: {line}")
    return 2


if __name__ == "__main__":
    main()
