"""The new process on its way from a clone of the fork server to somebody else's program. Nothing here returns.

The order matters: what needs a right comes before that right is given up, and the system call filter is last.
"""

import fcntl
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from servers.tee.process import (
    HOME,
    LISTENER_PORT,
    SCRATCH,
    Bounds,
    Spec,
    guest,
    kernel,
    landlock,
    mounts,
    seccomp,
    wire,
)

INSIDE_UID = 1000  # not 65534: every file of an unmapped owner would look like one's own
_EXTRA = _PROGRAM = 3
_CONTROL = 4
_CONFINED_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")


@dataclass(frozen=True)
class Frame:
    """What the fork server decided for all that it starts."""

    namespaces: bool
    """False: Landlock, the filter and limits alone."""
    landlock: bool
    filters: dict[str, bytes]
    """By profile."""
    readable: tuple[Path, ...]
    """Without namespaces: what of the host a program may read and run."""
    uid: int
    """Without namespaces, and where the fork server is root: the user to become."""


@dataclass(frozen=True)
class Order:
    """One start, as the fork server took it from a request."""

    control: int
    stdio: tuple[int, int, int]
    spec: int
    extra: int
    """Where Python's answer goes, or the program to run; -1 if neither."""
    sync: int
    """A byte comes when the process is in its groups and its user is mapped."""
    lifeline: int
    """Ends with the fork server."""
    scratch: str
    """Without namespaces: a directory of the host's, removed afterwards."""


def run(order: Order, frame: Frame) -> NoReturn:
    """Become the program that the order names, or tell `order.control` why not and exit with 125."""
    sync, packed = _arrange(order)
    channel = socket.socket(fileno=_CONTROL)
    try:
        if os.read(sync, 1):
            _become(order, frame, wire.unpack(packed), channel)
    except BaseException as e:  # noqa: BLE001  nobody else can tell
        text = f"{type(e).__name__}: {e}" if not isinstance(e, OSError) else str(e.strerror or e)
        name = getattr(e, "filename", None)
        wire.send(channel, {"failed": text + (f": {os.fsdecode(name)}" if isinstance(name, (str, bytes)) else "")})
    finally:
        os._exit(125)


def _become(order: Order, frame: Frame, spec: Spec, channel: socket.socket) -> None:
    filter_bytes = frame.filters[spec.profile]
    if frame.namespaces:
        listener, scratch, home = _enclose(spec), SCRATCH, HOME
    else:
        listener, scratch, home = None, order.scratch, f"{order.scratch}/work"
        _settle(scratch, frame.uid)
    os.umask(0o022)
    os.setsid()
    _limit(spec.bounds, counted=frame.namespaces)
    if frame.landlock:
        _confine(spec, frame, scratch)
    _renounce()
    # The change of user took back what was set before, so only now; and the fork server may be gone by now.
    kernel.prctl(kernel.DEATH_SIGNAL, signal.SIGKILL)
    if select.select([order.lifeline], [], [], 0)[0]:
        os._exit(125)
    if spec.cwd != HOME:
        os.chdir(spec.cwd)
    os.environ.clear()
    os.environ.update(
        {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": scratch, "LANG": "C.UTF-8", "TZ": "UTC", **spec.env}
    )
    if spec.argv:
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python's choice, which would pass to the program
            signal.signal(ignored, signal.SIG_DFL)
    seccomp.install(filter_bytes)
    wire.send(channel, {"ready": True}, [] if listener is None else [listener.fileno()])
    kernel.syscall("close_range", _CONTROL + 1, 0xFFFFFFFF, 0)
    if spec.argv:
        os.execve(_PROGRAM if order.extra >= 0 else spec.argv[0], spec.argv, dict(os.environ))  # noqa: S606
    channel.close()
    guest.serve(0, _EXTRA)


def _enclose(spec: Spec) -> socket.socket | None:
    """Into namespaces of its own: user, host name, files, and the listener if one is wanted."""
    # Opened while the fork server's user still counts: what the spec names may lie in a closed directory.
    opened = [(mount, os.open(mount.source, os.O_PATH | os.O_CLOEXEC)) for mount in spec.mounts]
    kernel.unshare(kernel.NEW_CGROUP)
    # A map changes only what a process sees: until this call it runs as the fork server's user outside.
    os.setresgid(INSIDE_UID, INSIDE_UID, INSIDE_UID)
    os.setresuid(INSIDE_UID, INSIDE_UID, INSIDE_UID)
    kernel.syscall("sethostname", b"sandbox", 7)
    mounts.enter(spec.bounds, opened)
    return _listen() if spec.listen else None


def _settle(scratch: str, uid: int) -> None:
    """Without namespaces: a directory of its own on the host, and an unprivileged user if there is a choice."""
    home = f"{scratch}/work"
    os.mkdir(home, 0o700)  # noqa: PTH102
    if os.geteuid() == 0:
        for path in (scratch, home):
            os.chown(path, uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.chdir(home)


def _listen() -> socket.socket:
    """A listener in the sandbox's own network, which has nothing but a loopback interface."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    fcntl.ioctl(listener, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running
    listener.bind(("127.0.0.1", LISTENER_PORT))
    listener.listen(64)
    return listener


def _limit(bounds: Bounds, *, counted: bool) -> None:
    """Resource limits, soft and hard alike: the first process of a namespace ignores the signal of a soft one."""
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, bounds.descriptors),
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_CPU, bounds.cpu_seconds),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ]
    if bounds.address_bytes is not None:
        limits.append((resource.RLIMIT_AS, bounds.address_bytes))
    if bounds.data_bytes is not None:
        limits.append((resource.RLIMIT_DATA, bounds.data_bytes))
    if counted:  # outside a user namespace it would count all that the user runs
        limits.append((resource.RLIMIT_NPROC, bounds.processes))
    for which, most in limits:
        hard = resource.getrlimit(which)[1]
        kept = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (kept, kept))


def _arrange(order: Order) -> tuple[int, int]:
    """Standard streams at 0 to 2, the answer or the program at 3, the control socket at 4; then: sync, and the spec."""
    extra = order.extra if order.extra >= 0 else order.stdio[1]
    wanted = [*order.stdio, extra, order.control, order.sync, order.spec]
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20) for descriptor in wanted]
    for place in range(_CONTROL + 1):
        os.dup2(high[place], place, inheritable=place < _EXTRA)
    return high[5], high[6]


def _confine(spec: Spec, frame: Frame, scratch: str) -> None:
    devices = [Path(device) for device in _CONFINED_DEVICES]
    writable: Sequence[Path] = [Path(mount.target) for mount in spec.mounts if mount.writable]
    if frame.namespaces:
        seen, own = [Path("/")], Path(SCRATCH)
    else:
        seen, own = [*frame.readable, Path("/dev/urandom")], Path(scratch)
    runs = seen if spec.argv else []
    landlock.restrict(seen, [own, *writable, *devices], runs, tcp=spec.profile == "exec_net")


def _renounce() -> None:
    """Every capability, any way to gain one, and being read by others of the same user."""
    kernel.prctl(kernel.NO_NEW_PRIVS, 1)
    for capability in range(64):
        try:
            kernel.prctl(kernel.CAPBSET_DROP, capability)
        except OSError:  # EINVAL: this kernel has no more of them; EPERM: we may not, and so have none to drop
            break
    kernel.prctl(kernel.CAP_AMBIENT, 4)
    kernel.syscall("capset", struct.pack("<II", 0x20080522, 0), bytes(24))
    kernel.prctl(kernel.DUMPABLE, 0)
