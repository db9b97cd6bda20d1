"""No process of a server's tree survives its connection, nor the gateway, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.upstream.keeper import landlock_version
from gateway.upstream.spawn import Command, spawn
from gateway.upstream.stdio import open_stdio

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="the tree is kept on Linux only")]
PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parents[3]
FAMILY = 6  # processes of family.py that note themselves


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def arrived(file: Path, number: int = FAMILY) -> list[int]:
    with anyio.fail_after(10):
        while not file.exists() or len(file.read_text().splitlines()) < number:  # noqa: ASYNC110, ASYNC240 - other processes have no events
            await anyio.sleep(0.01)
    return [int(line) for line in file.read_text().splitlines()]  # noqa: ASYNC240


async def gone(pids: list[int], seconds: float) -> None:
    with anyio.fail_after(seconds):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110 - other processes have no events
            await anyio.sleep(0.01)


def family(file: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(PEERS / "family.py"), str(file), *arguments]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_nothing_survives_the_gateway(tmp_path: Path, number: signal.Signals) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PEERS / "host.py"), *family(tmp_path / "pids")]
    async with await anyio.open_process(command, env=environ, stderr=subprocess.DEVNULL) as gateway:
        assert gateway.stdout
        keeper = int((await gateway.stdout.receive()).split()[0])
        pids = await arrived(tmp_path / "pids")
        assert all(map(alive, pids))
        gateway.send_signal(number)
        await gone([*pids, keeper], 2)  # at once: no grace for the tree of a gateway that is gone
        await gateway.wait()


async def test_stop_ends_what_ignores_sigterm_after_the_grace(tmp_path: Path) -> None:
    child = await spawn("family", Command(family(tmp_path / "pids"), os.environ, grace=0.2))
    pids = await arrived(tmp_path / "pids")
    await child.stop()
    assert not any(map(alive, [*pids, child.keeper_pid]))
    await child.stop()


async def test_a_server_that_exits_leaves_no_descendants(tmp_path: Path) -> None:
    transport = await open_stdio("family", Command(family(tmp_path / "pids", "leaves"), os.environ, grace=0.2))
    pids = await arrived(tmp_path / "pids")
    transport.child.stdin.close()
    await gone(pids, 5)
    assert transport.child.exit_code == 0
    await transport.aclose()


async def test_the_server_dies_with_its_keeper(tmp_path: Path) -> None:
    child = await spawn("cat", Command(["cat"], os.environ))
    os.kill(child.keeper_pid, signal.SIGKILL)
    await gone([child.pid], 2)
    assert await child.obituary() == "closed its output"
    await child.stop()


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    for delay in (0, 0.001, 0.005, 0.012, 0.02):
        with anyio.move_on_after(delay):
            child = await spawn("family", Command(family(file, "leaves"), os.environ, grace=0))
            await child.stop()
    pids = [int(line) for line in file.read_text().splitlines()] if file.exists() else []
    assert not any(map(alive, pids))


async def test_no_descriptor_leaks() -> None:
    async def once() -> None:
        await (await spawn("cat", Command(["cat"], os.environ))).stop()

    await once()
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    for _ in range(5):
        await once()
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208


async def run(script: str, **options: Any) -> tuple[str, int]:
    """Run a shell script as a server; return what it printed and the Landlock version that held it."""
    child = await spawn("sh", Command(["sh", "-c", script], os.environ, grace=0.2, **options))
    with anyio.fail_after(10):
        printed = await child.stdout.read()
    await child.stop()
    return printed.decode(), child.landlock


async def test_signals_and_descriptors_of_the_server_are_as_after_a_login() -> None:
    printed, _ = await run("grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd")
    _, blocked, _, ignored, *descriptors = printed.split()
    # 32 and up are the C library's own and cannot be set; whoever started us may have left them ignored.
    assert int(blocked, 16) & 0x7FFF_FFFF == int(ignored, 16) & 0x7FFF_FFFF == 0
    assert descriptors == ["0", "1", "2", "3"]  # 3: of ls itself


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
async def test_hidden_folders_cannot_be_reached_and_everything_else_can(tmp_path: Path) -> None:
    hidden, beside = tmp_path / "data" / "etmcp", tmp_path / "data" / "beside"
    (hidden / "keys").mkdir(parents=True)
    beside.mkdir()
    (hidden / "keys" / "k").write_text("secret")
    (beside / "b").write_text("open\n")
    (tmp_path / "data" / "link").symlink_to(hidden)
    script = f"""
        cd {tmp_path}/data
        cat etmcp/keys/k link/keys/k beside/../etmcp/keys/k /proc/self/root{hidden}/keys/k
        mv etmcp moved; mv etmcp/keys/k beside/k; ln etmcp/keys/k beside/l; rm etmcp/keys/k; echo x > etmcp/new
        rmdir etmcp; echo x > etmcp/keys/k; cp etmcp/keys/k beside/c; (setsid cat etmcp/keys/k)
        cat beside/b; echo new > beside/n; mv beside/n beside/m; cat beside/m; mkdir beside/d; mv beside/m beside/d/
        ls beside/d; date > /dev/null && echo runs
    """
    printed, version = await run(script, hidden=[str(hidden), str(hidden / "keys")])
    assert version > 0
    assert printed.split() == ["open", "new", "m", "runs"]
    assert (hidden / "keys" / "k").read_text() == "secret"
    assert sorted(path.name for path in beside.iterdir()) == ["b", "d"]
    assert [path.name for path in hidden.iterdir()] == ["keys"]


@pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
async def test_the_memory_of_the_gateway_is_out_of_reach_and_the_keeper_still_kills(tmp_path: Path) -> None:
    gateway = f"/proc/{os.getpid()}"  # its environ too, except for root, who has CAP_PERFMON
    script = f"readlink {gateway}/cwd; (exec 3<{gateway}/mem) && echo opened"
    assert (await run(script))[0].split() == [str(Path.cwd()), "opened"]
    assert (await run(script, hidden=[str(tmp_path)]))[0] == ""
    child = await spawn("family", Command(family(tmp_path / "pids"), os.environ, grace=0.1, hidden=["/root/nothing"]))
    pids = await arrived(tmp_path / "pids")
    await child.stop()
    assert not any(map(alive, pids))
