"""TDX and SEV-SNP evidence through configfs-tsm, which Linux has from 6.7 on.

Sources: Linux, Documentation/ABI/testing/configfs-tsm-report and drivers/virt/coco/guest/report.c; Intel TDX DCAP
Quoting Library API, appendix A; AMD 56860, table ATTESTATION_REPORT.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from attest.evidence import Evidence
from servers.attesters import AttesterError

Kind = Literal["tdx", "sev-snp"]
REPORTS = Path("/sys/kernel/config/tsm/report")
INBLOB = 64
"""Bytes. The kernel takes fewer, and both providers then refuse the report."""
MAX_BLOB = 32 << 10
MAX_TEXT = 4096
SNP_REPORT = 1184
PAUSES_S = (0.2, 1.0)
"""Before the second and the third attempt."""
AGAIN = frozenset({errno.EINTR, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN})
"""The host is still at an earlier quote, or took too long for this one."""
MAX_PRIVILEGE = 3
_ADVICE: Mapping[int, str] = {
    errno.ENOENT: "it needs Linux 6.7 with configfs mounted and the module tdx_guest or sev-guest",
    errno.ENXIO: "no TEE answers there; load the module tdx_guest or sev-guest",
    errno.EACCES: "run as root, or as a user who may make folders there",
    errno.EPERM: "run as root, or as a user who may make folders there",
    errno.ELOOP: "name the folder itself and not a symbolic link",
    errno.EINVAL: "the platform refuses the request; see the kernel's log",
    errno.EFBIG: "it is larger than the kernel's interface allows",
}


class Reports(Protocol):
    """The kernel's folder of report requests, one folder each. All methods raise `OSError`."""

    @property
    def path(self) -> Path:
        """Where it is, for people."""
        ...

    def make(self, name: str) -> None:
        """One more request; EEXIST where there is one of this name."""
        ...

    def remove(self, name: str) -> None:
        """Forget it."""
        ...

    def has(self, name: str, attribute: str) -> bool:
        """Whether the provider knows this attribute."""
        ...

    def read(self, name: str, attribute: str, limit: int) -> bytes:
        """All of it; EFBIG beyond `limit` bytes."""
        ...

    def write(self, name: str, attribute: str, data: bytes) -> int:
        """In one write, since the kernel takes each for a value of its own. How much of it was taken."""
        ...


@dataclass(frozen=True)
class Configfs:
    """The kernel's own folder of report requests."""

    path: Path = REPORTS

    def make(self, name: str) -> None:
        """See `Reports`; ELOOP where a part of the path is a symbolic link."""
        # Not those of pathlib, which resolve what is to be kept, and do not raise `OSError` for a link to itself.
        if os.path.realpath(self.path, strict=True) != os.path.abspath(self.path):  # noqa: PTH100
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self.path))
        (self.path / name).mkdir()

    def remove(self, name: str) -> None:
        """See `Reports`. The kernel takes the attributes away with their folder."""
        (self.path / name).rmdir()

    def has(self, name: str, attribute: str) -> bool:
        """See `Reports`."""
        return (self.path / name / attribute).exists()

    def read(self, name: str, attribute: str, limit: int) -> bytes:
        """See `Reports`."""
        parts: list[bytes] = []
        left = limit + 1
        with (self.path / name / attribute).open("rb", buffering=0) as file:
            while left and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        if not left:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), attribute)
        return b"".join(parts)

    def write(self, name: str, attribute: str, data: bytes) -> int:
        """See `Reports`. What the kernel takes at the last close is not reported: only `generation` shows it."""
        descriptor = os.open(self.path / name / attribute, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return os.write(descriptor, data)
        finally:
            os.close(descriptor)


class TsmAttester:
    """Asks the platform for a report over each report_data.

    `kind` is what the provider has to be. `privilege` is the VMPL that a SEV-SNP report speaks for (0 to 3), None for
    the most privileged that this machine may name. `pause` waits so many seconds between attempts.
    """

    def __init__(
        self,
        kind: Kind,
        reports: Reports | None = None,
        *,
        privilege: int | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._platform, self._reports = _PLATFORMS[kind], reports or Configfs()
        self._privilege, self._pause = privilege, pause

    def attest(self, report_data: bytes) -> Evidence:
        """A TDX quote, or a SEV-SNP report and the host's certificate table; raises `AttesterError`.

        What the platform was busy for is tried three times, each in a request of its own.
        """
        if len(report_data) != INBLOB:
            raise AttesterError(f"report_data has {INBLOB} bytes, and this has {len(report_data)}")
        for pause in (*PAUSES_S, None):
            try:
                return self._request(report_data)
            except OSError as e:
                if pause is None or e.errno not in AGAIN:
                    raise AttesterError(failure(self._reports.path, e)) from e
                self._pause(pause)
        raise AssertionError  # the last attempt returns or raises

    def _request(self, report_data: bytes) -> Evidence:
        name = _fresh()
        self._reports.make(name)
        try:
            return self._read(name, report_data)
        finally:
            with suppress(OSError):
                self._reports.remove(name)

    def _read(self, name: str, report_data: bytes) -> Evidence:
        self._expect_provider(name)
        generation = self._generation(name)
        generation += self._write(name, "inblob", report_data)
        if self._generation(name) < generation:  # a process that was forked meanwhile has the file open until it execs
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), "inblob")
        if self._platform.has_privilege:
            generation += self._write(name, "privlevel", str(self._level(name)).encode())
        outblob = self._reports.read(name, "outblob", MAX_BLOB)
        auxblob = b""
        if self._platform.has_table and self._reports.has(name, "auxblob"):
            auxblob = self._reports.read(name, "auxblob", MAX_BLOB)
        self._expect_provider(name)
        if self._generation(name) != generation:
            raise self._wrong("somebody else wrote to our request; find out who")
        if self._platform.report_data(outblob) != report_data:
            raise self._wrong("the report is not over the report_data that was asked for")
        return Evidence(self._platform.media_type, outblob + auxblob)

    def _expect_provider(self, name: str) -> None:
        found = _text(self._reports.read(name, "provider", MAX_TEXT))
        if found != self._platform.provider:
            raise self._wrong(f"the provider is {found!r} and not {self._platform.provider!r}")

    def _generation(self, name: str) -> int:
        return self._number(name, "generation")

    def _level(self, name: str) -> int:
        floor = self._number(name, "privlevel_floor")
        level = floor if self._privilege is None else self._privilege
        if not floor <= level <= MAX_PRIVILEGE:
            raise self._wrong(f"VMPL {level} is not one from {floor} to {MAX_PRIVILEGE}, which this machine may name")
        return level

    def _number(self, name: str, attribute: str) -> int:
        text = _text(self._reports.read(name, attribute, MAX_TEXT))
        if not text.isascii() or not text.isdecimal() or len(text) > 20:
            raise self._wrong(f"{attribute} is {text[:40]!r}, not a number")
        return int(text)

    def _write(self, name: str, attribute: str, data: bytes) -> int:
        """By how much `generation` grows."""
        if (taken := self._reports.write(name, attribute, data)) != len(data):
            raise self._wrong(f"{attribute} took {taken} of {len(data)} bytes")
        return 1

    def _wrong(self, detail: str) -> AttesterError:
        return AttesterError(f"{self._reports.path}: {detail}")


def provider(reports: Reports) -> str | None:
    """The name of what answers there ("tdx_guest"), None where nothing does; raises `AttesterError`."""
    name = _fresh()
    try:
        reports.make(name)
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ENXIO):
            return None
        raise AttesterError(failure(reports.path, e)) from e
    try:
        return _text(reports.read(name, "provider", MAX_TEXT))
    except OSError as e:
        raise AttesterError(failure(reports.path, e)) from e
    finally:
        with suppress(OSError):
            reports.remove(name)


def failure(path: Path, error: OSError) -> str:
    """One line for what the kernel says there."""
    words = os.strerror(error.errno) if error.errno else str(error)
    advice = _ADVICE.get(error.errno or 0, "see the kernel's log, and try again")
    return f"{path}: {words}; {advice}"


@dataclass(frozen=True)
class _Platform:
    """What is particular to one provider."""

    provider: str
    media_type: str
    report_data: Callable[[bytes], bytes]
    has_privilege: bool = False
    has_table: bool = False


def _quoted(quote: bytes) -> bytes:
    """The report_data of a TDX quote: behind a header of 48 bytes, and of another 6 from version 5 on."""
    start = {4: 568, 5: 574}.get(int.from_bytes(quote[:2], "little"), len(quote))
    return quote[start : start + INBLOB]


def _reported(report: bytes) -> bytes:
    return report[0x50:0x90] if len(report) == SNP_REPORT else b""


_PLATFORMS: Mapping[Kind, _Platform] = {
    "tdx": _Platform("tdx_guest", "application/vnd.etmcp.tdx-quote", _quoted),
    "sev-snp": _Platform("sev_guest", "application/vnd.etmcp.sev-snp", _reported, has_privilege=True, has_table=True),
}


def _fresh() -> str:
    return f"etmcp-{os.getpid()}-{secrets.token_hex(8)}"


def _text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace").strip()
