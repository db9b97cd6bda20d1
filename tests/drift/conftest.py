"""What the tests of drift share."""

from collections.abc import Iterator

import pytest

from tests.cli.programs import Programs


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """The console scripts."""
    with Programs() as programs:
        yield programs
