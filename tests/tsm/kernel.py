"""The kernel's report requests without a TEE: `/sys/kernel/config/tsm/report` by the rules of the driver, and the
measurement registers of a TD beside it.

Sources: Linux, drivers/virt/coco/guest/report.c, drivers/virt/coco/guest/tsm-mr.c, fs/configfs/file.c.
"""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ATTRIBUTES = ("generation", "provider", "inblob", "outblob", "auxblob", "privlevel", "privlevel_floor")
WRITTEN = frozenset({"inblob", "privlevel"})
PRIVILEGED = frozenset({"privlevel", "privlevel_floor"})
MAX_INBLOB, MAX_OUTBLOB, MAX_PRIVILEGE = 64, 32 << 10, 3
REGISTERS = 4

Rtmrs = Mapping[int, bytes]
Mint = Callable[[bytes, int, Rtmrs], tuple[bytes, bytes]]
"""Report_data, privilege level and RTMRs to report and auxiliary blob: what firmware and host do. May raise OSError."""


@dataclass
class Request:
    """One folder below `report`. The generations count writes, and which of them the blobs are of."""

    inblob: bytes = b""
    privilege: int = 0
    written: int = 0
    read: int = 0
    outblob: bytes | None = None
    auxblob: bytes = b""


@dataclass
class FakeTsm:
    """`provider` None: none is loaded. `floor` None: it knows no privilege levels. `path` is for messages.

    What goes wrong is put in: `errors` are raised by the next operations of a name ("outblob", "mkdir"), one each;
    `race` is how many writes of somebody else come before a report is made; `later` is the provider that takes over
    when it is; `short` is how many bytes of an inblob are taken, None all; `removable` that folders go away again.
    """

    provider: str | None
    mint: Mint
    floor: int | None = None
    path: Path = Path("/fake/report")
    errors: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    race: int = 0
    later: str | None = None
    short: int | None = None
    removable: bool = True
    requests: dict[str, Request] = field(default_factory=dict[str, Request])
    rtmrs: dict[int, bytes] = field(default_factory=lambda: dict.fromkeys(range(REGISTERS), bytes(48)))
    made: Counter[str] = field(default_factory=Counter[str])
    """How often each operation was begun."""

    def make(self, name: str) -> None:
        """mkdir"""
        self._begin("mkdir")
        if self.provider is None:
            raise error(errno.ENXIO)
        if name in self.requests:
            raise error(errno.EEXIST)
        self.requests[name] = Request()

    def remove(self, name: str) -> None:
        """rmdir"""
        self._begin("rmdir")
        self._request(name)
        if not self.removable:
            raise error(errno.EBUSY)
        del self.requests[name]

    def has(self, name: str, attribute: str) -> bool:
        """stat"""
        return name in self.requests and attribute in self.attributes()

    def attributes(self) -> list[str]:
        """What is in each folder."""
        return [name for name in ATTRIBUTES if name not in PRIVILEGED or self.floor is not None]

    def read(self, name: str, attribute: str, limit: int = 1 << 30) -> bytes:
        """open, read to the end, close"""
        self._begin(attribute)
        request = self._request(name)
        if not self.has(name, attribute):
            raise error(errno.ENOENT)
        if attribute in WRITTEN:
            raise error(errno.EACCES)
        data = self._value(request, attribute)
        if len(data) > limit:
            raise error(errno.EFBIG)
        return data

    def write(self, name: str, attribute: str, data: bytes) -> int:
        """open, one write, close; what a binary attribute makes of it at the close, nobody is told"""
        self._begin(attribute)
        request = self._request(name)
        if not self.has(name, attribute):
            raise error(errno.ENOENT)
        if attribute == "inblob":
            if len(data) > MAX_INBLOB:
                raise error(errno.EFBIG)
            request.inblob = data[: self.short]
            request.written += 1
            return len(request.inblob)
        if attribute != "privlevel":
            raise error(errno.EACCES)
        try:
            level = int(data.decode("ascii").strip(), 0)
        except ValueError:
            raise error(errno.EINVAL) from None
        if not (self.floor or 0) <= level <= MAX_PRIVILEGE:
            raise error(errno.EINVAL)
        request.privilege = level
        request.written += 1
        return len(data)

    def extend(self, register: int, data: bytes) -> None:
        """A write to `rtmrN:sha384`"""
        self._begin("extend")
        if len(data) != 48:
            raise error(errno.EINVAL)
        self.rtmrs[register] = hashlib.sha384(self.rtmrs[register] + data).digest()

    def _value(self, request: Request, attribute: str) -> bytes:
        match attribute:
            case "generation":
                return b"%d\n" % request.written
            case "provider":
                if self.provider is None:
                    raise error(errno.ENXIO)
                return self.provider.encode() + b"\n"
            case "privlevel_floor":
                return b"%d\n" % (self.floor or 0)
            case _:
                self._report(request)
        data = (request.outblob or b"") if attribute == "outblob" else request.auxblob
        if len(data) > MAX_OUTBLOB:
            raise error(errno.EFBIG)
        return data

    def _report(self, request: Request) -> None:
        if not request.inblob:
            raise error(errno.EINVAL)
        if request.outblob is not None and request.read == request.written:
            return
        if len(request.inblob) != MAX_INBLOB:  # the providers', who have no use for fewer
            raise error(errno.EINVAL)
        request.written += self.race
        request.outblob, request.auxblob = self.mint(request.inblob, request.privilege, self.rtmrs)
        request.read = request.written
        self.provider = self.later or self.provider

    def _request(self, name: str) -> Request:
        if name not in self.requests:
            raise error(errno.ENOENT)
        return self.requests[name]

    def _begin(self, operation: str) -> None:
        self.made[operation] += 1
        if self.errors.get(operation):
            raise error(self.errors[operation].pop(0))


def error(number: int) -> OSError:
    """As a system call raises it."""
    return OSError(number, os.strerror(number))
