"""The second wall: a worker's process can open, connect, start and make executable nothing, and says so or says why."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from servers.tee.sandbox import Job, SandboxError, lock, pool
from servers.tee.sandbox.wasm import WasmSandbox

LOCKED = pytest.mark.skipif(
    lock.promised()["seccomp"].startswith("none"), reason=f"no lock here: {lock.promised()['seccomp']}"
)

# What a program could try that has broken out of WebAssembly and runs machine code of its own. A thread that was there
# before the lock tries too.
BROKEN_OUT = """
import ctypes, errno, json, mmap, os, socket, sys, threading
from servers.tee.sandbox import lock
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
page = libc.mmap(None, 4096, 3, 0x22, -1, 0)
go, done, told = threading.Event(), threading.Event(), []
def call(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    return "done" if result not in (-1, 2**64 - 1) else errno.errorcode[ctypes.get_errno()]
def attempts():
    path = os.fsencode(sys.argv[1])
    return {
        "open to read": call("open", b"/etc/hostname", 0),
        "open to write": call("open", path, 0o101, 0o600),
        "socket": call("socket", 2, 1, 0),
        "socketpair": call("socketpair", 1, 1, 0, (ctypes.c_int * 2)()),
        "fork": call("fork"),
        "exec": call("execve", b"/bin/true", None, None),
        "code by mmap": call("mmap", None, 4096, 7, 0x22, -1, 0),
        "code by mprotect": call("mprotect", ctypes.c_void_p(page), 4096, 5),
        "memfd": call("memfd_create", b"x", 0),
        "kill": call("kill", os.getppid(), 0),
        "ptrace": call("ptrace", 16, os.getppid(), 0, 0),
        "unlink": call("unlink", path),
        "prctl": call("prctl", 15, b"x", 0, 0, 0),
        "unshare": call("unshare", 0x10000000),
        "dup": call("dup", 0),
        "data by mmap": call("mmap", None, 4096, 3, 0x22, -1, 0),
    }
def other():
    go.wait()
    told.append(attempts())
    done.set()
threading.Thread(target=other, daemon=True).start()
promise = lock.promised()
lock.close_files()
lock.lock(promise)
told.append(attempts())
go.set()
done.wait()
try:
    threading.Thread(target=print).start()
    told[0]["thread"] = "done"
except RuntimeError:
    told[0]["thread"] = "refused"
os.write(1, (json.dumps(told) + "\\n").encode())
os._exit(0)
"""


def _attempts(tmp_path: Path) -> list[dict[str, str]]:
    command = [sys.executable, "-c", BROKEN_OUT, str(tmp_path / "file")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@LOCKED
def test_the_lock_refuses_each_way_out(tmp_path: Path) -> None:
    locked, other = _attempts(tmp_path)
    assert locked.pop("thread") == "refused"
    for told in (locked, other):
        assert told.pop("data by mmap") == "done"
        assert set(told.values()) <= {"EPERM", "EACCES", "ENOSYS"}, told
    assert not (tmp_path / "file").exists()


@LOCKED
def test_without_the_lock_the_same_attempts_succeed(tmp_path: Path) -> None:
    """So that the test above is known to bite. Less those that would not come back, or would stop this test."""
    lines = BROKEN_OUT.splitlines()
    kept = [line for line in lines if not line.strip().startswith(('"fork":', '"exec":', '"ptrace":', "lock."))]
    command = [sys.executable, "-c", "\n".join(kept), str(tmp_path / "file")]
    told, _ = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    for name in ("open to read", "open to write", "socket", "code by mmap", "code by mprotect", "memfd", "unlink"):
        assert told[name] == "done", name


@LOCKED
@pytest.mark.anyio
async def test_a_worker_is_locked_before_it_takes_a_job(sandbox: WasmSandbox) -> None:
    assert (await sandbox.run(Job("1"))).value == 1
    for pid in sandbox.processes:
        for task in Path(f"/proc/{pid}/task").iterdir():  # noqa: ASYNC240
            status = (task / "status").read_text("ascii")
            assert "Seccomp:\t2" in status
            assert "NoNewPrivs:\t1" in status


@pytest.mark.anyio
async def test_the_environment_says_how_a_worker_is_locked(sandbox: WasmSandbox) -> None:
    told = sandbox.environment
    assert {name: told[name] for name in ("seccomp", "landlock")} == dict(lock.promised())
    if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64"):
        assert told["seccomp"].startswith("sha256:")


def test_a_system_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert set(lock.promised().values()) == {"none: Darwin does not have it"}


@LOCKED
def test_a_machine_without_a_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert lock.promised()["seccomp"].startswith("none: no system call table for riscv64")


@pytest.mark.anyio
@pytest.mark.parametrize("part", ["seccomp", "landlock"])
async def test_a_worker_with_another_lock_than_promised_is_not_used(
    component_cache: Path, sandbox: WasmSandbox, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """As when the supervisor's code is not the worker's, or the two see different kernels."""
    await anyio.lowlevel.checkpoint()

    def other() -> dict[str, str]:
        return {"seccomp": "none: x", "landlock": "none: x"} | {part: "sha256:00"}

    monkeypatch.setattr(pool.lock, "promised", other)
    async with WasmSandbox(component_cache) as second:
        with pytest.raises(SandboxError, match="cannot be locked"):
            await second.run(Job("1"))
        assert second.processes == []
