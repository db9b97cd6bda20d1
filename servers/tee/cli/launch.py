"""`etmcp-tee launch`: measure this build into a register of the machine, then become the server.

What measures has to be measured before: the launcher, the interpreter and the system below belong into an image that
the platform's own registers cover (`deploy/README.md`).
"""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from servers.interpreter import FROM_SOURCE, NO_COMPILED
from servers.tee.cli.context import Commands, Context, UserError, own_cache, say
from servers.tee.cli.measure import build_of
from servers.tee.measured import RTMR
from servers.tee.registers import MEASUREMENTS, PCRS, Pcr, Register, Rtmr, extend_once
from servers.tpm.attester import DEVICE

SERVED = ("stdio", "http")
KEPT = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
OURS = "ETMCP_"
"""What the server reads of its environment; of all else some variable chooses code for a process."""
IN_MEMORY = frozenset({"tmpfs", "ramfs"})


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
    if not sys.flags.isolated or sys.pycache_prefix != NO_COMPILED:  # or this very process runs what nothing measured
        start = shlex.join([sys.executable, "-I", *FROM_SOURCE, "-m", "servers.tee", "launch"])
        raise UserError(f"launch has to run from source and apart from its environment; start it as {start} ...")
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    before = ["--cache", str(options.cache)]  # which the words may name again
    if words[:1] == [] or (served := context.parse([*before, *words])).command not in SERVED:
        raise UserError("launch starts http or stdio; say `etmcp-tee launch -- http`")
    if served.attester == "software":
        raise UserError("--attester software vouches without the register; leave it out, or start without launch")
    if (where := file_system(own_cache(served))) not in IN_MEMORY:
        raise UserError(
            f"{served.cache}: on {where}; what is compiled there is run and not measured, so launch wants a folder in "
            "memory; say etmcp-tee --cache /run/etmcp-tee launch ..."
        )
    build = build_of(served)
    fresh = extend_once(_register(options), options.register, build)
    held = build.value(options.register).hex()
    say(f"etmcp-tee: {options.register} {'holds' if fresh else 'held'} {held}")
    if context.pin is not None:
        os.close(context.pin)  # there is no key to tell, and whoever waits for one sees that now
    # The server reads the policy anew: another than was measured, it refuses.
    words = [*before, *words, "--measured-policy", str(build.document["policy"])]
    command = [sys.executable, "-I", *FROM_SOURCE, "-m", "servers.tee", *words]
    os.execve(sys.executable, command, handed_on(context.environ))  # noqa: S606 - no shell is wanted


def handed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what could choose code for the server."""
    kept = {name: value for name, value in environ.items() if name in KEPT or name.startswith(OURS)}
    return kept | {"LANG": "C.UTF-8"}


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that `folder` is on, "" where the kernel does not say. Raises `OSError`."""
    device, found = folder.stat().st_dev, ""
    for line in mounts.read_text().splitlines():  # proc(5): the device is the third, the type first behind the dash
        before, _, behind = line.partition(" - ")
        if before.split()[2] == f"{os.major(device)}:{os.minor(device)}":
            found = behind.split()[0]
    return found


def _register(options: argparse.Namespace) -> Register:
    if options.register == RTMR:
        return Rtmr(options.measurements)
    return Pcr(int(options.register.removeprefix("pcr")), options.tpm)
