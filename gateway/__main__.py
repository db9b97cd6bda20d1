"""`etmcp`: the gateway and the user's command line. Composition root: reads arguments, environment and clock."""

import argparse
import asyncio
import ctypes
import logging
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attest.arguments import Arguments
from attest.errors import PolicyError
from attest.trust import load_trust
from gateway.cli import approve, call, demo, doctor, install, login, manifest, receipts, serve, status, tools
from gateway.cli.context import Context
from gateway.config import Config, embedded, load
from gateway.errors import UserError, Withheld
from gateway.home import Home
from gateway.letters import visible
from gateway.runtime import NO_ROOTS
from gateway.upstream import UpstreamError

COMMANDS = (demo, serve, status, tools, call, receipts, approve, login, manifest, doctor, install)
PR_SET_DUMPABLE = 4


class Everywhere(Arguments):
    """Takes the common options before the command and behind it: snippets have them in either place."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        told: dict[str, Any] = {"default": argparse.SUPPRESS, "type": Path}
        self.add_argument("--config", metavar="FILE", help="servers, in the mcpServers shape of any client", **told)
        roots = "a trust file whose roots count as vendors' own: for tests, never for work"
        self.add_argument("--dangerous-test-roots", metavar="FILE", help=roots, **told)
        self.add_argument("--home", metavar="DIR", help="where keys, pins and receipts are kept", **told)


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main(argv: list[str] | None = None) -> None:
    """The console script. Exit codes: 0 done; 1 withheld or failed upstream; 2 a mistake of the user's to mend."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("mcp").setLevel(logging.ERROR)
    _close_to_others()
    try:
        roots = _test_roots(options.dangerous_test_roots)
        context = Context(
            _config(options), _home(options), clock, dict(os.environ), version("etmcp"), _directory(), roots
        )
        code = asyncio.run(options.run(options, context))
        sys.stdout.flush()
    except UserError as e:
        code = _fail(str(e), 2)
    except (Withheld, UpstreamError) as e:
        code = _fail(str(e), 1)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 0
        _forget_output()
    except OSError as e:
        if e.filename is not None:
            raise
        code = _fail(f"standard output: {e.strerror}; free or mend the place that it goes to", 2)
        _forget_output()
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = Everywhere(prog="etmcp", description="One MCP endpoint whose results can be checked.")
    parser.set_defaults(config=None, home=None, dangerous_test_roots=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _test_roots(path: Path | None) -> Mapping[str, frozenset[str]]:
    if path is None:
        return NO_ROOTS
    try:
        roots = load_trust(path.read_bytes()).anchors
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; name a trust file") from e
    except PolicyError as e:
        raise UserError(f"{path}: {e.detail}; see WIRE.md for the format of trust files") from e
    logging.getLogger("etmcp").warning("roots for tests count: what is under them is shown as test-root")
    return roots


def _home(options: argparse.Namespace) -> Home:
    return Home(options.home or Home.default(os.environ))


def _config(options: argparse.Namespace) -> Config:
    path = options.config or os.environ.get("ETMCP_CONFIG")
    if path:
        return load(Path(path), os.environ)
    return embedded(_directory() / "etmcp-tee", _home(options).cache)


def _directory() -> Path:
    """Where the console scripts of this installation are."""
    return Path(sys.executable).parent


def _close_to_others() -> None:
    """Keep other processes of this user from reading our memory, and with it our key (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _fail(line: str, code: int) -> int:
    print(f"etmcp: {visible(line)}", file=sys.stderr)
    return code


def _forget_output() -> None:
    """Nobody takes it: what is still buffered must not fail once more at the interpreter's exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
