"""Runs the console scripts in processes of their own, forked from this one, so that the imports are paid once.

A request is one JSON line, its answer the exit code: see `programs.py`. In the request's folder are then the outputs,
and in the file `sites` the source line of each `UserError` that was made.
"""

import inspect
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attest.__main__
import gateway.__main__
import servers.tee.__main__
from gateway.errors import UserError

PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "etmcp": gateway.__main__.main,
    "etmcp-tee": servers.tee.__main__.main,
    "etmcp-verify": attest.__main__.main,
}


def watch(file: Path) -> None:
    """Note where each `UserError` is made."""
    plain = UserError.__init__

    def noted(self: UserError, *words: Any) -> None:
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        with file.open("a") as notes:
            notes.write(f"{frame.f_back.f_code.co_filename}:{frame.f_back.f_lineno}\n")
        plain(self, *words)

    UserError.__init__ = noted


def become(asked: dict[str, Any]) -> int:
    """Be that program, from its first line on."""
    os.chdir(asked["folder"])
    for fd, name, flags in (
        (0, asked["stdin"], os.O_RDONLY),
        (1, asked["stdout"], os.O_WRONLY),
        (2, "err", os.O_WRONLY),
    ):
        opened = os.open(name, flags | (os.O_CREAT | os.O_TRUNC if fd else 0), 0o600)
        os.dup2(opened, fd)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = [asked["program"], *asked["arguments"]]
    sys.executable = asked["executable"]
    if asked["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
    watch(Path(asked["folder"]) / "sites")
    try:
        PROGRAMS[asked["program"]](asked["arguments"])
    except SystemExit as e:
        if isinstance(e.code, int):
            return e.code
        print(e.code, file=sys.stderr)
        return 1 if e.code else 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """One request after the other, until stdin ends."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = become(asked)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)


if __name__ == "__main__":
    main()
