"""One sandbox for one Python job: its pipes, and what comes out of them, bounded."""

import os
import select
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import anyio

from servers.tee.process import Bounds, Exit, Spec
from servers.tee.process.launcher import Launcher, Running
from servers.tee.sandbox import Limits, SandboxError

_FLOOD = 16  # times its limit, and a stream that goes on is stopped with its program
_BLOCK = 64 << 10

Stopped = Literal["", "deadline", "output"]


@dataclass
class Stream:
    """The first `limit` bytes of one stream; the rest is counted."""

    limit: int
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0

    def take(self, block: bytes) -> bool:
        """Whether the stream may go on."""
        self.kept += block[: max(0, self.limit - len(self.kept))]
        self.size += len(block)
        return self.size <= self.limit * _FLOOD

    def text(self) -> str:
        """What was kept, a character cut at the limit left out."""
        return bytes(self.kept).decode("utf-8", "replace" if self.size <= self.limit else "ignore")


@dataclass(frozen=True)
class Taken:
    """What came out of a sandbox."""

    stdout: Stream
    stderr: Stream
    said: Stream
    exit: Exit
    stopped: Stopped
    """Why the supervisor ended it; empty if it ended by itself."""


class Box:
    """A sandbox that is built and waits for its job."""

    def __init__(self, running: Running, stdin: int, outputs: tuple[int, int, int], exits: AsyncExitStack) -> None:
        self._running = running
        self._stdin = stdin  # -1 once it is closed
        self._outputs = outputs
        self._exits = exits
        self._stopped: Stopped = ""

    def alive(self) -> bool:
        """Ask the kernel whether its process is there."""
        poll = select.poll()
        poll.register(self._running.pidfd, select.POLLIN)
        return not poll.poll(0)

    async def run(self, request: bytes, limits: Limits, most: int) -> Taken:
        """Give it its job and wait for the end. `most` bounds its answer. Raises `SandboxError` if it was lost."""
        streams = (Stream(limits.output_bytes), Stream(limits.output_bytes), Stream(most))
        lost: SandboxError | None = None
        ended: Exit | None = None
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(limits.wall_seconds) as scope:
                tasks.start_soon(self._feed, request)
                for descriptor, stream in zip(self._outputs, streams, strict=True):
                    tasks.start_soon(self._collect, descriptor, stream)
                try:
                    ended = await self._running.wait()
                except SandboxError as e:  # out of a task group it would come wrapped
                    lost = e
            if scope.cancelled_caught:
                self._stop("deadline")
                try:
                    ended = await self._running.wait()
                except SandboxError as e:
                    lost = e
            if lost is not None:
                tasks.cancel_scope.cancel()
        if ended is None:
            raise lost or SandboxError("the sandbox was lost: try again")
        return Taken(*streams, ended, self._stopped)

    async def aclose(self) -> None:
        """End it."""
        with anyio.CancelScope(shield=True):
            await self._exits.aclose()

    def _stop(self, why: Stopped) -> None:
        self._stopped = self._stopped or why
        self._running.kill()

    async def _feed(self, request: bytes) -> None:
        view = memoryview(request)
        with suppress(BrokenPipeError):  # it ended before it read all
            while view:
                try:
                    view = view[os.write(self._stdin, view) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._stdin)
        descriptor, self._stdin = self._stdin, -1
        os.close(descriptor)

    async def _collect(self, descriptor: int, stream: Stream) -> None:
        while True:
            try:
                block = os.read(descriptor, _BLOCK)
            except BlockingIOError:
                await anyio.wait_readable(descriptor)
                continue
            if not block:
                return
            if not stream.take(block):
                self._stop("output")

    def close_stdin(self) -> None:
        """If no job came."""
        if self._stdin >= 0:
            os.close(self._stdin)


async def build(launcher: Launcher, bounds: Bounds) -> Box:
    """A sandbox for one Python job; `Box.aclose` must be called. Raises `SandboxError`."""
    async with AsyncExitStack() as exits:
        (stdin, feed), (out, stdout), (err, stderr), (said, answer) = [os.pipe2(os.O_CLOEXEC) for _ in range(4)]
        for descriptor in (out, err, said):
            exits.callback(os.close, descriptor)
        for descriptor in (feed, out, err, said):
            os.set_blocking(descriptor, False)
        try:
            started = launcher.start(Spec(bounds=bounds), stdin, stdout, stderr, answer)
            running = await exits.enter_async_context(started)
        except BaseException:
            os.close(feed)
            raise
        finally:
            for descriptor in (stdin, stdout, stderr, answer):
                os.close(descriptor)
        rest = exits.pop_all()
        box = Box(running, feed, (out, err, said), rest)
        rest.callback(box.close_stdin)
        return box


@asynccontextmanager
async def closing(box: Box) -> AsyncGenerator[Box]:
    """End the box at the end of the context, whatever happened."""
    try:
        yield box
    finally:
        await box.aclose()


class Parked:
    """Sandboxes that are built ahead, `count` of them; each serves one job."""

    def __init__(self, count: int, make: Callable[[], Awaitable[Box]]) -> None:
        self._count = count
        self._make = make
        self._ready: list[Box] = []  # owned by `take` and `fill`
        self._filling = anyio.Lock()

    @property
    def short(self) -> bool:
        """Whether `fill` has something to do."""
        return len(self._ready) < self._count

    async def take(self) -> Box | None:
        """One that is alive; None if there is none now."""
        while self._ready:
            box = self._ready.pop(0)
            if box.alive():
                return box
            await box.aclose()
        return None

    async def fill(self) -> None:
        """Build until there are `count`. What fails is built again for the job itself, which then says why."""
        async with self._filling:
            with suppress(SandboxError):
                while len(self._ready) < self._count:
                    self._ready.append(await self._make())

    async def aclose(self) -> None:
        """End those that were not used."""
        while self._ready:
            await self._ready.pop().aclose()
