"""A software TPM for each session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.swtpm import SoftwareTpm


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """One that is on."""
    made = SoftwareTpm(tmp_path_factory.mktemp("tpm"))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def device(machine: SoftwareTpm) -> Path:
    """Where it answers."""
    return machine.path
