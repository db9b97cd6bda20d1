"""A process sandbox for the session, and what the tests need to know of the machine."""

import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from servers.tee.process.python import ProcessSandbox

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # the process tier is Linux only

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
async def native(anyio_backend: str) -> AsyncGenerator[ProcessSandbox]:
    """One sandbox that tests share: each call is a process of its own."""
    async with ProcessSandbox() as sandbox:
        await sandbox.prepare()
        yield sandbox


@pytest.fixture(scope="session")
def common_python() -> Path:
    """An interpreter that every user of the machine may run, with this one's packages."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable).resolve(), Path("/usr/bin") / name, Path("/usr/local/bin") / name):
        if path.exists() and all(step.stat().st_mode & 0o001 for step in (path, *path.resolve().parents)):
            return path
    pytest.skip(f"no {name} that an ordinary user may run")


@pytest.fixture(scope="session")
def python_path() -> str:
    """Where an interpreter that starts with an empty environment finds the project and its packages."""
    packages = next(name for name in sys.path if name.endswith("site-packages"))
    return os.pathsep.join((str(ROOT), packages))
