"""One setup for all tests of proofs."""

from pathlib import Path

import pytest

from servers.tee.proving.folder import Keys, make


@pytest.fixture(scope="session")
def proving_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with keys and a random model; skips where this Python has no prover."""
    pytest.importorskip("zksnake", reason="zksnake, the extra `prove`, has no wheel for this Python")
    cache = tmp_path_factory.mktemp("proving")
    make(cache, None, lambda _: None)
    return cache


@pytest.fixture(scope="session")
def keys(proving_cache: Path) -> Keys:
    """What that setup made."""
    return make(proving_cache, None, lambda _: None)
