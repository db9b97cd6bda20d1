"""Documents of vendors, kept in a folder and renewed at half their life. What is newer is never replaced by older."""

import fcntl
import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from registry.endorsements import Unavailable, Vendor
from registry.endorsements.folder import Folder
from registry.endorsements.life import Life, life_of
from registry.endorsements.names import Name, read_name

RETRY_SECONDS = 60.0
"""Before a vendor is asked again for what it did not give."""
logger = logging.getLogger(__name__)


class Cache:
    """A `Source` over a folder and the vendors' services, by the first word of a name. `clock` in milliseconds.

    A document that is past its end is handed out all the same, where no other is to be had: the appraisal refuses it,
    and says why.
    """

    def __init__(self, folder: Path, vendors: Mapping[str, Vendor], clock: Callable[[], int]) -> None:
        self._path, self._vendors, self._clock = folder, vendors, clock
        self._folder = Folder(folder)
        # When (event loop time) a document may be asked for again that was not to be had.
        self._again: dict[str, float] = {}
        self._fetching: dict[str, anyio.Lock] = {}

    async def find(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """See `Source.find`."""
        found: dict[str, bytes] = {}
        for name in names:
            wanted = read_name(name)
            if wanted is not None and (data := await self._current(name, wanted)) is not None:
                found[name] = data
        return found

    async def _current(self, name: str, wanted: Name) -> bytes | None:
        async with self._fetching.setdefault(name, anyio.Lock()):
            held = self._folder.read(name)
            life = _life(wanted, held)
            vendor = self._vendors.get(name.partition("/")[0])
            if vendor is None or (life is not None and life.fresh(self._clock())):
                return held
            if anyio.current_time() < self._again.get(name, 0.0):
                return held
            try:
                return self._keep(name, wanted, await vendor.fetch(name))
            except Unavailable as e:
                self._again[name] = anyio.current_time() + max(e.retry_after, RETRY_SECONDS)
                state = "no other is here" if life is None else "valid" if life.valid(self._clock()) else "expired"
                logger.warning("%s (what is kept of %s: %s)", e.detail, name, state)
                return held

    def _keep(self, name: str, wanted: Name, data: bytes) -> bytes:
        """Write what was fetched, unless what is there by now is newer; the newer of the two. Raises `Unavailable`."""
        try:
            life = life_of(wanted, data)
        except ValueError as e:
            raise Unavailable(f"what was fetched as {name} cannot be read: {e}") from e
        try:
            with _alone(self._path):
                held = self._folder.read(name)
                other = _life(wanted, held)
                if held is not None and other is not None and other > life:
                    logger.warning("what was fetched as %s is older than what is here", name)
                    return held
                self._folder.write(name, data)
        except OSError as e:
            logger.warning("%s: %s; it is used and not kept", e.filename or self._path, e.strerror)
        return data


def _life(wanted: Name, data: bytes | None) -> Life | None:
    try:
        return None if data is None else life_of(wanted, data)
    except ValueError:
        return None


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """No other process compares and swaps in this folder meanwhile."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
