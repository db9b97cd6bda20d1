"""A process sandbox for the session, and what the tests need to know of the machine."""

import sys
from collections.abc import AsyncGenerator

import pytest

from servers.tee.process.python import ProcessSandbox

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # the process tier is Linux only


@pytest.fixture(scope="session")
async def native(anyio_backend: str) -> AsyncGenerator[ProcessSandbox]:
    """One sandbox that tests share: each call is a process of its own."""
    async with ProcessSandbox() as sandbox:
        await sandbox.prepare()
        yield sandbox
