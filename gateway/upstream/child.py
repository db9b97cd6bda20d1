"""A running stdio server as the gateway sees it: its pipes, what it says on stderr, how it ends and how to end it."""

import asyncio
import json
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass

import anyio

from gateway.upstream import UpstreamUnavailable, last_line, printable

STDERR_KEPT = 64 * 1024
READ_SIZE = 256 * 1024


@dataclass(frozen=True)
class Pipes:
    """The gateway's ends. `transports` are those of all the streams; `live` is a bare descriptor."""

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    status: asyncio.StreamReader
    pin: asyncio.StreamReader
    transports: list[asyncio.BaseTransport]
    live: int


class Child:
    """A server and its keeper. Made by `spawn`; `stop` must be called."""

    def __init__(self, alias: str, keeper: subprocess.Popen[bytes], pipes: Pipes, grace: float) -> None:
        self.alias = alias
        self.stdin, self.stdout = pipes.stdin, pipes.stdout
        self.pid = 0  # of the server; set once, by `started`
        self.landlock = 0  # the Landlock ABI version in force, 0 if none; set once, by `started`
        self.exit_code: int | None = None  # negative: the signal; set once, by `_read_status`
        self.exited = anyio.Event()  # the server is gone, or the keeper can no longer tell
        self._keeper = keeper
        self._transports = pipes.transports
        self._live = pipes.live  # -1 once closed, by `stop`
        self._grace = grace
        self._stderr = bytearray()  # the last `STDERR_KEPT` bytes; owned by `_read_stderr`
        self._report: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        self._pin: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._stopped = anyio.Event()
        self._status = asyncio.create_task(self._read_status(pipes.status))
        self._saying = asyncio.create_task(self._read_stderr(pipes.stderr))
        self._pinning = asyncio.create_task(self._read_pin(pipes.pin))

    @property
    def keeper_pid(self) -> int:
        """The process that ends the server's tree."""
        return self._keeper.pid

    async def pin(self, *, deadline: float) -> bytes | None:
        """Return the line that the server wrote on its pin descriptor, None if it wrote none before `deadline`."""
        with anyio.move_on_after(deadline - anyio.current_time()):
            return await asyncio.shield(self._pin)
        return None

    def said(self) -> str:
        """Return the last line of the server's stderr, printable, at most 200 characters."""
        return last_line(bytes(self._stderr))

    async def obituary(self) -> str:
        """Say how the server ended. Waits a moment for that, and for its last words, which `said` returns."""
        with anyio.move_on_after(self._grace):
            await self.exited.wait()
        with anyio.move_on_after(0.2):
            await asyncio.wait([self._saying])
        match self.exit_code:
            case None:
                return "closed its output"
            case code if code < 0:
                return f"was killed by signal {-code}"
            case code:
                return f"exited with code {code}"

    async def started(self, name: str, cwd: str) -> None:
        """Wait until the server runs. Raises `UpstreamUnavailable`, one line, if it cannot."""
        report = await asyncio.shield(self._report)
        if "started" in report:
            self.pid, self.landlock = int(str(report["started"])), int(str(report["landlock"]))
            return
        number, name, cwd = int(str(report["failed"])), printable(name), printable(cwd)
        why = {2: "not found", 13: "not executable for this user"}.get(number, os.strerror(number))
        match report["step"]:
            case "exec":
                what, advice = f"cannot start '{name}': {why}", 'install it or correct "command" in the configuration'
            case "cwd":
                what = f"cannot enter the folder '{cwd}': {os.strerror(number)}"
                advice = 'correct "cwd" in the configuration'
            case step:
                with anyio.move_on_after(0.2):
                    await asyncio.wait([self._saying])
                what = f"cannot prepare '{name}' ({step}: {why}) {self.said()}"
                advice = "this is a fault of the gateway or the system, not of the server"
        raise UpstreamUnavailable(self.alias, what, advice)

    async def stop(self) -> None:
        """End the server and its whole tree: close its input, wait, SIGTERM, wait, SIGKILL. Safe to call twice."""
        with anyio.CancelScope(shield=True):
            if self._live < 0:
                await self._stopped.wait()
                return
            live, self._live = self._live, -1
            self.stdin.close()
            with anyio.move_on_after(self._grace):
                await self.exited.wait()
            with suppress(OSError):
                os.write(live, b"s")
            with anyio.move_on_after(self._grace + 5):  # longer only if someone hangs in the kernel
                await asyncio.wait([self._status])
            os.close(live)
            await self._release()
            self._stopped.set()

    async def _release(self) -> None:
        tasks = (self._status, self._saying, self._pinning)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for transport in self._transports:
            transport.close()
        if not self._pin.done():
            self._pin.set_result(None)
        for _ in range(100):  # its status pipe is closed, so it is about to be gone
            if self._keeper.poll() is not None:
                break
            await anyio.sleep(0.01)

    async def _read_status(self, status: asyncio.StreamReader) -> None:
        async for line in status:
            report = json.loads(line)
            if not self._report.done():
                self._report.set_result(report)
            if "exited" in report:
                self.exit_code = report["exited"]
                self.exited.set()
        if not self._report.done():
            self._report.set_result({"failed": 0, "step": "keeper"})
        self.exited.set()

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        while chunk := await stderr.read(READ_SIZE):
            self._stderr += chunk
            del self._stderr[:-STDERR_KEPT]

    async def _read_pin(self, pin: asyncio.StreamReader) -> None:
        try:
            self._pin.set_result((await pin.readuntil(b"\n"))[:-1])
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self._pin.set_result(None)
