"""Runs a script as on a machine that refuses namespaces, as containers do: `python no_namespaces.py SCRIPT ARGS`."""

import platform
import runpy
import struct
import sys

from servers.tee.process import rules, seccomp
from servers.tee.process.syscalls import NUMBERS


def refuse_namespaces() -> None:
    """Every way to make one, for this process and all that it starts."""
    numbers = NUMBERS[platform.machine()]
    clone = rules.checked("exec")["clone"]
    steps = [
        *rules.load(0),
        *(rules.Step(rules.JUMP_EQUAL, 0, 1, numbers["unshare"]), rules.fail(rules.EPERM)),
        *(rules.Step(rules.JUMP_EQUAL, 0, 1, numbers["clone3"]), rules.fail(rules.ENOSYS)),
        *(rules.Step(rules.JUMP_EQUAL, 0, len(clone), numbers["clone"]), *clone),
        rules.give(rules.ALLOW),
    ]
    seccomp.install(b"".join(struct.pack("<HBBI", *step) for step in steps))


if __name__ == "__main__":
    refuse_namespaces()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
