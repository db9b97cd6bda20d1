"""The WebAssembly tier: programs run in worker processes, one call at a time in each, every call in a new instance."""

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from servers.tee.sandbox import Job, Outcome, SandboxError, answer, component
from servers.tee.sandbox.worker import HEADER

_GRACE_SECONDS = 2.0  # for a worker to say that the deadline stopped the program, before it is killed
_START_SECONDS = 30.0
_REPORT_BYTES = 64 << 10
_IN_LOOP_BYTES = 256 << 10  # longer answers are parsed in a thread
_LOST = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class WasmSandbox:
    """A `Sandbox` of worker processes. Use as an async context manager; leaving it ends them.

    `cache_dir` is made if it is not there and must belong to this user alone. At most `workers` calls run at a time,
    others wait. A worker starts when it is first needed, in about 0.3 s. What `codegen` is changes no outcome.
    """

    def __init__(self, cache_dir: Path, workers: int = 1, codegen: component.Codegen = "speed") -> None:
        self._cache_dir = cache_dir.absolute()
        self._codegen: component.Codegen = codegen
        self._slots = anyio.Semaphore(workers)
        self._starting = anyio.Lock()
        self._idle: list[_Worker] = []  # owned by `_borrowed`
        self._live: set[_Worker] = set()  # owned by `_start` and `_end`
        self._closed = False
        self._environment: Mapping[str, Any] | None = None

    @property
    def environment(self) -> Mapping[str, Any]:
        """See `Sandbox`. Raises `SandboxError` if the component is not installed."""
        if self._environment is None:
            self._environment = component.environment(component.shipped().sha256, self._codegen)
        return self._environment

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill all workers. Calls that still run lose theirs."""
        self._closed = True
        for worker in list(self._live):
            await self._end(worker)

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Compile the component if need be (10 s, once per cache folder) and start one worker.

        `progress` gets lines for people. Raises `SandboxError`.
        """
        async with self._slots:
            if not self._idle:
                self._idle.append(await self._start(progress))

    async def run(self, job: Job) -> Outcome:
        """See `Sandbox`."""
        limits = job.limits
        request = answer.request(job)
        if limits.memory_bytes < answer.memory_floor(request):
            return answer.no_memory(limits)
        order = {"fuel": limits.fuel, "memory_bytes": limits.memory_bytes, "wall_seconds": limits.wall_seconds}
        most = answer.answer_bytes(limits)
        reply = None
        async with self._borrowed() as worker:
            with anyio.move_on_after(limits.wall_seconds + _GRACE_SECONDS):
                reply = await worker.call(json.dumps(order | {"answer_bytes": most}).encode(), request, most)
                worker.sound = True
        if reply is None:
            return answer.deadline(limits)
        report, said = reply
        if len(said) > _IN_LOOP_BYTES:
            return await anyio.to_thread.run_sync(answer.outcome, report, said, limits)
        return answer.outcome(report, said, limits)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncGenerator["_Worker"]:
        """A worker for one call. Unless the call proves it sound, it is killed: by deadline, error, cancellation."""
        async with self._slots:
            worker = None
            while self._idle and worker is None:
                worker = self._idle.pop()
                if not _alive(worker.process):  # it died between two calls
                    await self._end(worker)
                    worker = None
            worker = worker or await self._start(lambda _: None)
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

    async def _start(self, progress: Callable[[str], None]) -> "_Worker":
        """A worker that is ready. Compiles first if there is no sound compiled component."""
        async with self._starting:  # one of them compiles, the others find it done
            component.own_folder(self._cache_dir)
            for attempt in range(2):
                if self._closed:
                    raise SandboxError("the sandbox is closed: open it again to run programs")
                worker = _Worker(await _spawn("servers.tee.sandbox.worker", self._cache_dir, self._codegen))
                self._live.add(worker)
                try:
                    problem = await worker.ready()
                except BaseException:  # cancelled, or lost: in every case the process must not stay
                    await self._end(worker)
                    raise
                if problem is None:
                    return worker
                await self._end(worker)
                if attempt:
                    raise SandboxError(problem)
                await _compile(self._cache_dir, self._codegen, progress)
        raise AssertionError

    async def _end(self, worker: "_Worker") -> None:
        with anyio.CancelScope(shield=True):
            self._live.discard(worker)
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.aclose()

    async def _obituary(self, worker: "_Worker") -> str:
        await self._end(worker)
        code = worker.process.returncode or 0
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the sandbox's worker process ended ({how}) during the call: try again; the next call starts a new one"


class _Worker:
    """The supervisor's end of one worker process."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101  asked for in `_spawn`
        assert process.stdout is not None  # noqa: S101
        self.process = process
        self.sound = False
        self._send = process.stdin
        self._received = BufferedByteReceiveStream(process.stdout)

    async def ready(self) -> str | None:
        """None, or why this worker cannot run programs. Raises `SandboxError` if it says nothing."""
        try:
            with anyio.fail_after(_START_SECONDS):
                hello = json.loads(await self._frame(_REPORT_BYTES))
        except (TimeoutError, *_LOST) as e:
            text = await _last_words(self.process)
            raise SandboxError(f"the sandbox's worker process does not start: {text or type(e).__name__}") from e
        return None if hello["ready"] else str(hello["error"])

    async def call(self, order: bytes, request: bytes, most: int) -> tuple[dict[str, Any], bytes]:
        """One job: what the worker measured, and what the program said."""
        for frame in (order, request):
            await self._send.send(len(frame).to_bytes(HEADER) + frame)
        report: dict[str, Any] = json.loads(await self._frame(_REPORT_BYTES))
        return report, await self._frame(most)

    async def _frame(self, most: int) -> bytes:
        size = int.from_bytes(await self._received.receive_exactly(HEADER))
        if size > most:
            raise anyio.BrokenResourceError
        return await self._received.receive_exactly(size)


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


async def _spawn(module: str, cache_dir: Path, codegen: str) -> Process:
    """A Python of its own, isolated from the environment and the working directory of this one."""
    command = [sys.executable, "-I", "-X", "utf8", "-m", module, str(cache_dir), codegen]
    try:
        return await anyio.open_process(command, env={}, cwd=cache_dir)
    except OSError as e:
        raise SandboxError(f"cannot start {sys.executable} for the sandbox: {e.strerror}") from e


async def _compile(cache_dir: Path, codegen: str, progress: Callable[[str], None]) -> None:
    """In a process of its own, which gives its half gigabyte of memory back and can be stopped."""
    async with await _spawn("servers.tee.sandbox.component", cache_dir, codegen) as process:
        assert process.stdout is not None  # noqa: S101  asked for in `_spawn`
        rest = ""
        async for text in TextReceiveStream(process.stdout):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                progress(line)
        if await process.wait() != 0:
            raise SandboxError(await _last_words(process) or "compiling the sandbox's component failed")


async def _last_words(process: Process) -> str:
    """The last line of a failed process' standard error."""
    assert process.stderr is not None  # noqa: S101  asked for in `_spawn`
    words = b""
    with anyio.move_on_after(1), anyio.CancelScope() as scope:
        try:
            async for chunk in process.stderr:
                words = (words + chunk)[-4096:]
        except _LOST:
            scope.cancel()
    return words.decode("utf-8", "replace").strip().rpartition("\n")[2]
