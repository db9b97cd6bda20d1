"""The fake kernel as a file system: `python mount.py FOLDER SOCKET PROVIDER FLOOR`, a process of its own over FUSE.

`report/` is configfs, `measurements/` is sysfs. Reports are made by whoever is at the other end of the Unix socket,
which is descriptor SOCKET: a line of JSON each way, after one that says that this serves.
"""
# ruff: noqa: ARG002 - the signatures are FUSE's

import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import mfusepy

from tests.tsm.kernel import MAX_INBLOB, REGISTERS, WRITTEN, FakeTsm, Rtmrs, error

REPORT, MEASUREMENTS = "report", "measurements"
NAMES = {f"rtmr{index}:sha384": index for index in range(REGISTERS)}
T = TypeVar("T")


class Files(mfusepy.Operations):
    """What FUSE asks. Binary attributes are read as a whole at the first read and written at the close, as in
    fs/configfs/file.c; then nobody is told what came of it."""

    use_ns = True

    def __init__(self, tsm: FakeTsm, ready: Callable[[], object]) -> None:
        self._tsm, self._ready = tsm, ready
        self._handle = 0
        # What was read or is to be written, by handle.
        self._reading: dict[int, bytes] = {}
        self._writing: dict[int, bytes] = {}

    def init(self, path: str) -> None:
        self._ready()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        match _parts(path):
            case () | ("report",) | ("measurements",):
                mode, size = stat.S_IFDIR | 0o755, 0
            case ("measurements", name) if name in NAMES:
                mode, size = stat.S_IFREG | 0o644, 48
            case ("report", name) if name in self._tsm.requests:
                mode, size = stat.S_IFDIR | 0o755, 0
            case ("report", name, attribute) if self._tsm.has(name, attribute):
                mode, size = stat.S_IFREG | (0o200 if attribute in WRITTEN else 0o444), 0
            case _:
                raise mfusepy.FuseOSError(errno.ENOENT)
        return {"st_mode": mode, "st_nlink": 1, "st_size": size}

    def readdir(self, path: str, fh: int) -> list[str]:
        match _parts(path):
            case ():
                found = [REPORT, MEASUREMENTS]
            case ("measurements",):
                found = list(NAMES)
            case ("report",):
                found = list(self._tsm.requests)
            case _:
                found = self._tsm.attributes()
        return [".", "..", *found]

    def mkdir(self, path: str, mode: int) -> int:
        match _parts(path):
            case ("report", name):
                _told(lambda: self._tsm.make(name))
            case _:
                raise mfusepy.FuseOSError(errno.EPERM)
        return 0

    def rmdir(self, path: str) -> int:
        match _parts(path):
            case ("report", name):
                _told(lambda: self._tsm.remove(name))
            case _:
                raise mfusepy.FuseOSError(errno.EPERM)
        return 0

    def open(self, path: str, flags: int) -> int:
        self._handle += 1
        return self._handle

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if fh not in self._reading:
            match _parts(path):
                case ("measurements", name):
                    self._reading[fh] = self._tsm.rtmrs[NAMES[name]]
                case ("report", name, attribute):
                    self._reading[fh] = _told(lambda: self._tsm.read(name, attribute))
                case _:
                    raise mfusepy.FuseOSError(errno.EISDIR)
        return self._reading[fh][offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        match _parts(path):
            case ("measurements", register):
                if offset:
                    raise mfusepy.FuseOSError(errno.EINVAL)
                _told(lambda: self._tsm.extend(NAMES[register], data))
            case ("report", _, "inblob"):
                if offset + len(data) > MAX_INBLOB:
                    raise mfusepy.FuseOSError(errno.EFBIG)
                self._writing[fh] = self._writing.get(fh, b"")[:offset] + data
            case ("report", name, attribute):
                _told(lambda: self._tsm.write(name, attribute, data))
            case _:
                raise mfusepy.FuseOSError(errno.EISDIR)
        return len(data)

    def flush(self, path: str, fh: int) -> int:
        """At the close, before it returns to whoever closes."""
        match _parts(path):
            case ("report", name, "inblob") if fh in self._writing:
                try:
                    self._tsm.write(name, "inblob", self._writing.pop(fh))
                except OSError:
                    return 0
            case _:
                pass
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        self._reading.pop(fh, None)
        return 0


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path).parts[1:]


def _told(operation: Callable[[], T]) -> T:
    try:
        return operation()
    except OSError as e:
        raise mfusepy.FuseOSError(e.errno or errno.EIO) from e


class Firmware:
    """Whoever is at the other end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._stream = socket.socket(fileno=descriptor).makefile("rwb")

    def ready(self) -> None:
        """This serves."""
        self._send({})

    def mint(self, inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
        """See `Mint`."""
        self._send(
            {"inblob": inblob.hex(), "privilege": privilege, "rtmrs": [rtmrs[i].hex() for i in range(REGISTERS)]}
        )
        told: Mapping[str, Any] = json.loads(self._stream.readline() or b'{"errno": 5}')
        if "errno" in told:
            raise error(told["errno"])
        return bytes.fromhex(told["outblob"]), bytes.fromhex(told["auxblob"])

    def _send(self, message: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(message).encode() + b"\n")
        self._stream.flush()


def main(folder: str, descriptor: str, provider: str, floor: str) -> None:
    """Serve until unmounted."""
    firmware = Firmware(int(descriptor))
    tsm = FakeTsm(provider, firmware.mint, int(floor) if floor else None, Path(folder))
    mfusepy.FUSE(Files(tsm, firmware.ready), folder, foreground=True, nothreads=True, direct_io=True)


if __name__ == "__main__":
    os.umask(0o077)
    main(*sys.argv[1:])
