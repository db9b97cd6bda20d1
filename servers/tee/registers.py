"""The registers that a launcher extends, and what it makes sure of.

Sources: Linux, Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest (6.16); TCG PC Client Platform TPM
Profile, table of PCRs.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from attest.schemes.tpm_quote import LAUNCH, LAUNCHER_REGISTER
from servers.attesters import AttesterError
from servers.attesters.tsm import failure
from servers.tee.measured import RTMR, Measured
from servers.tpm.client import open_tpm

MEASUREMENTS = Path("/sys/devices/virtual/misc/tdx_guest/measurements")
SHA384 = 48
PCRS = tuple(name for name in (f"pcr{number}" for number in range(8, 16)) if name in LAUNCH)
"""Those of the operating system that only a restart resets, and without whose value no evidence is worth `hardware`."""
PCR = f"pcr{LAUNCHER_REGISTER}"
ATTEMPTS, PAUSE_S = 100, 0.1
"""For another launcher, which needs a moment. Any process that may read the folder can lock it, and keep it so."""


class Register(Protocol):
    """One that can be extended and never set. Both methods raise `AttesterError`."""

    @property
    def folder(self) -> Path:
        """Where it is; whoever extends it holds that."""
        ...

    def read(self) -> bytes:
        """What it holds."""
        ...

    def extend(self, digest: bytes) -> None:
        """It becomes the hash of what it holds and `digest`."""
        ...


@dataclass(frozen=True)
class Rtmr:
    """RTMR3 of this TD; `folder` is where the kernel shows its registers."""

    folder: Path = MEASUREMENTS

    def read(self) -> bytes:
        """See `Register`."""
        try:
            with self._path.open("rb", buffering=0) as file:
                data = file.read(SHA384 + 1)
        except OSError as e:
            raise self._failed(e) from e
        if len(data) != SHA384:
            raise AttesterError(f"{self._path}: {len(data)} bytes are no register")
        return data

    def extend(self, digest: bytes) -> None:
        """See `Register`. In one write: the kernel takes no part of one."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                taken = os.write(descriptor, digest)
            finally:
                os.close(descriptor)
        except OSError as e:
            raise self._failed(e) from e
        if taken != len(digest):
            raise AttesterError(f"{self._path}: took {taken} of {len(digest)} bytes")

    @property
    def _path(self) -> Path:
        return self.folder / f"{RTMR}:sha384"

    def _failed(self, error: OSError) -> AttesterError:
        if error.errno == errno.ENOENT:
            return AttesterError(f"{self._path}: not there; it needs a TD with Linux 6.16 and the module tdx_guest")
        return AttesterError(failure(self._path, error))


@dataclass(frozen=True)
class Pcr:
    """A PCR in the SHA-256 bank of the TPM at `device`."""

    number: int
    device: Path

    @property
    def folder(self) -> Path:
        """See `Register`."""
        return self.device.parent

    def read(self) -> bytes:
        """See `Register`."""
        with open_tpm(self.device) as tpm:
            return tpm.read([self.number])[self.number]

    def extend(self, digest: bytes) -> None:
        """See `Register`."""
        with open_tpm(self.device) as tpm:
            tpm.extend(self.number, digest)


def extend_once(register: Register, name: str, build: Measured, *, pause: Callable[[float], None] = time.sleep) -> bool:
    """Make the register say that this build was launched; False where it says so already, by an earlier start.

    `pause` waits so many seconds for another launcher. Raises `AttesterError` where that does not end, and where the
    register holds anything else, before or after: no evidence would match then.
    """
    with _alone(register.folder, pause):
        return _extend_once(register, name, build)


@contextmanager
def _alone(folder: Path, pause: Callable[[float], None]) -> Generator[None]:
    """One launcher of this machine at a time: two that both read zeros would both extend."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # then the register is not there either, which reading it says
        yield
        return
    try:
        _lock(folder, descriptor, pause)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, descriptor: int, pause: Callable[[float], None]) -> None:
    for _ in range(ATTEMPTS):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pause(PAUSE_S)
    raise AttesterError(f"{folder}: another launcher, or who else has locked it, does not end; see fuser {folder}")


def _extend_once(register: Register, name: str, build: Measured) -> bool:
    found, wanted = register.read(), build.value(name)
    if found == wanted:
        return False
    if any(found):
        raise AttesterError(
            f"{name} holds {found.hex()}, another build or somebody else's extension; restart the machine"
        )
    register.extend(build.digest(name))
    if register.read() != wanted:
        raise AttesterError(
            f"{name} does not hold what it was extended to: somebody else did so too; restart the machine"
        )
    return True
