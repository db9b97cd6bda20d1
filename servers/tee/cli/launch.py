"""`etmcp-tee launch`: measure this build into a register of the machine, then become the server.

What measures has to be measured before: the launcher, the interpreter and the system below belong into an image that
the platform's own registers cover (`deploy/README.md`).
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from servers.interpreter import FROM_SOURCE
from servers.tee.cli.context import Commands, Context, UserError, say
from servers.tee.cli.measure import build_of
from servers.tee.measured import RTMR
from servers.tee.registers import MEASUREMENTS, PCRS, Pcr, Register, Rtmr, extend_once
from servers.tpm.attester import DEVICE

SERVED = ("stdio", "http")
STEERING = ("LD_", "PYTHON", "GLIBC_", "OPENSSL_")
"""Variables that choose code for a process; none of them is handed on."""


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("launch", help="measure this build into a register, then serve")
    told = f"the register to extend: {RTMR} of a TD, or one of a TPM (default: {RTMR})"
    parser.add_argument("--register", choices=(RTMR, *PCRS), default=RTMR, help=told)
    told = f"where the kernel shows the registers of a TD (default: {MEASUREMENTS})"
    parser.add_argument("--measurements", type=Path, default=MEASUREMENTS, metavar="DIR", help=told)
    parser.add_argument("--tpm", type=Path, default=DEVICE, metavar="FILE", help=f"the TPM (default: {DEVICE})")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="http or stdio, with its options")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Never returns: ends in the server, or raises `UserError`, `AttesterError`, `SandboxError` or `OSError`.

    The second start of one build since the machine's own extends nothing. Another build is refused until a restart.
    """
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if words[:1] == [] or (served := context.parse(words)).command not in SERVED:
        raise UserError("launch starts http or stdio; say `etmcp-tee launch -- http`")
    if served.attester == "software":
        raise UserError("--attester software vouches without the register; leave it out, or start without launch")
    build = build_of(served)
    fresh = extend_once(_register(options), options.register, build)
    held = build.value(options.register).hex()
    say(f"etmcp-tee: {options.register} {'holds' if fresh else 'held'} {held}")
    command = [sys.executable, "-I", *FROM_SOURCE, "-m", "servers.tee", "--cache", str(options.cache), *words]
    os.execve(sys.executable, command, handed_on(context.environ))  # noqa: S606 - no shell is wanted


def handed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would choose code for the server."""
    return {name: value for name, value in environ.items() if not name.startswith(STEERING)}


def _register(options: argparse.Namespace) -> Register:
    if options.register == RTMR:
        return Rtmr(options.measurements)
    return Pcr(int(options.register.removeprefix("pcr")), options.tpm)
