"""Landlock: rules that a process lays on itself for good (Linux, Documentation/userspace-api/landlock.rst)."""

import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from servers.tee.process import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_DEVICES = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # making of character devices, sockets, FIFOs and block devices
# The rights that each version of the interface (ABI) added.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _SCOPES = 0b11, 0b11  # bind and connect; abstract Unix sockets and signals
_ABI_TCP, _ABI_SCOPES = 4, 6


def abi() -> int:
    """The version that this kernel has; 0 where there is none or where it is refused."""
    try:
        return kernel.syscall("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def restrict(
    read: Iterable[Path] = (),
    write: Iterable[Path] = (),
    execute: Iterable[Path] = (),
    *,
    tcp: bool = False,
) -> dict[str, bool]:
    """From now on only these paths and what is below them: `write` may be read, `execute` may be read.

    Without `tcp` no TCP connection or listening port. Nothing outside this process and those it starts is signalled or
    reached over an abstract Unix socket. A path that is not there, or beyond this user's reach, is passed over. Binds
    the calling thread and those it starts later. Returns which of `files`, `tcp` and `scopes` this kernel enforces.
    Raises `OSError` where there is no Landlock.
    """
    version = abi()
    handled = _RIGHTS[max((known for known in _RIGHTS if known <= version), default=1)]
    closed_tcp = version >= _ABI_TCP and not tcp
    scoped = version >= _ABI_SCOPES
    fields = struct.pack("<QQQ", handled, _TCP * closed_tcp, _SCOPES * scoped)
    size = 24 if scoped else 16 if version >= _ABI_TCP else 8
    rules = kernel.syscall("landlock_create_ruleset", fields, size, 0)
    try:
        for paths, rights in (
            (read, _READ_FILE | _READ_DIR),
            (execute, _READ_FILE | _READ_DIR | _EXECUTE),
            (write, handled & ~_EXECUTE & ~_DEVICES),
        ):
            for path in paths:
                _allow(rules, path, rights & handled)
        kernel.prctl(kernel.NO_NEW_PRIVS, 1)
        kernel.syscall("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)
    return {"files": True, "tcp": version >= _ABI_TCP, "scopes": scoped}


def _allow(rules: int, path: Path, rights: int) -> None:
    with suppress(FileNotFoundError, PermissionError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= _ON_FILES  # the kernel refuses a directory's right on a file
            kernel.syscall("landlock_add_rule", rules, 1, struct.pack("<Qi", rights, place), 0)
        finally:
            os.close(place)
