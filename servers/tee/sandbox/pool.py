"""The worker processes of the WebAssembly tier, as the supervisor holds them."""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from servers.interpreter import isolated
from servers.tee.sandbox import SandboxError, component, lock
from servers.tee.sandbox.compile import MAX_COMPILED
from servers.tee.sandbox.component import Program, Settings
from servers.tee.sandbox.host import Host, stop
from servers.tee.sandbox.worker import ASK, HEADER, MAX_NAME, REPORT

_START_SECONDS = 30.0
_COMPILE_SECONDS = 60.0  # of wall time for a caller's program; its process has a bound of processor time as well
_REPORT_BYTES = 64 << 10
_KEPT_GIVEN = 64  # compiled programs of callers
_LOST = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Worker:
    """The supervisor's end of one worker process."""

    def __init__(self, process: Process, programs: tuple[Program, ...]) -> None:
        assert process.stdin is not None  # noqa: S101  asked for in `spawn`
        assert process.stdout is not None  # noqa: S101
        self.process = process
        self.programs = programs
        self.sound = False
        self._send = process.stdin
        self._received = BufferedByteReceiveStream(process.stdout)

    async def ready(self) -> str | None:
        """None, or why this worker cannot run programs.

        Raises `SandboxError` if it says nothing, `ValueError` if the caller's program is not one for it.
        """
        try:
            with anyio.fail_after(_START_SECONDS):
                hello = json.loads(await self._frame(_REPORT_BYTES))
        except TimeoutError as e:
            why = f"it says nothing for {_START_SECONDS:g} s; try again when the machine is less busy"
            raise SandboxError(f"the sandbox's worker process does not start: {why}") from e
        except _LOST as e:
            text = await _last_words(self.process) or await _how(self.process)
            raise SandboxError(f"the sandbox's worker process does not start: {text}") from e
        if "refused" in hello:
            raise ValueError(hello["refused"])
        return None if hello["ready"] else str(hello["error"])

    async def call(
        self, order: Mapping[str, Any], request: bytes, host: Host, ends: float
    ) -> tuple[dict[str, Any], bytes]:
        """One job: what the worker measured, and what the program said. `ends` (loop time) ends host calls."""
        for frame in (json.dumps(order).encode(), request):
            await self._write(frame)
        most = max(_REPORT_BYTES, order["host_bytes"] + MAX_NAME)
        while True:
            frame = await self._frame(most)
            if frame[:1] == REPORT:
                return json.loads(frame[1:]), await self._frame(order["answer_bytes"])
            if frame[:1] != ASK:
                raise anyio.BrokenResourceError
            answer = stop("deadline", "")
            with anyio.CancelScope(deadline=ends):
                answer = await host.answer(frame[1:])
            await self._write(answer)

    async def _write(self, frame: bytes) -> None:
        await self._send.send(len(frame).to_bytes(HEADER) + frame)

    async def _frame(self, most: int) -> bytes:
        size = int.from_bytes(await self._received.receive_exactly(HEADER))
        if size > most:
            raise anyio.BrokenResourceError
        return await self._received.receive_exactly(size)


class Pool:
    """At most `size` workers that live, each for the programs it was started with; others wait for one.

    Raises `SandboxError` from every method that starts something. `close` ends them all.
    """

    def __init__(self, cache_dir: Path, settings: Settings, size: int) -> None:
        self._cache_dir, self._settings, self._size = cache_dir, settings, size
        self._slots = anyio.Semaphore(size)
        self._starting = anyio.Lock()
        self._compiling = anyio.Lock()
        self._idle: list[Worker] = []  # the longest idle first; owned by `borrowed`
        self._live: set[Worker] = set()  # owned by `_start` and `_end`
        self._closed = False
        self._ours: tuple[Program, ...] = ()  # what is installed, read when first needed

    @property
    def ours(self) -> tuple[Program, ...]:
        """What every worker runs. Raises `SandboxError` if it is not installed."""
        self._ours = self._ours or component.ours()
        return self._ours

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers that live."""
        return sorted(worker.process.pid for worker in self._live)

    async def close(self) -> None:
        """Kill all workers. Calls that still run lose theirs."""
        self._closed = True
        for worker in list(self._live):
            await self._end(worker)

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Compile if need be and have one worker idle. `progress` gets lines for people."""
        async with self._slots:
            if not self._idle:
                self._idle.append(await self._start(self.ours, progress))

    async def compile(self, program: Program, wasm: bytes) -> None:
        """Compile a caller's program, once. Raises `ValueError` if it cannot be."""
        folder = self._cache_dir / "given"
        async with self._compiling:
            component.own_folder(self._cache_dir)
            component.own_folder(folder)
            if component.cached(folder, program.sha256, self._settings) is None:
                compiled = await _compiled(wasm, self._settings, self._cache_dir)
                component.keep(folder, program.sha256, compiled, self._settings)
                kept = sorted(folder.glob("*.cwasm"), key=lambda path: path.stat().st_mtime_ns)
                for path in kept[:-_KEPT_GIVEN]:
                    path.unlink(missing_ok=True)

    @asynccontextmanager
    async def borrowed(self, given: Program | None) -> AsyncGenerator[Worker]:
        """A worker for one call. Unless the call proves it sound, it is killed: by deadline, error, cancellation."""
        async with self._slots:
            programs = self.ours if given is None else (given,)
            worker = None
            # Looked for anew each time: while one that died is buried, other calls take and give back.
            while (idle := next((found for found in self._idle if found.programs == programs), None)) is not None:
                self._idle.remove(idle)
                if _alive(idle.process):
                    worker = idle
                    break
                await self._end(idle)  # it died between two calls
            worker = worker or await self._start(programs, lambda _: None)
            worker.sound = False
            try:
                yield worker
            except _LOST as e:
                raise SandboxError(await self._obituary(worker)) from e
            finally:
                if worker.sound and not self._closed:
                    self._idle.append(worker)
                else:
                    await self._end(worker)

    async def _start(self, programs: tuple[Program, ...], progress: Callable[[str], None]) -> Worker:
        """A worker that is ready. Compiles first if there is no sound compiled file of ours."""
        given = programs[0].role == "given"
        folder = self._cache_dir / "given" if given else self._cache_dir
        async with self._starting:  # one of them compiles, the others find it done
            component.own_folder(self._cache_dir)
            while self._idle and len(self._live) >= self._size:  # make room: one for other programs goes
                await self._end(self._idle.pop(0))
            for attempt in range(2):
                if self._closed:
                    raise SandboxError("the sandbox is closed: open it again to run programs")
                told = [json.dumps(part) for part in ([asdict(p) for p in programs], dict(lock.promised()))]
                command = ("worker", str(folder), json.dumps(dict(self._settings)), *told)
                worker = Worker(await spawn(self._cache_dir, *command), programs)
                self._live.add(worker)
                try:
                    problem = await worker.ready()
                except BaseException:  # cancelled, or lost: in every case the process must not stay
                    await self._end(worker)
                    raise
                if problem is None:
                    return worker
                await self._end(worker)
                if attempt or given:
                    raise SandboxError(problem)
                await _prepare(self._cache_dir, self._settings, progress)
        raise AssertionError

    async def _end(self, worker: Worker) -> None:
        with anyio.CancelScope(shield=True):
            self._live.discard(worker)
            _kill(worker.process)
            await worker.process.aclose()

    async def _obituary(self, worker: Worker) -> str:
        await self._end(worker)
        how = _ended(worker.process.returncode or 0)
        return f"the sandbox's worker process ended ({how}) during the call: try again; the next call starts a new one"


def _alive(process: Process) -> bool:
    """Ask the kernel: the event loop learns of a death later, and a call could be given to the dead in between."""
    if process.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:  # reaped already
        return False
    except AttributeError:  # a system without waitid: a death that the loop has not noticed yet fails one call
        return True


def _kill(process: Process) -> None:
    """Not by `Process.kill`: of one that has just died, that would take the exit status away from the event loop."""
    if sys.platform == "win32":
        process.kill()
    elif _alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


async def spawn(folder: Path, module: str, *arguments: str) -> Process:
    """A Python of its own, isolated from the environment and the working directory of this one."""
    command = [*isolated(), "-m", f"servers.tee.sandbox.{module}", *arguments]
    try:
        return await anyio.open_process(command, env={}, cwd=folder)
    except OSError as e:
        raise SandboxError(f"cannot start {sys.executable} for the sandbox: {e.strerror}") from e


async def _prepare(cache_dir: Path, settings: Settings, progress: Callable[[str], None]) -> None:
    """In a process of its own, see `compile`."""
    async with await spawn(cache_dir, "compile", json.dumps(dict(settings)), str(cache_dir)) as process:
        assert process.stdout is not None  # noqa: S101  asked for in `spawn`
        rest = ""
        async for text in TextReceiveStream(process.stdout):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                progress(line)
        if await process.wait() != 0:
            raise SandboxError(await _last_words(process) or "compiling the sandbox's component failed")


async def _compiled(wasm: bytes, settings: Settings, folder: Path) -> bytes:
    """A caller's program as machine code. Raises `ValueError` with the compiler's reason, or that it took too much."""
    code = bytearray()
    too_much = "the component cannot be compiled: it takes more memory or time than it may"
    async with await spawn(folder, "compile", json.dumps(dict(settings)), "-") as process:
        assert process.stdout is not None  # noqa: S101  asked for in `spawn`
        assert process.stdin is not None  # noqa: S101
        with anyio.move_on_after(_COMPILE_SECONDS) as scope:
            try:
                await process.stdin.send(wasm)
                await process.stdin.aclose()
                async for chunk in process.stdout:
                    code += chunk
                    if len(code) > MAX_COMPILED:
                        raise ValueError(too_much)
            except _LOST:
                pass  # its exit status and last words say why
            if await process.wait() == 0:
                return bytes(code)
            words = await _last_words(process)
            raise ValueError(words if words.startswith("the component") else too_much)
        if scope.cancelled_caught:
            _kill(process)
    raise ValueError(too_much)


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"


async def _how(process: Process) -> str:
    """How a process ended that said nothing, once its pipes are closed."""
    with anyio.move_on_after(1):
        return f"it ended ({_ended(await process.wait())}); try again"
    return "it closed its pipes; try again"


async def _last_words(process: Process) -> str:
    """The last line of a failed process' standard error."""
    assert process.stderr is not None  # noqa: S101  asked for in `spawn`
    words = b""
    with anyio.move_on_after(1), anyio.CancelScope() as scope:
        try:
            async for chunk in process.stderr:
                words = (words + chunk)[-4096:]
        except _LOST:
            scope.cancel()
    return words.decode("utf-8", "replace").strip().rpartition("\n")[2]
