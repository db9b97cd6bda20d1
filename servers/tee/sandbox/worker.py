"""The process in which programs run: `python -I -m servers.tee.sandbox.worker CACHE_DIR CODEGEN`.

It reads jobs from standard input and answers on standard output, one at a time, each in a fresh wasmtime store. It has
an empty environment and no descriptor but its pipes. The program's own words travel in a frame of their own, which
this process does not read: what it says itself (status, fuel) cannot be forged from inside.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from servers.tee.sandbox import SandboxError, component

if TYPE_CHECKING:
    from wasmtime import Engine
    from wasmtime.component import Component

MAX_REQUEST = 256 << 20
"""Bytes of one job as JSON, by whatever limits."""
HEADER = 4
"""Bytes of a frame's length, big-endian."""
_STACK = 64 << 20  # of the thread that runs programs; must be well above the engine's `max_wasm_stack`
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


class _Deadline:
    """Stops the program that is running when its time is up, by moving the engine's epoch."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._order: list[float | None] = [None]  # a new object with each order, so that one can be told from the next
        threading.Thread(target=self._watch, daemon=True).start()

    def set(self, seconds: float | None) -> None:
        """Start the clock, or stop it with None. Once this returns, no earlier order moves the epoch."""
        with self._changed:
            self._order = [seconds]
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                order = self._order
                woken = self._changed.wait(order[0])
                # A timed-out wait may get the lock back after the next order was given.
                if not woken and self._order is order:
                    self._engine.increment_epoch()
                    self._order = [None]


class Runner:
    """One engine and its compiled component."""

    def __init__(self, engine: "Engine", compiled: "Component") -> None:
        self._engine = engine
        self._component = compiled
        self._deadline = _Deadline(engine)

    def run(self, limits: dict[str, Any], request: str) -> tuple[dict[str, Any], bytes]:
        """What this process says of the call, and what the program says. Never raises on the program's account."""
        from wasmtime import Store, WasmtimeError  # noqa: PLC0415
        from wasmtime.component import Linker  # noqa: PLC0415

        store = Store(self._engine)
        store.set_limits(memory_size=limits["memory_bytes"])
        store.set_fuel(limits["fuel"])
        store.set_epoch_deadline(1)
        self._deadline.set(limits["wall_seconds"])
        status, detail, said = "ok", "", b""
        try:
            # Linked with nothing: a component with an import would fail here.
            instance = Linker(self._engine).instantiate(store, self._component)
            function = instance.get_func(store, "run")
            assert function is not None  # noqa: S101  the digest-pinned component exports it
            said = function(store, request).encode()
        except WasmtimeError as e:
            status, detail = _trap(str(e))
        finally:
            self._deadline.set(None)
        used = limits["fuel"] - store.get_fuel()
        if len(said) > limits["answer_bytes"]:
            status, detail, said = "output", "the program's answer is larger than all its limits together", b""
        return {"status": status, "detail": detail, "fuel_used": used}, said


def _trap(text: str) -> tuple[str, str]:
    """Our status for a wasmtime error, and the one useful word of it."""
    cause = text.rpartition("wasm trap: ")[2]
    if "fuel" in cause:
        return "fuel", ""
    if "interrupt" in cause:
        return "deadline", ""
    if "call stack exhausted" in cause:
        return "trap", "stack"
    if "memory" in text and "exceeds" in text:
        return "memory", ""
    if "unreachable" not in cause:
        return "trap", cause[:80]
    # The first function of the C library in the backtrace is the service that was asked for.
    service = text.partition("libc.so!")[2].partition("\n")[0]
    return "trap", service[:80]


def _write(out: BinaryIO, frame: bytes) -> None:
    out.write(len(frame).to_bytes(HEADER))
    out.write(frame)
    out.flush()


def _read(source: BinaryIO) -> bytes:
    """The next frame. Raises `EOFError` at the end of the stream."""
    header = source.read(HEADER)
    size = int.from_bytes(header)
    if len(header) < HEADER or size > MAX_REQUEST:
        raise EOFError
    frame = source.read(size)
    if len(frame) < size:
        raise EOFError
    return frame


def _lock_down() -> None:
    """Give up what this process will not need; where the platform lacks one of these, the others still hold."""
    if os.name != "posix":
        return
    import resource  # noqa: PLC0415

    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):  # no memory image, no file, written by accident
        resource.setrlimit(limit, (0, 0))


def _die_with_parent() -> None:
    """The kernel kills this process when its supervisor goes, even in the middle of a program."""
    if sys.platform != "linux":
        return  # end of standard input, seen between two jobs, has to do
    parent = os.getppid()
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # of this thread and those it starts: so before any
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it went before the call
        os._exit(0)


def _serve(cache_dir: Path, codegen: component.Codegen, source: BinaryIO, out: BinaryIO) -> None:
    try:
        engine = component.engine(codegen)
        path = component.cached(cache_dir, component.shipped().sha256, codegen)
        if path is None:
            raise SandboxError(f"no compiled component in {cache_dir}: prepare the sandbox first")
        runner = Runner(engine, component.load(engine, path))
    except SandboxError as e:
        _write(out, json.dumps({"ready": False, "error": str(e)}).encode())
        return
    os.dup2(1, 2)  # standard error was for a failed start
    _lock_down()
    _write(out, json.dumps({"ready": True}).encode())
    with contextlib.suppress(EOFError):
        while True:
            limits, request = json.loads(_read(source)), _read(source).decode()
            report, said = runner.run(limits, request)
            _write(out, json.dumps(report).encode())
            _write(out, said)


def main() -> None:
    """Serve until standard input ends."""
    _die_with_parent()
    source, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # a stray print cannot break into the frames
        os.dup2(null, descriptor)
    threading.stack_size(_STACK)
    thread = threading.Thread(target=_serve, args=(Path(sys.argv[1]), sys.argv[2], source, out))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
