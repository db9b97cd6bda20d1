"""A compiled sandbox for the whole session."""

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from servers.tee.sandbox.wasm import WasmSandbox

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def component_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the first sandbox to use it fills, in about 10 s."""
    return tmp_path_factory.mktemp("component") / "cache"


@pytest.fixture(scope="session")
async def sandbox(component_cache: Path, anyio_backend: str) -> AsyncGenerator[WasmSandbox]:
    """One sandbox that all tests share: each call is a fresh instance."""
    async with WasmSandbox(component_cache) as sandbox:
        await sandbox.prepare(lambda _: None)
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


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A folder that an ordinary user may use as home: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)
