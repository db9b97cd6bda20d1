"""Native programs in a fresh Linux sandbox each: the process tier.

`launcher.Launcher` starts what a `Spec` names and measures it; `python.ProcessSandbox` is the `Sandbox` built on it.
This module is also read inside the fork server, so it imports the standard library only.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from servers.tee.process.seccomp import PROFILES, Profile

LISTENER_PORT = 3128
"""On 127.0.0.1 inside a sandbox with a listener: what its programs take for their proxy."""

SCRATCH = "/tmp"  # noqa: S108  a name inside the sandbox
"""Where a program may write: memory, bounded in bytes and inodes."""

HOME = f"{SCRATCH}/work"
"""Where a program starts; `/work` is another name of it."""


@dataclass(frozen=True)
class Mount:
    """A file or directory of the host shown inside. Symbolic links in it lead nowhere but within the sandbox."""

    source: Path
    """Absolute. What it resolves to when the sandbox starts is what is shown."""
    target: str
    """Absolute; not in the scratch directory, `/proc`, `/dev` or `/usr`."""
    writable: bool = False
    """The sandbox's user (`Launcher.uid`) must be allowed to write there; nothing bounds how much."""
    executable: bool | None = None
    """Whether programs in it may be run; None: unless it is writable. What is in the scratch directory never may."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a place that cannot be one."""
        if not self.source.is_absolute() or not self.target.startswith("/"):
            raise ValueError(f"a mount goes from an absolute path to another, not {self.source} to {self.target}")
        if posixpath.normpath(self.target) != self.target or self.target.count("\0"):
            raise ValueError(f"a mount's target is a plain path, not {self.target!r}")
        top = self.target.split("/")[1]
        if top in ("", "proc", "dev", "usr", "tmp", "work", "bin", "sbin", "lib", "lib64"):
            raise ValueError(f"nothing can be mounted on {self.target}: choose a directory of its own, as /data")


@dataclass(frozen=True)
class Bounds:
    """What the kernel holds a sandbox to. Wall time and bytes of output are the reader's, see `Launcher`."""

    memory_bytes: int = 256 << 20
    """Of all processes together, their scratch files included, where there are cgroups."""
    address_bytes: int | None = None
    """Address space of one process; None: not bounded, as V8 (Node.js) reserves far more than it uses."""
    data_bytes: int | None = None
    """Private writable memory of one process, which is what it can use and not what it reserves; None: not bounded."""
    processes: int = 16
    """Processes and threads at once."""
    cpu_seconds: int = 10
    """Processor time of one process, whole seconds. A session that lives long needs many."""
    descriptors: int = 256
    file_bytes: int = 64 << 20
    scratch_bytes: int = 64 << 20
    scratch_inodes: int = 4096

    def __post_init__(self) -> None:
        """Raise `ValueError` for a bound that could not hold."""
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"the bound {name} must be positive, it is {value}")


@dataclass(frozen=True)
class Spec:
    """One sandbox: what runs in it, what it sees, what bounds it."""

    argv: tuple[str, ...] = ()
    """The program by its path inside, and its arguments, for an exec profile. Empty: a job for Python, as
    `python.ProcessSandbox` sends it over standard input."""
    program: Path | None = None
    """Run this file of the host in place of `argv[0]`: copied, sealed, its digest compared, and run from the copy."""
    program_sha256: str = ""
    """Hex. Set if `program` is: the content that is meant."""
    profile: Profile = "python"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """The whole environment; nothing of the host's is passed on."""
    cwd: str = HOME
    mounts: tuple[Mount, ...] = ()
    bounds: Bounds = Bounds()
    listen: bool = False
    """Make a TCP listener on 127.0.0.1:3128 inside and hand it out: `Running.listener`."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for members that contradict each other."""
        if self.profile not in PROFILES or self.profile == "wasm_worker":
            raise ValueError(f"no process runs under the profile {self.profile!r}")
        if bool(self.argv) != (self.profile != "python"):
            raise ValueError("a program has arguments and an exec profile; Python code has neither")
        if (self.program is not None) != bool(self.program_sha256) or (self.program and not self.argv):
            raise ValueError("an executable is named by its path, its SHA-256 and an argv together")
        if self.listen and self.profile != "exec_net":
            raise ValueError("a listener needs the profile exec_net, whose programs may connect to it")


@dataclass(frozen=True)
class Exit:
    """How a sandbox ended, as the kernel told its parent: nothing here is the program's word."""

    code: int
    """The exit status; minus the signal's number if one ended it."""
    wall_seconds: float
    """From `Launcher.start`."""
    cpu_seconds: float
    """User and system time of the first process and of those it waited for."""
    peak_bytes: int
    """The most memory at once: of all, scratch files included, where there are cgroups; else of the largest process."""
    out_of_memory: bool
    """The kernel killed a process in it for going beyond `Bounds.memory_bytes`."""

    def usage(self) -> dict[str, int]:
        """What a receipt says, in whole numbers."""
        return {
            "exit": self.code,
            "wall_ms": round(self.wall_seconds * 1e3),
            "cpu_ms": round(self.cpu_seconds * 1e3),
            "memory_bytes": self.peak_bytes,
        }
