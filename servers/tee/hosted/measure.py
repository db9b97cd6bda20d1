"""What a running sandbox used, read from the kernel and never from the program."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SELDOM = 0.25


@dataclass(frozen=True)
class Used:
    """Up to now."""

    cpu_ms: int = 0
    """Of the first process and of those it waited for."""
    peak_bytes: int = 0
    """The most memory of the first process."""


class Meter:
    """Reads what the sandbox used whose first process this is. `close` must be called.

    Its processor time at each reading, since a receipt says it of a call; its memory a few times a second, since
    reading that costs more than a short call.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._snmp = os.open(f"/proc/{pid}/net/snmp", os.O_RDONLY | os.O_CLOEXEC)
        self._peak, self._again = 0, 0.0
        self._last = Used()

    def read(self, now: float) -> Used:
        """Up to now, by a clock in seconds that only goes forward; what was read last, once it is gone."""
        with suppress(OSError, ValueError, IndexError):
            fields = os.pread(self._stat, 4096, 0).rpartition(b")")[2].split()
            ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime (proc(5))
            if now >= self._again:
                self._again = now + _SELDOM
                status = Path(f"/proc/{self._pid}/status").read_text()
                peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
                self._peak = int(peak[1]) << 10 if peak else 0
            self._last = Used(ticks * 1000 // _TICKS, self._peak)
        return self._last

    def unrouted(self) -> int:
        """How often something in its network namespace tried to reach an address past the proxy."""
        with suppress(OSError, ValueError, KeyError):
            lines = os.pread(self._snmp, 8192, 0).splitlines()
            names, values = [line.split()[1:] for line in lines if line.startswith(b"Ip:")]
            return int(dict(zip(names, values, strict=True))[b"OutNoRoutes"])
        return 0

    def close(self) -> None:
        """Read no more."""
        files, self._stat, self._snmp = (self._stat, self._snmp), -1, -1
        for file in files:
            if file >= 0:
                os.close(file)


def written(paths: Iterable[Path], most: int) -> tuple[int, int]:
    """Bytes and entries below these folders and files; counting ends soon after `most` entries."""
    size = count = 0
    folders = list(paths)
    while folders and count <= most:
        path = folders.pop()
        with suppress(OSError):
            if not path.is_dir() or path.is_symlink():
                size += path.lstat().st_size
                count += 1
                continue
            with os.scandir(path) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        with suppress(OSError):
                            size += entry.stat(follow_symlinks=False).st_size
    return size, count
