"""What a running sandbox used, read from the kernel and never from the program."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """Up to now."""

    cpu_ms: int = 0
    """Of the first process and of those it waited for."""
    peak_bytes: int = 0
    """The most memory of the first process."""


def used(pid: int) -> Used:
    """Of the sandbox whose first process this is; zeros where that is gone."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = sum(int(each) for each in fields[11:15])  # utime, stime, cutime, cstime (proc(5))
        peak = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return Used(ticks * 1000 // _TICKS, int(peak[1]) << 10 if peak else 0)
    return Used()


def unrouted(pid: int) -> int:
    """How often something in the network namespace of this process tried to reach an address past the proxy."""
    with suppress(OSError, ValueError, KeyError):
        names, values = [
            line.split()[1:]
            for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines()
            if line.startswith("Ip:")
        ]
        return int(dict(zip(names, values, strict=True))["OutNoRoutes"])
    return 0


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
