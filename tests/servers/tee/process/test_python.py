"""Python in the process tier: what a program sees, what it cannot reach, and where it is stopped."""

from typing import Any

import anyio
import pytest

from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job, Limits, Outcome, SandboxError

pytestmark = pytest.mark.anyio

SHORT = Limits(wall_seconds=3, cpu_seconds=1)

VALUES: list[tuple[str, Any]] = [
    ("def main(x): return x + 1", 42),
    ("x * 2", 82),
    ("y = x", None),
    ("import sys; sys.exit()", None),
    ("(1, (2,))", [1, [2]]),
    ("2 ** 200", 2**200),
    ("open('data.csv').read()", "a,b\n1,2\n"),
    ("open('/work/sub/x.json').read()", '{"k": 1}'),
    ("import os; os.getuid(), os.getpid(), os.environ['LANG']", [1000, 1, "C.UTF-8"]),
    ("import os; sorted(p for p in os.listdir('/proc') if p.isdigit())", ["1"]),
    ("import os; sorted(os.listdir('/dev'))",
     ["fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"]),
    ("import socket; socket.gethostname()", "sandbox"),
    ("import sqlite3; c = sqlite3.connect('x'); c.execute('create table t(a)'); c.execute('select 1').fetchone()", [1]),
    ("import os; sorted(map(int, os.listdir('/proc/self/fd')))[:4]", [0, 1, 2, 3]),
    ("import sys; sys.stdin.read()", ""),
    ("import threading as t; a = t.Thread(target=print, args=('hi',)); a.start(); a.join(); 1", 1),
    ("open('/dev/null', 'w').write('x')", 1),
    ("import tempfile; f = tempfile.TemporaryFile(); f.write(b'x')", 1),
]  # fmt: skip


@pytest.mark.parametrize(("code", "value"), VALUES)
async def test_values(native: ProcessSandbox, code: str, value: Any) -> None:
    files = {"data.csv": b"a,b\n1,2\n", "sub/x.json": b'{"k": 1}'}
    outcome = await native.run(Job(code, {"x": 41}, files))
    assert outcome.error is None
    assert (outcome.status, outcome.value) == ("ok", value)
    assert outcome.usage["exit"] == 0
    assert outcome.usage["memory_bytes"] > 0


LIBC = (
    "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
    "say = lambda result: (_ for _ in ()).throw(OSError(ctypes.get_errno(), 'refused')) if result < 0 else 1"
)

# Each gives a program an OSError, or it is reached: what it reached is then its value.
REFUSED = [
    "open('/etc/shadow')",
    "open('/etc/hostname')",
    "import os; os.listdir('/sys')",
    "import os; os.listdir('/home')",
    "open('/proc/1/mem', 'r+b')",
    "open('/proc/self/oom_score_adj', 'w')",
    "open('/proc/sys/kernel/core_pattern')",
    "open('/proc/cmdline')",
    "open('/usr/x', 'w')",
    "open('/x', 'w')",
    "open('/etc/passwd', 'a')",
    "import os; os.mkdir('/dev/x')",
    "import os; os.mknod('null', 0o600 | 0o020000, os.makedev(1, 3))",
    "import os; os.mkfifo('fifo')",
    "import os; os.fork()",
    "import os; os.execv('/usr/bin/env', ['env'])",
    "import subprocess; subprocess.run(['/bin/true'])",
    "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "import os; os.setuid(0)",
    "import os; os.chroot('.')",
    "import os; os.nice(-1)",
    "import os; os.memfd_create('x')",
    "import os; os.link('/usr/bin/env', 'env')",
    "import socket; socket.socket()",
    "import socket; socket.socket(socket.AF_UNIX)",
    "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "import socket; socket.socket(socket.AF_VSOCK)",
    "import socket; socket.socketpair(type=socket.SOCK_DGRAM)",
    "import fcntl; fcntl.flock(open('/usr/bin/env'), fcntl.LOCK_EX)",
    "import fcntl; fcntl.fcntl(open('/usr/bin/env'), fcntl.F_GETLK, bytes(32))",
    "import fcntl; fcntl.fcntl(open('x', 'w'), fcntl.F_NOTIFY, 1)",
    "import fcntl; fcntl.fcntl(open('x', 'w'), fcntl.F_SETLEASE, fcntl.F_WRLCK)",
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x')",
    "import os; os.pidfd_open(1)",
    "import os; os.sched_setaffinity(0, {0})",
    f"{LIBC}; say(libc.unshare(0x10000000))",
    f"{LIBC}; say(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))",
    f"{LIBC}; say(libc.ptrace(0, 0, 0, 0))",
    f"{LIBC}; say(libc.syscall(425, 1, 0))",
]


@pytest.mark.parametrize("code", REFUSED)
async def test_what_is_outside_is_refused(native: ProcessSandbox, code: str) -> None:
    program = f"try:\n    exec({code!r})\n    said = 'reached'\nexcept OSError as e:\n    said = type(e).__name__\nsaid"
    outcome = await native.run(Job(program))
    assert outcome.error is None
    assert outcome.value != "reached"


STOPPED: list[tuple[str, str, str]] = [
    ("import time; time.sleep(600)", "deadline", "longer than 3 s"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP); import time; time.sleep(600)", "deadline", "longer"),
    ("'a' * (1 << 30)", "memory", "out of memory"),
    ("while True: print('x' * 1000)", "output", "output limits"),
    ("import os\nwhile True: os.write(2, b'x' * 65536)", "output", "output limits"),
    ("import os\nwhile True: os.write(3, b'x' * 65536)", "output", "output limits"),
    ("import os; os._exit(7)", "trap", "status 7"),
    ("import os; os.abort()", "trap", "by signal"),
    ("import ctypes; ctypes.string_at(0)", "trap", "by signal 11"),
    ("import os; os.write(3, b'{\"status\":\"ok\",\"value\":1}'); os._exit(0)", "output", "something else in place"),
    ("'a' * (2 << 20)", "output", "1048576"),
    ("float('nan')", "output", "not JSON"),
    ("open('big', 'wb').truncate(9 << 20)", "output", "files the program wrote"),
    ("open('sparse', 'wb').truncate(1 << 40)", "error", "File too large"),
    ("import os\nfor n in range(9):\n    open(str(n), 'wb').write(b'x' * (60 << 20))", "error", "No space left"),
    ("for n in range(9999): open(f'{n}', 'w').close()", "error", "No space left"),
    ("held = [open('/dev/null') for _ in range(999)]", "error", "Too many open files"),
    ("import threading, time\nfor _ in range(99): threading.Thread(target=time.sleep, args=(600,)).start()",
     "error", "can't start new thread"),
    ("raise SystemExit(3)", "error", "3"),
    ("1 / 0", "error", "division by zero"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status", "message"), STOPPED)
async def test_a_program_ends_where_a_limit_is(native: ProcessSandbox, code: str, status: str, message: str) -> None:
    outcome = await native.run(Job(code, limits=SHORT))
    assert outcome.error is not None
    assert outcome.status == status, outcome.error
    assert message in outcome.error.message
    assert outcome.value is None


async def test_processor_time_is_its_own_limit(native: ProcessSandbox) -> None:
    outcome = await native.run(Job("while True: pass", limits=Limits(wall_seconds=200, cpu_seconds=1)))
    assert outcome.status == "deadline"
    assert outcome.error is not None
    assert "1 s of processor time" in outcome.error.message
    assert outcome.usage["cpu_ms"] >= 500


async def test_memory_in_files_counts(native: ProcessSandbox) -> None:
    """Where there are control groups: scratch files are memory, so both together stay below one limit."""
    if "cgroup" in native.environment["missing"]:
        pytest.skip(native.environment["missing"]["cgroup"])
    limits = Limits(memory_bytes=64 << 20, scratch_bytes=256 << 20)
    code = "for n in range(3): open(str(n), 'wb').write(b'x' * (40 << 20))"
    outcome = await native.run(Job(code, limits=limits))
    assert outcome.status == "memory"
    assert outcome.usage["memory_bytes"] <= 65 << 20


async def test_output_and_files_come_back(native: ProcessSandbox) -> None:
    code = """
import os, sys
print("out é")
print("err", file=sys.stderr)
os.mkdir("d")
open("d/made", "wb").write(b"\\0new")
open("given", "a").write("+")
os.symlink("/etc/passwd", "link")
"""
    outcome = await native.run(Job(code, files={"given": b"old", "same": b"same"}))
    assert outcome.error is None
    assert (outcome.stdout, outcome.stderr) == ("out é\n", "err\n")
    assert outcome.files == {"d/made": b"\0new", "given": b"old+"}


async def test_output_is_cut_and_said_to_be(native: ProcessSandbox) -> None:
    outcome = await native.run(Job("print('é' * 500); 1", limits=Limits(output_bytes=101)))
    assert (outcome.value, outcome.stdout, outcome.truncated) == (1, "é" * 50, True)
    assert outcome.usage["output_bytes"] == 1001


async def test_calls_at_once_do_not_meet(native: ProcessSandbox) -> None:
    """Nothing that one call leaves is there for another, at the same time or after."""
    code = "import os; seen = os.listdir('/tmp') + os.listdir('/work'); open('/tmp/x' + who, 'w').close(); seen"
    outcomes: list[Outcome] = []

    async def one(who: str) -> None:
        outcomes.append(await native.run(Job(code, {"who": who})))

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(one, str(number))
    assert [outcome.value for outcome in outcomes] == [["work"]] * 12


async def test_a_cancelled_call_ends_its_program(native: ProcessSandbox) -> None:
    with anyio.move_on_after(0.2) as scope:
        await native.run(Job("import time; time.sleep(600)", limits=Limits(wall_seconds=600)))
    assert scope.cancelled_caught
    assert (await native.run(Job("1"))).value == 1


async def test_parked_sandboxes_serve_once_each() -> None:
    async with ProcessSandbox(parked=2) as sandbox:
        await sandbox.prepare()
        for _ in range(6):
            outcome = await sandbox.run(Job("import os; new = not os.path.exists('/tmp/x'); open('/tmp/x', 'w'); new"))
            assert outcome.value is True
        other = await sandbox.run(Job("1", limits=Limits(memory_bytes=128 << 20)))
        assert other.value == 1


async def test_what_it_does_not_do_is_said(native: ProcessSandbox) -> None:
    with pytest.raises(ValueError, match="use the wasm tier"):
        await native.run(Job("1", language="javascript"))
    with pytest.raises(SandboxError, match="has not been prepared"):
        _ = ProcessSandbox().environment


async def test_the_environment_names_its_parts(native: ProcessSandbox) -> None:
    environment = native.environment
    assert environment["tier"] == "process"
    assert len(environment["profile_digest"]) == 64
    assert not set(environment["missing"]) - {"cgroup"}, "run where namespaces are allowed"
    assert "network namespace" in environment["mechanisms"]


async def test_packages_are_seen_and_warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("packages")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    (folder / "ahead.py").write_text("import time\nNAME = __file__\nWHEN = time.time_ns()\n")
    (folder / "later.py").write_text("VALUE = 7\n")
    async with ProcessSandbox((folder,), ("ahead",)) as sandbox:
        code = "import ahead, later; [ahead.NAME, ahead.WHEN, later.VALUE]"
        values = [(await sandbox.run(Job(code))).value for _ in range(2)]
    assert values[0] == values[1]
    assert values[0][2] == 7
