"""An installation of its own, as `deploy/README.md` makes one: no development tools, nothing editable."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.interpreter import FROM_SOURCE

ROOT = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")
COMMAND = ("uv", "sync", "--frozen", "--no-dev", "--no-editable", "--reinstall-package", "etmcp")


@dataclass(frozen=True)
class Installed:
    """Where it is."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its code is."""
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def tee(self, *words: str) -> list[str]:
        """The command line of `etmcp-tee`, apart from environment and working directory, and from source."""
        return [str(self.python), "-I", *FROM_SOURCE, "-m", "servers.tee", *words]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it there."""
        given = {"PATH": os.defpath, "HOME": str(self.folder), **environment}
        return subprocess.run(self.tee(*words), env=given, capture_output=True, text=True, timeout=120, check=False)


def install(folder: Path) -> Installed:
    """Copies of the locked packages and of this tree, from uv's cache as far as they are there."""
    if not UV.exists():
        pytest.skip(f"{UV} is missing: run `make setup`")
    command = [UV, *COMMAND[1:], "--quiet", "--link-mode", "copy", "--python", os.path.realpath(sys.executable)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder), "VIRTUAL_ENV": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Installed(folder)
