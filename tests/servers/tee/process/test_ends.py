"""Whatever is killed, calls in flight get a clear error, the next one works, and nothing is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from servers.tee.process import Spec
from servers.tee.process.box import build
from servers.tee.process.launcher import Launcher
from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job, Limits, SandboxError

pytestmark = pytest.mark.anyio

CALLS = 60
LONG = Job("import time; print('on', flush=True); time.sleep(600)", limits=Limits(wall_seconds=600))


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ours(pid: int) -> bool:
    return b"boot.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


def fork_servers() -> list[int]:
    return [pid for pid in children(os.getpid()) if ours(pid)]


def control_groups(server: int) -> list[str]:
    """Those below the folders of a fork server, and these folders."""
    return [str(path) for path in Path("/sys/fs/cgroup").rglob(f"etmcp-{server}-*/**")]


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not true():  # noqa: ASYNC110  another process does it, and tells nobody
            await anyio.sleep(0.01)


def held() -> tuple[int, int]:
    """Descriptors and mounts of this process."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return len(list(Path("/proc/self/fd").iterdir())), len(mounts)


async def test_a_killed_fork_server_is_replaced() -> None:
    before = set(fork_servers())
    failed: list[str] = []
    sandboxes: list[int] = []
    async with ProcessSandbox(parked=2) as sandbox:
        await sandbox.prepare()
        (server,) = set(fork_servers()) - before

        async def call() -> None:
            try:
                await sandbox.run(LONG)
            except SandboxError as e:
                failed.append(str(e))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)
            await until(lambda: len(children(server)) >= 3)
            sandboxes += [os.pidfd_open(pid) for pid in children(server)]
            os.kill(server, signal.SIGKILL)
        assert len(failed) == 3
        assert all("try again" in text for text in failed)
        assert (await sandbox.run(Job("1"))).value == 1
    for pidfd in sandboxes:
        await anyio.wait_readable(pidfd)  # each is dead
        os.close(pidfd)
    assert set(fork_servers()) == before


async def test_a_killed_sandbox_is_an_error_of_its_call_alone() -> None:
    before = set(fork_servers())
    failed: list[str] = []
    async with ProcessSandbox() as sandbox:
        await sandbox.prepare()
        (server,) = set(fork_servers()) - before

        async def call() -> None:
            try:
                await sandbox.run(LONG)
            except SandboxError as e:
                failed.append(str(e))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: len(children(server)) == 1)
            assert (await sandbox.run(Job("2"))).value == 2
            (victim,) = children(server)
            os.kill(victim, signal.SIGKILL)
        assert len(failed) == 1
        assert (await sandbox.run(Job("1"))).value == 1
        assert set(fork_servers()) - before == {server}


async def test_a_parked_sandbox_that_was_killed_is_passed_over() -> None:
    before = set(fork_servers())
    async with ProcessSandbox(parked=2) as sandbox:
        await sandbox.prepare()
        (server,) = set(fork_servers()) - before
        await until(lambda: len(children(server)) == 2)
        for pid in children(server):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not children(server))
        assert (await sandbox.run(Job("1"))).value == 1


SUPERVISOR = """
import anyio, os, sys
from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job, Limits

async def main():
    async with ProcessSandbox(parked=1) as sandbox:
        await sandbox.prepare()
        print(os.getpid(), flush=True)
        await sandbox.run(Job("import time; time.sleep(600)", limits=Limits(wall_seconds=600)))

anyio.run(main)
"""


async def test_nothing_outlives_a_killed_supervisor(python_path: str) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, env={"PYTHONPATH": python_path}
    )
    assert process.stdout is not None
    assert await anyio.to_thread.run_sync(process.stdout.readline)
    (server,) = children(process.pid)
    await until(lambda: len(children(server)) >= 1)
    watched = [os.pidfd_open(pid) for pid in (server, *children(server))]
    process.kill()
    process.wait()
    process.stdout.close()
    for pidfd in watched:
        await anyio.wait_readable(pidfd)
        os.close(pidfd)
    assert not control_groups(server)


async def test_many_calls_leave_nothing() -> None:
    before = set(fork_servers())
    async with Launcher(recycle=CALLS // 4) as launcher:
        await launcher.hello()
        first = held()

        async def some() -> None:
            for _ in range(CALLS // 4):
                box = await build(launcher, Spec().bounds)
                await box.aclose()

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(some)
        await launcher.hello()
        assert held() == first
        (server,) = set(fork_servers()) - before
        assert not children(server)
        await until(lambda: not [path for path in control_groups(server) if Path(path).name.startswith("c")])
    assert set(fork_servers()) == before


async def test_leaving_ends_what_still_runs() -> None:
    before = set(fork_servers())
    sandbox = ProcessSandbox()
    async with anyio.create_task_group() as tasks:
        async with sandbox:
            await sandbox.prepare()
            (server,) = set(fork_servers()) - before

            async def call() -> None:
                with pytest.raises(SandboxError):
                    await sandbox.run(LONG)

            tasks.start_soon(call)
            await until(lambda: len(children(server)) == 1)
            sandboxed = os.pidfd_open(children(server)[0])
        await anyio.wait_readable(sandboxed)
        os.close(sandboxed)
    with pytest.raises(SandboxError, match="is closed"):
        await sandbox.run(Job("1"))
    assert set(fork_servers()) == before
