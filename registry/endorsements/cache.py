"""Documents of vendors, kept in a folder and renewed at half their life. What is newer is never replaced by older."""

import errno
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

MOST = 1000
RETRY_SECONDS = 60.0
"""Before a vendor is asked again for what it did not give."""
UNCHANGED_SECONDS = 3600.0
"""At most, before a vendor is asked again that had nothing newer."""
logger = logging.getLogger(__name__)


class Cache:
    """A `Source` over a folder and the vendors' services, by the first word of a name. `clock` in milliseconds.

    A document that is past its end is handed out all the same, where no other is to be had: the appraisal refuses it,
    and says why.
    """

    def __init__(self, folder: Path, vendors: Mapping[str, Vendor], clock: Callable[[], int]) -> None:
        self._path, self._vendors, self._clock = folder, vendors, clock
        self._folder = Folder(folder)
        # When (event loop time) a document may be asked for again that was not to be had, and by its name alone a
        # vendor who asked to be left in peace. Names come with evidence that nobody has checked: at most `MOST`.
        self._again: dict[str, float] = {}
        # One fetch of a name at a time; an entry goes with the last who waits for it.
        self._fetching: dict[str, anyio.Lock] = {}

    async def find(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """See `Source.find`."""
        found: dict[str, bytes] = {}
        for name in names:
            wanted = read_name(name)
            if wanted is not None and (data := await self._current(name, wanted)) is not None:
                found[name] = data
        return found

    def remembered(self) -> int:
        """How many names are in memory."""
        return len(self._again) + len(self._fetching)

    async def _current(self, name: str, wanted: Name) -> bytes | None:
        lock = self._fetching.setdefault(name, anyio.Lock())
        try:
            async with lock:
                return await self._newest(name, wanted)
        finally:
            if not lock.statistics().tasks_waiting:
                self._fetching.pop(name, None)

    async def _newest(self, name: str, wanted: Name) -> bytes | None:
        held = self._folder.read(name)
        life, whose = _life(wanted, held), name.partition("/")[0]
        vendor = self._vendors.get(whose)
        if vendor is None or (life is not None and life.fresh(self._clock())):
            return held
        if anyio.current_time() < max(self._again.get(name, 0.0), self._again.get(whose, 0.0)):
            return held
        try:
            fetched = await vendor.fetch(name)
            kept = await anyio.to_thread.run_sync(self._keep, name, wanted, fetched)
        except Unavailable as e:
            self._put_off(whose if e.retry_after else name, max(e.retry_after, RETRY_SECONDS))
            state = "no other is here" if life is None else "valid" if life.valid(self._clock()) else "expired"
            logger.warning("%s (what is kept of %s: %s)", e.detail, name, state)
            return held
        life, now = _life(wanted, kept), self._clock()
        if life is not None and not life.fresh(now) and self._folder.read(name) == kept:
            # Vendors renew late in a document's life: else each appraisal would ask those who count requests.
            self._put_off(name, min(max((life.expires_at - now) / 2000, RETRY_SECONDS), UNCHANGED_SECONDS))
        return kept

    def _put_off(self, what: str, seconds: float) -> None:
        if len(self._again) >= MOST:
            self._again = dict(sorted(self._again.items(), key=lambda item: item[1])[MOST // 2 :])
        self._again[what] = anyio.current_time() + seconds

    def _keep(self, name: str, wanted: Name, data: bytes) -> bytes:
        """Write what was fetched and return it, or what is there and stays. Raises `Unavailable`. In a thread of its
        own, since another process may hold the folder."""
        try:
            life = life_of(wanted, data)
        except ValueError as e:
            raise Unavailable(f"what was fetched as {name} cannot be read: {e}") from e
        try:
            with _alone(self._path):
                if (held := self._stays(name, wanted, life)) is None:
                    self._write(name, data)
        except OSError as e:
            logger.warning("%s: %s; %s is not kept", e.filename or self._path, e.strerror, name)
            held = self._stays(name, wanted, life)
        return data if held is None else held

    def _stays(self, name: str, wanted: Name, life: Life) -> bytes | None:
        """What is in the folder, if what was fetched must not take its place.

        What holds gives way to nothing that begins later, as all does that is dated when it is asked for, by vendors
        whose clock is before ours. What has a newer part gives way to older only where it has ended and that holds:
        one that begins later itself may be right, and our clock set back.
        """
        held, now = self._folder.read(name), self._clock()
        other = _life(wanted, held)
        if other is None:
            return None
        if now < life.begins_at and other.valid(now):
            logger.warning("what was fetched as %s begins later; compare the clocks", name)
            return held
        if not life.goes_back(other) or (other.expires_at < now and life.valid(now)):
            return None
        logger.warning("what was fetched as %s is older than what is in %s", name, self._path)
        return held

    def _write(self, name: str, data: bytes) -> None:
        """Raises `OSError`. Evidence that nobody has checked chooses names: a full folder takes no more of them."""
        if not (self._path / name).exists() and self._folder.count() >= MOST:
            raise OSError(errno.EDQUOT, f"there are {MOST} documents already", str(self._path))
        self._folder.write(name, data)


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
