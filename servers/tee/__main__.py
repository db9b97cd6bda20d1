"""`etmcp-tee`: the TEE server and what belongs to it. Composition root: reads arguments, environment and clock."""

import argparse
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio

from attest.arguments import Arguments
from servers.attesters import AttesterError
from servers.tee.cli import doctor, host, http, launch, library, measure, policy, prove, replay, selftest, stdio
from servers.tee.cli.context import Context, UserError, default_cache, fail, forget_output
from servers.tee.sandbox import SandboxError

COMMANDS = (stdio, http, host, launch, measure, library, prove, replay, policy, selftest, doctor)


class _Everywhere(Arguments):
    """Takes the common option before the command and behind it: configurations have it in either place."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        told = "where compiled components are kept"
        self.add_argument("--cache", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=told)


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def main(argv: list[str] | None = None) -> None:
    """The console script. Exit codes: 0 done; 1 a check that failed; 2 a mistake of the user's to mend."""
    parse = _parser().parse_args
    options = parse(argv)
    descriptor = os.environ.pop("ETMCP_PIN_FD", None)
    pin = None if descriptor is None else int(descriptor)
    context = Context(clock, dict(os.environ), version("etmcp"), pin, parse)
    try:
        code: int = anyio.run(options.run, options, context)
        sys.stdout.flush()
    except (UserError, SandboxError, AttesterError) as e:
        code = fail(str(e))
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 0
        forget_output()
    except OSError as e:
        code = fail(f"{e.filename or options.command}: {e.strerror}; name a file or port that can be used")
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = _Everywhere(prog="etmcp-tee", description="Run tools in a sandbox and prove their results.")
    parser.set_defaults(cache=default_cache(os.environ))
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    main()
