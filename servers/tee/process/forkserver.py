"""The fork server: a warm interpreter that knows no secret and clones itself into a new sandbox for each request.

It is started by exec with an empty environment, and never sees what a sandbox is given (`wire`): its memory is copied
into every one of them. It has one thread and trusts its supervisor; what it starts has no way to talk to it.
"""

import fcntl
import gc
import importlib
import os
import platform
import select
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers.tee.process import Bounds, Spec, cgroups, child, kernel, landlock, mounts, seccomp, wire

_ALL = kernel.NEW_USER | kernel.NEW_MOUNTS | kernel.NEW_PID | kernel.NEW_NET | kernel.NEW_IPC | kernel.NEW_UTS
_OOM_SCORE = "800"  # before anything of the host's; written by a privileged parent it cannot be lowered inside
_TRIAL_SECONDS = 20.0


@dataclass
class _Live:
    """One sandbox that runs; owned by the loop of `ForkServer.serve`."""

    process: int
    pidfd: int
    control: socket.socket
    group: cgroups.Group | None
    scratch: str
    started: float


@dataclass
class ForkServer:
    """Serves one supervisor."""

    channel: socket.socket
    frame: child.Frame
    groups: cgroups.Groups
    lifeline: tuple[int, int]
    live: dict[int, _Live] = field(default_factory=dict[int, _Live])
    """By pidfd."""
    count: int = 0

    def serve(self) -> None:
        """Until the supervisor is gone; then nothing that was started here is left."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor in self.live:
                    poll.unregister(descriptor)
                    self._bury(self.live.pop(descriptor))
                elif descriptor == self.channel.fileno():
                    try:
                        request = wire.receive(self.channel)
                    except ConnectionError:  # the supervisor went before it read all that it was told
                        request = None
                    if request is None:
                        self._end()
                        return
                    started = self._start(*request)
                    if started is not None:
                        self.live[started.pidfd] = started
                        poll.register(started.pidfd, select.POLLIN)

    def trial(self) -> str:
        """Build a sandbox and leave it. Empty, or why that cannot be done here."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open(os.devnull, os.O_RDWR)
        message = {"memory_bytes": Bounds.memory_bytes, "processes": Bounds.processes}
        spec = wire.pack(Spec())
        started = self._start(message, [os.dup(theirs.fileno()), *(os.dup(null) for _ in range(3)), spec])
        theirs.close()
        os.close(null)
        problem = "the fork server cannot make a process"
        if started is not None and not select.select([started.pidfd], [], [], _TRIAL_SECONDS)[0]:
            os.kill(started.process, 9)
        if started is not None:
            self._bury(started)
        while (said := wire.receive(ours)) is not None:
            message, descriptors = said
            for descriptor in descriptors:
                os.close(descriptor)
            if "failed" in message:
                problem = str(message["failed"])
            elif "exit" in message:
                problem = "" if message["exit"] == 0 else f"{problem}: it ended with {message['exit']}"
        ours.close()
        return problem

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> _Live | None:
        control, stdin, stdout, stderr, spec, *rest = descriptors
        channel = socket.socket(fileno=control)
        sync, go = os.pipe2(os.O_CLOEXEC)
        group, scratch = None, ""
        self.count += 1
        started = time.monotonic()
        try:
            if self.groups.version:
                bounds = Bounds(memory_bytes=message["memory_bytes"], processes=message["processes"])
                group = self.groups.make(f"c{self.count}", bounds)
            if not self.frame.namespaces:
                scratch = tempfile.mkdtemp(prefix="etmcp-")
            process = kernel.clone(_ALL if self.frame.namespaces else 0)
            if process == 0:
                self.channel.close()
                os.close(self.lifeline[1])
                os.close(go)
                extra = rest[0] if rest else -1
                stdio = (stdin, stdout, stderr)
                child.run(child.Order(control, stdio, spec, extra, sync, self.lifeline[0], scratch), self.frame)
            live = _Live(process, os.pidfd_open(process), channel, group, scratch, started)
            self._admit(live)
            try:
                wire.send(channel, {"pid": process}, [live.pidfd])
            except OSError:  # the supervisor is gone
                _undo(live)
                raise
            os.write(go, b"x")
        except OSError as e:
            place = "" if e.filename is None else f": {e.filename}"
            self._refuse(channel, f"{e.strerror}{place}", group, scratch)
            return None
        finally:
            for descriptor in (sync, go, stdin, stdout, stderr, spec, *rest):
                os.close(descriptor)
        return live

    def _admit(self, live: _Live) -> None:
        """Into its groups, and its user mapped to one without rights. A failure ends the process: nothing ran yet."""
        try:
            place = Path(f"/proc/{live.process}")
            if self.frame.namespaces:
                (place / "setgroups").write_text("deny")
                for name in ("uid_map", "gid_map"):
                    (place / name).write_text(f"{child.INSIDE_UID} {self.frame.uid} 1")
            (place / "oom_score_adj").write_text(_OOM_SCORE)
            if live.group is not None:
                live.group.add(live.process)
        except OSError as e:
            gone = os.waitid(os.P_PID, live.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            _undo(live)
            if gone:  # there is no other reason to end so early
                raise OSError(e.errno, "it was killed from outside before it was ready: try again") from e
            raise

    def _refuse(self, channel: socket.socket, why: str, group: cgroups.Group | None, scratch: str) -> None:
        with suppress(OSError):  # the supervisor gave up
            wire.send(channel, {"failed": why})
        channel.close()
        if group is not None:
            group.remove()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)

    def _bury(self, live: _Live) -> None:
        """Take the exit of a process, tell it, and remove what the sandbox had on the host."""
        _, status, used = os.wait4(live.process, 0)
        peak, killed = used.ru_maxrss << 10, False
        if live.group is not None:
            peak, killed = live.group.peak_bytes() or peak, live.group.out_of_memory()
        report = {
            "exit": os.waitstatus_to_exitcode(status),
            "wall": time.monotonic() - live.started,
            "cpu": used.ru_utime + used.ru_stime,
            "peak": peak,
            "out_of_memory": killed,
        }
        with suppress(OSError):  # the supervisor gave up on this one
            wire.send(live.control, report)
        live.control.close()
        # Nobody needs to wait for the rest.
        if live.group is not None:
            live.group.remove()
        if live.scratch:
            shutil.rmtree(live.scratch, ignore_errors=True)
        os.close(live.pidfd)

    def _end(self) -> None:
        for live in self.live.values():
            os.kill(live.process, 9)
        for live in self.live.values():
            self._bury(live)
        cgroups.remove(self.groups.folders)


def _undo(live: _Live) -> None:
    """End a process that was not let go yet."""
    os.kill(live.process, 9)
    os.waitpid(live.process, 0)
    os.close(live.pidfd)


def main() -> None:
    """Take the settings from the socket whose number is the only argument, say what is possible here, and serve."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    settings = wire.receive(channel)
    if settings is None:
        return
    try:
        server, hello = _prepare(channel, *settings)
    except (OSError, ImportError, RuntimeError, ValueError) as e:
        wire.send(channel, {"error": f"{type(e).__name__}: {e}"})
        return
    gc.collect()
    gc.freeze()
    with suppress(ConnectionError):  # the supervisor went while this one started; what was made is removed all the same
        wire.send(channel, hello)
    server.serve()


def _prepare(channel: socket.socket, settings: dict[str, Any], _: list[int]) -> tuple[ForkServer, dict[str, Any]]:
    prefix = Path(sys.base_prefix).resolve()
    packages = [Path(name) for name in settings["packages"]]
    filters = {name: seccomp.program(name, platform.machine()) for name in seccomp.PROFILES}
    uid, refused = _own_view(settings["uid"], prefix, packages)
    if refused:
        sys.path += [str(path) for path in packages]
        _warm(settings["warm"])
    else:
        _warm_inside(len(packages), settings["warm"])
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError(f"one of {', '.join(settings['warm'])} starts threads: it cannot be imported ahead")
    groups = cgroups.find(settings["tag"])
    libraries = [Path("/") / name for name in ("usr", "bin", "lib", "lib64", "etc/ld.so.cache")]
    readable = (*libraries, prefix, *packages)
    version = landlock.abi()
    frame = child.Frame(not refused, version > 0, filters, readable, uid)
    ends = os.pipe2(os.O_CLOEXEC)
    lifeline = fcntl.fcntl(ends[0], fcntl.F_DUPFD_CLOEXEC, 20), ends[1]  # above what a child arranges for its program
    os.close(ends[0])
    server = ForkServer(channel, frame, groups, lifeline)
    problem = server.trial()
    if problem and not refused:  # the skeleton stands but a process cannot get in: masked /proc, a security module
        refused = problem
        sys.path[:] = [name for name in sys.path if not name.startswith(mounts.PACKAGES)]
        sys.path += [str(path) for path in packages]
        server.frame = child.Frame(False, version > 0, filters, readable, uid)
        problem = server.trial()
    if problem:
        raise RuntimeError(f"{problem} (in namespaces: {refused})" if refused else problem)
    return server, {
        "namespaces": not refused,
        "refused": refused,
        "landlock": version,
        "cgroups": groups.version,
        "no_cgroups": groups.missing,
        "folders": [str(folder) for folder in groups.folders],
        "uid": uid,
        "closed": "" if not refused or _reachable(prefix) else str(prefix),
        "python": platform.python_version(),
    }


def _own_view(uid: int, prefix: Path, packages: list[Path]) -> tuple[int, str]:
    """A mount namespace with the skeleton in it. The user that sandboxes get outside, and why there is no namespace."""
    if os.geteuid() == 0:
        os.setgroups([])
    else:
        uid = os.geteuid()
    try:
        try:
            mounts.host_view()
        except PermissionError:
            if os.geteuid() == 0:  # root without its rights, as in a container: a map of its own would map to root
                raise
            _become_own_root(uid)
            mounts.host_view()
        mounts.build_skeleton(prefix, packages)
    except OSError as e:
        return uid, f"{e.strerror}"
    return uid, ""


def _reachable(folder: Path) -> bool:
    """Whether any user of the system may enter it."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def _become_own_root(uid: int) -> None:
    """Rights over a user namespace of this process' own, where it has none over the system."""
    gid = os.getegid()
    kernel.unshare(kernel.NEW_USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _warm_inside(packages: int, names: list[str]) -> None:
    """Import from where the packages are seen inside, so that what is loaded later is found there too."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    os.chroot(mounts.SKELETON)
    os.chdir("/")
    try:
        sys.path += [f"{mounts.PACKAGES}/{number}" for number in range(packages)]
        _warm(names)
    finally:
        os.fchdir(root)
        os.chroot(".")
        os.close(root)


def _warm(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)
