"""A compiled sandbox for the whole session."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from servers.tee.sandbox.wasm import WasmSandbox


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
