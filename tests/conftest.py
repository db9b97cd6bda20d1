"""Fixtures that every test may use."""

from importlib import import_module
from pathlib import Path

import pytest

import_module("attest.groth16.pyecc")  # before a test imports py-ecc itself, which would raise the recursion limit

_SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop that ETMCP runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data beside the repository; it is not part of it, so a lone clone skips what needs it."""
    if not _SHARED.is_dir():
        pytest.skip(f"there is no folder {_SHARED}")
    return _SHARED
