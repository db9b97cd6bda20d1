"""The supervisor's end: starts sandboxes through a fork server, and learns from the kernel how they ended."""

import hashlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from servers.interpreter import inherited
from servers.tee.process import Exit, Spec, boot, cgroups, wire
from servers.tee.sandbox import SandboxError

_START_SECONDS = 60.0
_BUILD_SECONDS = 30.0
_END_SECONDS = 30.0
_RECYCLE = 500
# Threads of a numerical library would not survive the clone, and each arena takes 64 MiB of address space. There is
# nothing else in the fork server's environment.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
_INTERPRETER = os.path.realpath(sys.executable)  # a version manager's stub would take ten times as long to start
_LOST = "the fork server of the process sandbox ended during the call: try again; the next call starts a new one"


@dataclass(eq=False)
class _Server:
    """One fork server. Owned by its `Launcher`; `running` also by `Launcher.start`."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    hello: Mapping[str, Any]
    started: int = 0
    running: int = 0
    retired: bool = False


@dataclass(eq=False)
class Running:
    """A sandbox that was built and is running."""

    pid: int
    """For people. To signal it use `kill`, which cannot hit another process."""
    pidfd: int
    listener: socket.socket | None
    """On 127.0.0.1:3128 inside, not blocking. Closed with the sandbox."""
    _control: socket.socket
    _exit: Exit | None = field(default=None)  # set once by `wait`
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    def kill(self) -> None:
        """End all its processes at once."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def wait(self) -> Exit:
        """How it ended. Raises `SandboxError` if the fork server ended first, or the program could not be run."""
        async with self._lock:
            if self._exit is None:
                message, _ = await _expect(self._control)
                failed = message.get("failed")
                if failed is not None:
                    raise SandboxError(f"the program cannot be run in the sandbox: {failed}")
                self._exit = Exit(
                    message["exit"], message["wall"], message["cpu"], message["peak"], message["out_of_memory"]
                )
            return self._exit


class Launcher:
    """Starts sandboxes. An async context manager; leaving it ends all that it started.

    `packages` are directories of Python packages that jobs may import, `warm` modules (of the standard library or of
    these) that are imported once, ahead. `uid` is the user that sandboxes run as outside, where this process is root;
    otherwise they run as its own user. A fork server is replaced after `recycle` starts, since all that it clones has
    one layout of memory.
    """

    def __init__(
        self,
        packages: tuple[Path, ...] = (),
        warm: tuple[str, ...] = (),
        *,
        uid: int = 65534,
        recycle: int = _RECYCLE,
    ) -> None:
        if uid == 0:
            raise ValueError("a sandbox cannot run as the superuser: name an unprivileged uid")
        self._settings = {"packages": [str(path.resolve()) for path in packages], "warm": list(warm), "uid": uid}
        self._recycle = recycle
        self._server: _Server | None = None  # the one that new sandboxes come from; owned by `_ready` and `_retire`
        self._servers: set[_Server] = set()  # with those that still have sandboxes running
        self._starting = anyio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the fork servers and with them every sandbox."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            for server in list(self._servers):
                await self._end(server)

    async def hello(self) -> Mapping[str, Any]:
        """What is possible here, as the fork server found it: see `python.environment`. Raises `SandboxError`."""
        return (await self._ready()).hello

    @asynccontextmanager
    async def start(self, spec: Spec, stdin: int, stdout: int, stderr: int, extra: int = -1) -> AsyncGenerator[Running]:
        """Build a sandbox and run in it what `spec` names; leaving the context kills it and waits for its end.

        The descriptors become the program's standard streams; they stay the caller's to close. `extra` is
        where Python's answer goes. Raises `SandboxError`, which says what was missing.
        """
        sealed = -1
        if spec.program is not None:
            sealed = extra = await anyio.to_thread.run_sync(_sealed, spec.program, spec.program_sha256)
        try:
            async with self._borrowed() as server:
                running = await self._launch(server, spec, [stdin, stdout, stderr], extra)
                try:
                    yield running
                finally:
                    with anyio.CancelScope(shield=True):
                        running.kill()
                        with anyio.move_on_after(_END_SECONDS), suppress(SandboxError):
                            await running.wait()
                        _close(running)
        finally:
            if sealed >= 0:
                os.close(sealed)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncGenerator[_Server]:
        """The server for one sandbox, alive until that has ended."""
        server = await self._ready()
        server.started += 1
        server.running += 1
        if server.started >= self._recycle:
            self._retire(server)
        try:
            yield server
        finally:
            server.running -= 1
            if server.retired and not server.running:
                with anyio.CancelScope(shield=True):
                    await self._end(server)

    async def _launch(self, server: _Server, spec: Spec, stdio: list[int], extra: int) -> Running:
        if not server.hello["namespaces"] and (spec.argv or spec.mounts):
            raise SandboxError(
                f"this sandbox needs Linux namespaces, which are refused here ({server.hello['refused']}): "
                "programs that start others, mounts and network access cannot be confined without them"
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        packed = -1
        pidfd = -1
        try:
            packed = wire.pack(spec)
            message = {"memory_bytes": spec.bounds.memory_bytes, "processes": spec.bounds.processes}
            descriptors = [theirs.fileno(), *stdio, packed, *([extra] if extra >= 0 else [])]
            await self._send(server, message, descriptors)
            theirs.close()
            with anyio.fail_after(_BUILD_SECONDS):
                born, opened = await _expect(ours)
                if "failed" in born:
                    raise SandboxError(f"the sandbox cannot be built: {born['failed']}")
                pidfd = opened[0]
                built, opened = await _expect(ours)
            if "ready" not in built:
                killed = "it was killed from outside before it was ready: try again"
                raise SandboxError(f"the sandbox cannot be built: {built.get('failed', killed)}")
            listener = None
            if opened:
                listener = socket.socket(fileno=opened[0])
                listener.setblocking(False)
            return Running(born["pid"], pidfd, listener, ours)
        except BaseException as e:
            if pidfd >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
            ours.close()
            if isinstance(e, TimeoutError):
                raise SandboxError(
                    f"the sandbox was not built in {_BUILD_SECONDS:g} s: the machine is overloaded"
                ) from e
            raise
        finally:
            theirs.close()
            if packed >= 0:
                os.close(packed)

    async def _send(self, server: _Server, message: Mapping[str, Any], descriptors: list[int]) -> None:
        while True:
            try:
                wire.send(server.channel, message, descriptors)
            except BlockingIOError:
                await anyio.wait_writable(server.channel)
            except OSError as e:
                self._retire(server)
                raise SandboxError(_LOST) from e
            else:
                return

    async def _ready(self) -> _Server:
        async with self._starting:
            if self._closed:
                raise SandboxError("the process sandbox is closed: open it again to run programs")
            if self._server is not None and self._server.process.poll() is not None:
                self._retire(self._server)
            if self._server is None:
                for dead in [server for server in self._servers if server.process.poll() is not None]:
                    await self._end(dead)
                self._server = await self._boot()
            return self._server

    async def _boot(self) -> _Server:
        if sys.platform != "linux":
            raise SandboxError("the process tier needs Linux: use the wasm tier on this system")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [_INTERPRETER, "-I", "-S", "-X", "utf8", *inherited(), boot.__file__, str(theirs.fileno())]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220  waits for the exec only
                command,
                pass_fds=[theirs.fileno()],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,  # for a failed start; later it says nothing
                start_new_session=True,  # a Control-C is for the supervisor, which ends it in order
            )
        except OSError as e:
            ours.close()
            raise SandboxError(f"cannot start {command[0]} as the fork server: {e.strerror}") from e
        finally:
            theirs.close()
        ours.setblocking(False)
        server = _Server(process, ours, {})
        self._servers.add(server)
        try:
            with anyio.fail_after(_START_SECONDS):
                wire.send(ours, self._settings | {"tag": secrets.token_hex(4)})
                server.hello, _ = await _expect(ours)
        except (TimeoutError, SandboxError, OSError) as e:
            process.kill()
            words = await self._end(server) or type(e).__name__
            raise SandboxError(f"the fork server of the process sandbox does not start: {words}") from e
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._end(server)
            raise
        if "error" in server.hello:
            await self._end(server)
            raise SandboxError(f"the process sandbox cannot work here: {server.hello['error']}")
        return server

    def _retire(self, server: _Server) -> None:
        server.retired = True
        if self._server is server:
            self._server = None

    async def _end(self, server: _Server) -> str:
        """End a fork server and what it started, and clear what it could not. Its last words, if it had any."""
        self._retire(server)
        self._servers.discard(server)
        server.channel.close()
        try:
            await anyio.to_thread.run_sync(server.process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            server.process.kill()
            await anyio.to_thread.run_sync(server.process.wait)
        folders = [Path(name) for name in server.hello.get("folders", ())]
        for _ in range(1000):  # ten seconds: what it had started is being killed by the kernel
            if cgroups.remove(folders):
                break
            await anyio.sleep(0.01)
        return _last_words(server.process)


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """The last line of an ended process' standard error, which is closed; empty if that was read before."""
    if process.stderr is None or process.stderr.closed:
        return ""
    with process.stderr as stderr:
        return stderr.read().decode("utf-8", "replace").strip().rpartition("\n")[2]


async def _expect(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message. Raises `SandboxError` where the fork server is gone."""
    while True:
        try:
            message = wire.receive(channel)
        except BlockingIOError:
            await anyio.wait_readable(channel)
            continue
        except OSError as e:
            raise SandboxError(_LOST) from e
        if message is None:
            raise SandboxError(_LOST)
        return message


def _close(running: Running) -> None:
    for closing in (running.listener, running._control):  # pyright: ignore[reportPrivateUsage]
        if closing is not None:
            closing.close()
    os.close(running.pidfd)


def _sealed(path: Path, sha256: str) -> int:
    """A copy of a file that nobody can change any more. Raises `SandboxError` if it is not the one that was meant."""
    import fcntl  # noqa: PLC0415  this module is imported on every system

    found = hashlib.sha256()
    copy = os.memfd_create(path.name[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with path.open("rb") as source:
            while block := source.read(1 << 20):
                found.update(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(copy, view) :]
        if found.hexdigest() != sha256:
            raise SandboxError(f"{path} is not the program that was meant: its SHA-256 is {found.hexdigest()}")
        os.fchmod(copy, 0o555)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    except OSError as e:
        os.close(copy)
        raise SandboxError(f"cannot read {path}: {e.strerror}") from e
    except BaseException:
        os.close(copy)
        raise
    return copy
