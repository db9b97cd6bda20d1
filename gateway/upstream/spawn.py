"""Start a stdio server under its keeper, with a clean environment.

The keeper (`keeper.py`) is what makes the promise that nothing of the server's process tree outlives the gateway.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from gateway.upstream import UpstreamUnavailable, printable
from gateway.upstream.child import READ_SIZE, Child, Pipes

KEEPER = str(Path(__file__).with_name("keeper.py"))
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM")
PIN_LIMIT = 4096


@dataclass(frozen=True)
class Command:
    """What to start. `environ` is the gateway's environment; of it only `INHERITED` reaches the server, then `env`."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str = "."
    hidden: Sequence[str] = ()
    """Directories whose files the server must not reach (Linux with Landlock; see `Child.landlock`)."""
    pin: bool = False
    """Give it a descriptor, named by ETMCP_PIN_FD, to write its key on: see `Child.pin`."""
    grace: float = 2.0
    """Seconds between closing its input, SIGTERM and SIGKILL, each."""


def clean_environment(environ: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: the few variables every program needs, and what its configuration names."""
    inherited = {name: environ[name] for name in INHERITED if name in environ}
    return {name: value for name, value in inherited.items() if not value.startswith("()")} | dict(env)


async def spawn(alias: str, command: Command) -> Child:
    """Start a server. Raises `UpstreamUnavailable` when it cannot be started.

    Call it from a thread that lives as long as the server may: the kernel ends the keeper with that thread.
    """
    if sys.platform == "win32":
        raise UpstreamUnavailable(alias, "stdio servers need Linux or macOS", "use its HTTP transport")
    launching = asyncio.create_task(_launch(alias, command))
    try:
        child = await asyncio.shield(launching)
    except asyncio.CancelledError:  # half a launch would leak the process
        with anyio.CancelScope(shield=True), suppress(UpstreamUnavailable):
            await (await launching).stop()
        raise
    try:
        await child.started(command.argv[0], command.cwd)
    except BaseException:  # cancelled too: the child must not stay
        await child.stop()
        raise
    return child


async def _launch(alias: str, command: Command) -> Child:
    stdin_read, stdin = os.pipe()
    stdout, stdout_write = os.pipe()
    stderr, stderr_write = os.pipe()
    status, status_write = os.pipe()
    pin, pin_write = os.pipe()
    live_read, live = os.pipe()
    passed = (live_read, status_write, *([pin_write] if command.pin else []))
    numbers = [str(n) for n in (live_read, status_write, pin_write if command.pin else -1, os.getpid())]
    hidden = [str(len(command.hidden)), *command.hidden]
    environment = clean_environment(command.environ, command.env)
    try:
        keeper = subprocess.Popen(  # noqa: ASYNC220 - a millisecond, and asyncio's own does the same
            [sys.executable, "-I", "-S", KEEPER, *numbers, str(command.grace), command.cwd, *hidden, *command.argv],
            stdin=stdin_read,
            stdout=stdout_write,
            stderr=stderr_write,
            pass_fds=passed,
            env={f"child.{name}": value for name, value in environment.items()},
            start_new_session=True,  # Ctrl-C in a terminal is for the gateway alone
        )
    except (OSError, ValueError) as error:
        for fd in (stdin, stdout, stderr, status, pin, live):
            os.close(fd)
        what = f"cannot be started: {printable(str(error))}"
        raise UpstreamUnavailable(alias, what, "check its entry in the configuration") from error
    finally:
        for fd in (stdin_read, stdout_write, stderr_write, status_write, pin_write, live_read):
            os.close(fd)
    transports: list[asyncio.BaseTransport] = []
    pipes = Pipes(
        await _writer(stdin, transports),
        await _reader(stdout, READ_SIZE, transports),
        await _reader(stderr, READ_SIZE, transports),
        await _reader(status, READ_SIZE, transports),
        await _reader(pin, PIN_LIMIT, transports),
        transports,
        live,
    )
    return Child(alias, keeper, pipes, command.grace)


async def _reader(fd: int, limit: int, transports: list[asyncio.BaseTransport]) -> asyncio.StreamReader:
    stream = asyncio.StreamReader(limit)
    pipe = os.fdopen(fd, "rb", buffering=0)  # closed by the transport
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    transports.append(transport)
    return stream


async def _writer(fd: int, transports: list[asyncio.BaseTransport]) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(fd, "wb", buffering=0)  # closed by the transport
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
    transports.append(transport)
    return asyncio.StreamWriter(transport, protocol, None, loop)
