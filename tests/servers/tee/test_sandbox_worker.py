"""Workers die, hang and are cancelled: each time one call pays for it, and the next one works."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from servers.tee.sandbox import Job, Limits, SandboxError, wasm
from servers.tee.sandbox.wasm import WasmSandbox

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks at processes through /proc"),
]

ENDLESS = Job("while True: pass", limits=Limits(fuel=10**15, wall_seconds=60))


def _children() -> set[int]:
    """Process ids of our direct children."""
    me = os.getpid()
    return {int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text("ascii").split()}


async def _worker(sandbox: WasmSandbox) -> int:
    while not (found := sandbox.processes):  # noqa: ASYNC110  another process has no event for us
        await anyio.sleep(0.01)
    return found[0]


async def test_the_wall_deadline_stops_a_program(sandbox: WasmSandbox) -> None:
    outcome = await sandbox.run(Job("while True: pass", limits=Limits(fuel=10**15, wall_seconds=0.2)))
    assert outcome.status == "deadline"
    assert outcome.error is not None
    assert "0.2 s" in outcome.error.message
    assert (await sandbox.run(Job("1"))).status == "ok"


async def test_a_worker_that_does_not_answer_is_replaced(
    component_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm, "_GRACE_SECONDS", 0.2)
    before = _children()
    async with WasmSandbox(component_cache) as sandbox:
        await sandbox.prepare(lambda _: None)
        stopped = await _worker(sandbox)
        os.kill(stopped, signal.SIGSTOP)
        outcome = await sandbox.run(Job("1", limits=Limits(wall_seconds=0.1)))
        assert outcome.status == "deadline"
        assert stopped not in _children()
        assert (await sandbox.run(Job("1"))).status == "ok"
    assert _children() == before


def _worked(pid: int) -> int:
    """The processor time of a process so far, in ticks."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times))


async def test_a_worker_killed_during_a_call(component_cache: Path) -> None:
    async with WasmSandbox(component_cache) as sandbox:
        await sandbox.prepare(lambda _: None)
        worker = await _worker(sandbox)

        async def killer() -> None:
            before = _worked(worker)
            while _worked(worker) == before:  # noqa: ASYNC110  killed any earlier, it would not be given the call
                await anyio.sleep(0.01)
            os.kill(worker, signal.SIGKILL)

        async with anyio.create_task_group() as group:
            group.start_soon(killer)
            with pytest.raises(SandboxError, match="signal 9"):
                await sandbox.run(ENDLESS)
        assert (await sandbox.run(Job("1"))).status == "ok"


async def test_a_worker_killed_between_calls_goes_unnoticed(component_cache: Path) -> None:
    async with WasmSandbox(component_cache) as sandbox:
        await sandbox.prepare(lambda _: None)
        worker = await _worker(sandbox)
        os.kill(worker, signal.SIGKILL)
        while worker in _children():  # noqa: ASYNC110  the same
            await anyio.sleep(0.01)
        assert (await sandbox.run(Job("1"))).status == "ok"


async def test_cancelling_a_call_ends_its_program(component_cache: Path) -> None:
    async with WasmSandbox(component_cache) as sandbox:
        await sandbox.prepare(lambda _: None)
        worker = await _worker(sandbox)
        with anyio.move_on_after(0.1) as scope:
            await sandbox.run(ENDLESS)
        assert scope.cancelled_caught
        assert worker not in _children()
        assert (await sandbox.run(Job("1"))).status == "ok"


async def test_calls_run_side_by_side_up_to_the_number_of_workers(component_cache: Path) -> None:
    before = _children()
    async with WasmSandbox(component_cache, workers=2) as sandbox:
        results: list[int] = []

        async def call(number: int) -> None:
            results.append((await sandbox.run(Job("n", {"n": number}))).value)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(call, number)
        assert sorted(results) == list(range(10))
        assert len(_children() - before) == 2
    assert _children() == before


async def test_a_worker_has_no_environment_and_no_file_of_ours(
    component_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TEST", "1")
    with (tmp_path / "open").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        async with WasmSandbox(component_cache) as sandbox:
            await sandbox.prepare(lambda _: None)
            worker = await _worker(sandbox)
            process = Path(f"/proc/{worker}")
            assert (process / "environ").read_bytes() == b""
            targets = [os.readlink(fd) for fd in (process / "fd").iterdir()]  # noqa: PTH115
            assert not [target for target in targets if str(tmp_path) in target]
            status = (process / "status").read_text("ascii")
            assert "NoNewPrivs:\t1" in status


SUPERVISOR = """
import anyio, sys
from pathlib import Path
from servers.tee.sandbox import Job, Limits
from servers.tee.sandbox.wasm import WasmSandbox
async def main():
    async with WasmSandbox(Path(sys.argv[1])) as sandbox:
        await sandbox.prepare(lambda _: None)
        print(*sandbox.processes, flush=True)
        await sandbox.run(Job("while True: pass", limits=Limits(fuel=10**15, wall_seconds=600)))
anyio.run(main)
"""


async def test_workers_do_not_outlive_a_killed_supervisor(component_cache: Path) -> None:
    async with await anyio.open_process([sys.executable, "-c", SUPERVISOR, str(component_cache)]) as supervisor:
        assert supervisor.stdout is not None
        worker = Path("/proc") / (await supervisor.stdout.receive()).decode().strip()
        supervisor.kill()
    with anyio.fail_after(30):
        while await anyio.Path(worker / "exe").exists():  # a zombie has none  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_a_closed_sandbox_says_so(component_cache: Path) -> None:
    async with WasmSandbox(component_cache) as sandbox:
        pass
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.run(Job("1"))
