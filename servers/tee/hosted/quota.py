"""How much a hosted server may add to what it may write: counted, since nothing in the kernel holds it to that."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from servers.tee.hosted.measure import written

_MOST_ENTRIES = 200_000
_SHARE = 20
"""Counting may take one part in so many of the time."""


@dataclass
class Quota:
    """Over all sessions of one server. What was there when it was first counted is not counted.

    `now` is any clock in seconds that only goes forward.
    """

    paths: tuple[Path, ...]
    most_bytes: int
    most_entries: int
    now: Callable[[], float] = time.monotonic
    _before: tuple[int, int] | None = None
    _next: float = 0.0

    async def exceeded(self, *, at_once: bool = False) -> str:
        """Why it may write no more, in a line; empty while it may. Counts seldom where there is much to count."""
        began = self.now()
        if not self.paths or (began < self._next and not at_once):
            return ""
        size, count = await anyio.to_thread.run_sync(written, self.paths, _MOST_ENTRIES)
        ended = self.now()
        self._next = ended + _SHARE * (ended - began)
        if self._before is None:
            self._before = size, count
        more, entries = size - self._before[0], count - self._before[1]
        if more <= self.most_bytes and entries <= self.most_entries:
            return ""
        return (
            f"the server wrote {more:,} bytes more in {entries:,} files and folders more, and the policy grants "
            f"{self.most_bytes:,} bytes in {self.most_entries:,}; remove some, or raise quotaBytes and quotaInodes"
        )
