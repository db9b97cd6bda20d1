"""The gateways of all fidelity tests."""

from collections.abc import Iterator

import pytest

from tests.fidelity.pairs import Pairs, running


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    """One long-lived gateway for each front."""
    with running(tmp_path_factory.mktemp("fidelity")) as pairs:
        yield pairs
