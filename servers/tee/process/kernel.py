"""System calls for which Python has no function, each an `OSError` with the kernel's reason when it fails."""

import ctypes
import os
import platform
import struct
from typing import Any

from servers.tee.process.syscalls import NUMBERS

# Keeps the interpreter's lock through the call: after a clone the child must find it held by its only thread.
_libc = ctypes.PyDLL(None, use_errno=True)

NO_NEW_PRIVS = 38
DUMPABLE = 4
DEATH_SIGNAL = 1
CAPBSET_DROP = 24
CAP_AMBIENT = 47
_GET_TID_ADDRESS = 40

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
_CHILD_SETTID, _CHILD_CLEARTID, _SIGCHLD = 0x01000000, 0x00200000, 17


def syscall(name: str, *args: int | bytes | ctypes.Array[Any] | None) -> int:
    """The result of the system call `name`. Raises `OSError`, with ENOSYS where this machine is not in the table."""
    number = NUMBERS.get(platform.machine(), {}).get(name, -1)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), name)


def prctl(option: int, first: int = 0, second: int = 0) -> None:
    """`prctl(2)` with number arguments. Raises `OSError`."""
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), zero, zero), "prctl")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """`mount(2)`. Raises `OSError`, whose text names the target."""
    text = [None if s is None else os.fsencode(s) for s in (source, target, kind, data)]
    _checked(_libc.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3]), f"mount {target}")


def restrict_mounts(target: str, flags: int) -> None:
    """Add flags (`READ_ONLY` to `NO_EXEC`) to the mount at `target` and to every one below it. Raises `OSError`."""
    syscall("mount_setattr", -100, os.fsencode(target), 0x8000, struct.pack("<QQQQ", flags, 0, 0, 0), 32)


def detach(target: str) -> None:
    """Unmount `target` from this namespace at once, whoever still uses it (`MNT_DETACH`). Raises `OSError`."""
    _checked(_libc.umount2(os.fsencode(target), 2), f"umount {target}")


def unshare(flags: int) -> None:
    """`unshare(2)`. Raises `OSError`."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def clone(flags: int) -> int:
    """Fork into new namespaces: 0 in the child, the child's process id in the parent. Raises `OSError`.

    The caller must have one thread only. The C library's idea of its thread id is renewed where the kernel tells its
    place, as a number from outside could equal that of a thread started inside.
    """
    place = ctypes.c_ulong(0)
    zero = ctypes.c_ulong(0)
    if _libc.prctl(_GET_TID_ADDRESS, ctypes.byref(place), zero, zero, zero) == 0:
        flags |= _CHILD_SETTID | _CHILD_CLEARTID
    # The last two words, the child's thread id and thread storage, are in the other order on the other machine.
    rest = (place.value, 0) if platform.machine() == "x86_64" else (0, place.value)
    interpreter = ctypes.pythonapi
    interpreter.PyOS_BeforeFork()
    try:
        child = syscall("clone", flags | _SIGCHLD, 0, 0, *rest)
    except OSError:
        interpreter.PyOS_AfterFork_Parent()
        raise
    if child:
        interpreter.PyOS_AfterFork_Parent()
    else:
        interpreter.PyOS_AfterFork_Child()
    return child


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
