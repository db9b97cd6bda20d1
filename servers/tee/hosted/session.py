"""One running server: its sandbox, its pipes, its way out, what it says for people, and how it ends."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio

from servers.tee.egress import Connection, usage
from servers.tee.egress.gate import Gate
from servers.tee.egress.proxy import Proxy
from servers.tee.hosted import HostedError
from servers.tee.hosted.grants import Granted
from servers.tee.hosted.lines import Ask, Json, Lines, Tell
from servers.tee.hosted.measure import Meter, Used
from servers.tee.policy import Policy
from servers.tee.process import Exit
from servers.tee.process.launcher import Launcher, Running
from servers.tee.sandbox import SandboxError

GRACE_SECONDS = 2.0
"""Between closing a server's input and its end."""
_STDERR_LINES = 50
_LINE = 400
_MOST_UNANSWERED = 2


@dataclass(frozen=True)
class Mark:
    """Where a session's counters stood when a call began."""

    cpu_ms: int
    connections: int


class Session:
    """A server in its sandbox. Made by `started`; `lines` speaks with it."""

    def __init__(self, policy: Policy, granted: Granted, tell: Tell, ask: Ask, say: Callable[[str], None]) -> None:
        self._policy, self._granted, self._say = policy, granted, say
        self._running: Running | None = None  # set by `run` once the sandbox is built
        self._meter: Meter | None = None  # set with it
        self._connections: list[Connection] = []  # what it tried to reach; grown by the proxy
        self._input = _Input()
        limits = policy.limits()
        self.lines = Lines(self._input, tell, ask, result_bytes=limits.result_bytes, depth=limits.depth)
        self.exit: Exit | None = None
        """How it ended, from the kernel; None while it runs."""
        self._word = ""  # the last line of its standard error
        self._unanswered = 0  # calls in a row
        self._past = 0  # tries to reach addresses past the proxy that the log knows of

    @property
    def ended(self) -> bool:
        """Whether no request will succeed any more."""
        return self.lines.ended.is_set()

    def mark(self) -> Mark:
        """To be given to `usage` later."""
        return Mark(self._used().cpu_ms, len(self._connections))

    def usage(self, since: Mark) -> Json:
        """What was used since then, by all calls of this session together."""
        now = self._used()
        self._look_past()
        told: Json = {"cpu_ms": max(0, now.cpu_ms - since.cpu_ms), "memory_bytes": now.peak_bytes}
        if len(self._connections) > since.connections:
            told["egress"] = dict(usage(self._connections[since.connections :]))
        if self._past:
            told["past_proxy"] = self._past
        return told

    def unanswered(self) -> None:
        """A call got no answer in the time that the policy grants; the second in a row ends the session."""
        self._unanswered += 1
        if self._unanswered >= _MOST_UNANSWERED:
            self.stop(f"the server left {self._unanswered} calls in a row unanswered")

    def answered(self) -> None:
        """A call was answered."""
        self._unanswered = 0

    def stop(self, why: str) -> None:
        """End it at once, for this reason."""
        self._say(why)
        self.lines.end(HostedError(why))
        if self._running is not None:
            self._running.kill()

    async def run(self, launcher: Launcher, task_status: asyncio.Future[None]) -> None:
        """Start it, and live as long as it does; `task_status` is told when it runs, or why it does not."""
        try:
            async with _pipes() as (ours, theirs), launcher.start(self._granted.spec, *theirs) as running:
                self._running, self._meter = running, Meter(running.pid)
                while theirs:
                    os.close(theirs.pop())
                gate = Gate(self._policy, self._record, values=self._granted.secrets)
                assert running.listener is not None  # noqa: S101 - every spec of ours has one
                async with Proxy(gate).serve(running.listener.dup()):
                    await self._live(running, ours, task_status)
        except SandboxError as e:
            self.lines.end(HostedError(str(e)))
            if not task_status.done():
                task_status.set_exception(HostedError(str(e)))
        finally:
            if self._meter is not None:
                self._meter.close()
            self.lines.end(HostedError("the server was stopped"))
            if not task_status.done():
                task_status.cancel()

    async def _live(self, running: Running, ours: list[int], ready: asyncio.Future[None]) -> None:
        stdin, stdout, stderr = ours
        writer = self._input.writer = await _writer(stdin)
        out, err = await _reader(stdout), await _reader(stderr)
        del ours[:]
        tasks = [
            asyncio.create_task(each) for each in (self.lines.read(out[0]), self._listen(err[0]), self.lines.deliver())
        ]
        dying = asyncio.create_task(running.wait())
        if not ready.done():
            ready.set_result(None)
        try:
            await asyncio.wait([dying, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            self._look_past()
            with suppress(OSError):
                writer.close()
            with anyio.move_on_after(GRACE_SECONDS):
                await asyncio.wait([dying])
            running.kill()
            self.exit = await dying
            await asyncio.wait(tasks[:2], timeout=GRACE_SECONDS)
            self.lines.end(HostedError(self._obituary(self.exit)))
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                with suppress(OSError):
                    writer.close()
                with anyio.move_on_after(GRACE_SECONDS):
                    await asyncio.wait([dying])
                self._look_past()
            raise
        finally:
            for task in (*tasks, dying):
                task.cancel()
            await asyncio.wait([*tasks, dying])
            for transport in (out[1], err[1]):
                transport.close()
            if writer.transport.get_write_buffer_size():  # it did not read all, and never will
                writer.transport.abort()
            self._sum_up()

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        """Its words for people: the first lines are passed on, the rest is counted."""
        lines, rest = 0, b""
        while block := await stderr.read(64 << 10):
            *whole, rest = (rest + block).split(b"\n")
            rest = rest[:_LINE]
            for line in whole:
                lines += 1
                self._word = "".join(c if c.isprintable() else "?" for c in line[:_LINE].decode("utf-8", "replace"))
                if lines <= _STDERR_LINES:
                    self._say(f"says: {self._word}")
        if lines > _STDERR_LINES:
            self._say(f"said {lines - _STDERR_LINES:,} more lines on its standard error, which are not shown")

    def _record(self, connection: Connection) -> None:
        self._connections.append(connection)
        if connection.verdict != "allowed" and connection.reason != "ended":
            where = f"{connection.scheme or 'something'} to {connection.host or 'nowhere'} port {connection.port}"
            self._say(f"it tried {where}: {connection.verdict} ({connection.reason})")

    def _look_past(self) -> None:
        if self._meter is not None:
            past = self._meter.unrouted()
            if past > self._past:
                self._say(f"it tried to reach addresses past its proxy, {past} times so far: there is no way")
                self._past = past

    def _used(self) -> Used:
        return self._meter.read(asyncio.get_running_loop().time()) if self._meter is not None else Used()

    def _obituary(self, ended: Exit) -> str:
        how = f"was killed by signal {-ended.code}" if ended.code < 0 else f"exited with code {ended.code}"
        if ended.out_of_memory:
            how = "went beyond the memory that the policy grants and was killed"
        words = f", last saying “{self._word[:200]}”" if self._word else ""
        return f"the server {how}{words}"

    def _sum_up(self) -> None:
        counts = self.lines.counts
        told = [
            (counts.junk, "lines on its standard output that were no MCP"),
            (counts.strays, "answers to what nobody had asked"),
            (counts.dropped, "notifications too many"),
            (counts.refused, "questions too many"),
        ]
        for number, what in told:
            if number:
                self._say(f"it sent {number:,} {what}: not passed on")


class _Input:
    """Its standard input, once there is one."""

    writer: asyncio.StreamWriter | None = None

    def write(self, data: bytes) -> None:
        if self.writer is not None:
            self.writer.write(data)

    async def drain(self) -> None:
        if self.writer is not None:
            await self.writer.drain()


@asynccontextmanager
async def _pipes() -> AsyncGenerator[tuple[list[int], list[int]]]:
    """Ours: to its input, from its output and error; theirs: the other ends. Whoever takes one out closes it."""
    (stdin, feed), (out, stdout), (err, stderr) = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    ours, theirs = [feed, out, err], [stdin, stdout, stderr]
    try:
        yield ours, theirs
    finally:
        for descriptor in (*ours, *theirs):
            os.close(descriptor)


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    stream = asyncio.StreamReader(256 << 10)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    return stream, transport


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(descriptor, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)
