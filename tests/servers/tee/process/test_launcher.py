"""Programs in sandboxes of their own: what they are given, what they see, and their network."""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from servers.tee.process import Bounds, Exit, Mount, Spec
from servers.tee.process.launcher import Launcher
from servers.tee.sandbox import SandboxError

pytestmark = pytest.mark.anyio

SHELL = Spec(argv=("/bin/sh", "-c", ""), profile="exec")


@pytest.fixture
async def launcher() -> AsyncGenerator[Launcher]:
    async with Launcher() as launcher:
        yield launcher


@dataclass(frozen=True)
class Said:
    exit: Exit
    out: str
    err: str


async def run(launcher: Launcher, spec: Spec, stdin: bytes = b"") -> Said:
    """Run to the end; the outputs are small enough for a pipe."""
    (reads, feed), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
    os.write(feed, stdin)
    os.close(feed)
    try:
        async with launcher.start(spec, reads, stdout, stderr) as running:
            ended = await running.wait()
        return Said(ended, text(out), text(err))
    finally:
        for descriptor in (reads, out, stdout, err, stderr):
            os.close(descriptor)


def text(descriptor: int) -> str:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 1 << 16).decode()
    except BlockingIOError:
        return ""


async def shell(launcher: Launcher, script: str, spec: Spec = SHELL, stdin: bytes = b"") -> Said:
    return await run(launcher, replace(spec, argv=("/bin/sh", "-c", script)), stdin)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory of the host that the sandbox's user may read and write."""
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "a").write_text("host")
    (folder / "a").chmod(0o666)
    (folder / "out").symlink_to("/etc/hostname")
    return folder


async def test_a_program_runs_and_is_measured(launcher: Launcher) -> None:
    said = await shell(launcher, "cat; echo err >&2; exit 3", stdin=b"in")
    assert (said.out, said.err, said.exit.code) == ("in", "err\n", 3)
    assert said.exit.wall_seconds > 0
    assert said.exit.peak_bytes > 0
    assert set(said.exit.usage()) == {"exit", "wall_ms", "cpu_ms", "memory_bytes"}


async def test_it_gets_the_environment_it_was_given_and_no_other(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_ENGINE", "x")
    said = await shell(launcher, "env; tr '\\0' '\\n' < /proc/1/environ", replace(SHELL, env={"NAME": "value"}))
    names = {line.partition("=")[0] for line in said.out.splitlines()}
    assert names <= {"NAME", "PATH", "HOME", "TMPDIR", "LANG", "TZ", "PWD", "_", "SHLVL", "OLDPWD"}
    assert "NAME=value" in said.out


async def test_mounts_are_read_only_unless_told(launcher: Launcher, data: Path) -> None:
    spec = replace(SHELL, mounts=(Mount(data, "/data"), Mount(data, "/srv/own", writable=True)))
    said = await shell(launcher, "cat /data/a; echo no > /data/b; echo new > /srv/own/b; ls /data; cat /data/out", spec)
    assert said.out.startswith("hosta\nb\nout\n")
    assert "cannot create /data/b" in said.err
    assert "/data/out" in said.err
    assert (data / "b").read_text() == "new\n"


async def test_a_mount_that_is_not_there_is_named(launcher: Launcher) -> None:
    with pytest.raises(SandboxError, match="No such file or directory: /nowhere"):
        await shell(launcher, "true", replace(SHELL, mounts=(Mount(Path("/nowhere"), "/data"),)))
    assert (await shell(launcher, "echo on")).out == "on\n"


async def test_a_program_that_is_not_there_is_named(launcher: Launcher) -> None:
    with pytest.raises(SandboxError, match="No such file or directory: /bin/nothing"):
        await run(launcher, Spec(argv=("/bin/nothing",), profile="exec"))


async def test_an_executable_is_the_one_of_its_digest(launcher: Launcher, tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/echo", program)
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    spec = Spec(argv=("echo", "it"), program=program, program_sha256=digest, profile="exec")
    assert (await run(launcher, spec)).out == "it\n"
    with program.open("ab") as file:
        file.write(b"x")
    with pytest.raises(SandboxError, match="is not the program that was meant"):
        await run(launcher, spec)


@pytest.mark.parametrize(
    "script",
    ["exec 3<>/dev/tcp/127.0.0.1/1", "unshare -U true", "mount -t tmpfs x /tmp", "su -c id", "kill -9 2",
     "echo x > /usr/x", "echo x > /x", "mknod null c 1 3", "mkfifo f", "chown 0 /tmp", "ln /usr/bin/env env",
     "cp /bin/true . && chmod +x true && ./true"],
)  # fmt: skip
async def test_what_a_program_may_not(launcher: Launcher, script: str) -> None:
    """The last one: what a program writes it cannot run."""
    assert (await shell(launcher, f"({script}) 2>&1")).exit.code != 0


async def test_processes_are_counted_and_end_with_the_first(launcher: Launcher) -> None:
    spec = replace(SHELL, bounds=Bounds(processes=8))
    said = await shell(launcher, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 600 & done; echo done", spec)
    assert "fork" in said.err
    assert said.exit.wall_seconds < 300  # it ended without them


async def test_kill_ends_all_of_it(launcher: Launcher) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    reads, writes = os.pipe()
    spec = replace(SHELL, argv=("/bin/sh", "-c", "sleep 600 & echo on; sleep 600"))
    async with launcher.start(spec, null, writes, null) as running:
        os.close(writes)
        assert await anyio.to_thread.run_sync(os.read, reads, 3) == b"on\n"
        running.kill()
        assert (await running.wait()).code == -9
    assert await anyio.to_thread.run_sync(os.read, reads, 1) == b""  # nobody holds the other end
    os.close(reads)
    os.close(null)


CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", 3128)) as s:
    s.sendall(b"from inside")
    print(s.recv(100).decode())
for target in ((("127.0.0.1", int(sys.argv[1])), socket.AF_INET), (("192.0.2.1", 80), socket.AF_INET)):
    try:
        socket.socket(target[1]).connect(target[0])
        print("REACHED", target)
    except OSError as e:
        print("refused")
for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_STREAM)):
    try:
        socket.socket(family, kind)
        print("REACHED", family)
    except OSError as e:
        print("refused")
"""


async def test_the_listener_is_the_only_way_out(launcher: Launcher, common_python: Path) -> None:
    """It was made in the sandbox's own network and is served out here; the host's loopback is another one."""
    null = os.open(os.devnull, os.O_RDWR)
    reads, writes = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as host:
        argv = (str(common_python), "-I", "-c", CLIENT, str(host.getsockname()[1]))
        async with launcher.start(Spec(argv=argv, profile="exec_net", listen=True), null, writes, null) as running:
            os.close(writes)
            assert running.listener is not None
            await anyio.wait_readable(running.listener)
            client, _ = running.listener.accept()
            with client:
                await anyio.wait_readable(client)
                assert client.recv(100) == b"from inside"
                client.sendall(b"from outside")
            assert (await running.wait()).code == 0
    os.set_blocking(reads, False)
    assert os.read(reads, 1 << 16).decode() == "from outside\n" + "refused\n" * 4
    os.close(reads)
    os.close(null)


async def test_a_secret_of_one_program_is_not_in_the_memory_of_the_next(launcher: Launcher) -> None:
    secret = "s3cret-" + "of-one-session"
    spec = replace(SHELL, env={"TOKEN": secret}, argv=("/bin/sh", "-c", "true", secret))
    assert (await run(launcher, spec)).exit.code == 0
    code = r"""
import ctypes, re  # a marker to find
def main():
    found = []
    for line in open("/proc/self/maps"):
        place, rights, *_ = line.split()
        first, last = (int(end, 16) for end in place.split("-"))
        if "r" in rights and "[v" not in line:
            found += re.findall(rb"o[f]-one-session|marke[r] to find", ctypes.string_at(first, last - first))
    return sorted({word.decode() for word in found})
"""
    # The same fork server makes a Python sandbox, whose program reads all its own memory.
    (reads, feed), (said, answer) = os.pipe(), os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    limits = {"result_bytes": 100, "depth": 9, "files_bytes": 9}
    os.write(feed, json.dumps({"code": code, "arguments": {}, "files": {}, "limits": limits}).encode())
    os.close(feed)
    async with launcher.start(Spec(), reads, null, null, answer) as running:
        assert (await running.wait()).code == 0
    reply = json.loads(os.read(said, 1 << 16))
    for descriptor in (reads, said, answer, null):
        os.close(descriptor)
    assert (reply["error"], reply["value"]) == (None, ["marker to find"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mount(Path("a"), "/data"), "absolute path"),
        (lambda: Mount(Path("/a"), "/data/../x"), "plain path"),
        (lambda: Mount(Path("/a"), "/usr/x"), "directory of its own"),
        (lambda: Spec(argv=("/bin/true",)), "exec profile"),
        (lambda: Spec(profile="exec"), "exec profile"),
        (lambda: Spec(argv=("x",), profile="exec", program=Path("/bin/true")), "SHA-256"),
        (lambda: Spec(argv=("x",), profile="exec", listen=True), "exec_net"),
        (lambda: Bounds(processes=0), "processes must be positive"),
        (lambda: Launcher(uid=0), "superuser"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
