"""The process in which programs run: `python -I -m servers.tee.sandbox.worker CACHE_DIR SETTINGS PROGRAMS PROMISE`.

It reads jobs from standard input and answers on standard output, one at a time, each in a fresh wasmtime store. It has
an empty environment, no descriptor but its pipes, and once its programs are loaded it is locked (`lock`). The program's
own words travel in a frame of their own, which this process does not read: what it says itself (status, fuel) cannot be
forged from inside.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from servers.tee.sandbox import SandboxError, component, lock, runner
from servers.tee.sandbox.component import Program
from servers.tee.sandbox.programs import Refused, Runnable, Stop, load

MAX_REQUEST = 256 << 20
"""Bytes of one job as JSON, by whatever limits."""
HEADER = 4
"""Bytes of a frame's length, big-endian."""
ASK = b"?"
"""How a frame begins that asks for a host call: then the name's length in two bytes, the name, the request."""
REPORT = b"="
"""How a frame begins that ends a call; what the program said follows in one more frame."""
ANSWER, ERROR, STOP = b"+", b"-", b"!"
"""How an answer to a host call begins: JSON, a text for the program, or status and message as JSON for an end."""
MAX_NAME = 200
"""Bytes of a host call's name."""
_STACK = 64 << 20  # of the thread that runs programs; must be well above the engine's `max_wasm_stack`
_WARM = {"fuel": 10**9, "memory_bytes": 64 << 20, "wall_seconds": 60.0, "answer_bytes": 1 << 20, "host_bytes": 1}


class Pipes:
    """Frames from and to the supervisor."""

    def __init__(self, source: BinaryIO, out: BinaryIO) -> None:
        self._source, self._out = source, out

    def write(self, frame: bytes) -> None:
        """Send one frame."""
        self._out.write(len(frame).to_bytes(HEADER))
        self._out.write(frame)
        self._out.flush()

    def read(self) -> bytes:
        """The next frame. Raises `EOFError` at the end of the stream."""
        header = self._source.read(HEADER)
        size = int.from_bytes(header)
        if len(header) < HEADER or size > MAX_REQUEST:
            raise EOFError
        frame = self._source.read(size)
        if len(frame) < size:
            raise EOFError
        return frame


class Worker:
    """The programs of this process and the call that it runs."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._programs: dict[str, Runnable] = {}  # filled once, by `load`
        self._host_bytes = 0  # what the running call's next host call may take; set by `serve` and `ask`

    def load(self, cache_dir: Path, settings: component.Settings, programs: Sequence[Program]) -> None:
        """Load, then give up files. Raises `SandboxError`, and `Refused` for a caller's program that is not one."""
        self._engine = component.engine(settings)
        for program in programs:
            path = component.cached(cache_dir, program.sha256, settings)
            if path is None:
                raise SandboxError(f"no compiled {program.role} in {cache_dir}: prepare the sandbox first")
            self._programs[program.role] = load(
                self._engine, program, component.load(self._engine, path, program.form), self.ask
            )
        lock.close_files()
        self._deadline = runner.Deadline(self._engine)
        for role, runnable in self._programs.items():
            if role != "given":  # a caller's program runs locked only
                runner.run(self._engine, self._deadline, runnable, _WARM | {"seed": "", "clock_ms": 0}, b"{}")

    def ask(self, name: str, request: str) -> tuple[bool, str]:
        """What the supervisor answers to a host call. Raises `Stop`."""
        encoded, text = name.encode(), request.encode()
        if len(encoded) > MAX_NAME or len(encoded) + len(text) > self._host_bytes:
            raise Stop("host", "size")
        self._pipes.write(ASK + len(encoded).to_bytes(2) + encoded + text)
        answer = self._pipes.read()
        if answer[:1] == STOP:
            status, detail = json.loads(answer[1:])
            raise Stop(status, detail)
        self._host_bytes -= len(encoded) + len(text) + len(answer) - 1
        return answer[:1] == ANSWER, answer[1:].decode()

    def serve(self) -> None:
        """Run jobs until standard input ends."""
        with contextlib.suppress(EOFError):
            while True:
                order, request = json.loads(self._pipes.read()), self._pipes.read()
                self._host_bytes = order["host_bytes"]
                report, said = runner.run(self._engine, self._deadline, self._programs[order["role"]], order, request)
                self._pipes.write(REPORT + json.dumps(report).encode())
                self._pipes.write(said)


def _start(pipes: Pipes, cache_dir: str, settings: str, programs: str, promise: str) -> Worker | None:
    """A locked worker; None after saying why there is none."""
    worker = Worker(pipes)
    problem: dict[str, Any] = {}
    try:
        worker.load(Path(cache_dir), json.loads(settings), [Program(**told) for told in json.loads(programs)])
        os.dup2(1, 2)  # standard error was for a failed start
        lock.lock(json.loads(promise))
    except SandboxError as e:
        problem = {"error": str(e)}
    except Refused as e:
        problem = {"refused": str(e)}
    except OSError as e:
        problem = {"error": f"the sandbox's worker cannot be locked ({e}): nothing runs in one that is not"}
    pipes.write(json.dumps({"ready": not problem, **problem}).encode())
    return None if problem else worker


def _serve(source: BinaryIO, out: BinaryIO) -> None:
    worker = _start(Pipes(source, out), *sys.argv[1:])
    if worker is not None:
        worker.serve()


def main() -> None:
    """Serve until standard input ends."""
    lock.die_with_parent()
    source, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # a stray print cannot break into the frames
        os.dup2(null, descriptor)
    threading.stack_size(_STACK)
    thread = threading.Thread(target=_serve, args=(source, out))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
