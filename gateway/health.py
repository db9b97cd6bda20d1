"""When to try a failing server again."""

from collections.abc import Callable

FIRST_SECONDS = 1.0
MOST_SECONDS = 60.0


class Breaker:
    """Twice as long after each failure in a row, up to a minute; times are seconds of the event loop's clock.

    `jitter` returns a number from 0 to 1, so that servers that failed together are not tried together.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        # Failures since it last worked, and until when nothing is tried. Owned by one event loop.
        self._failures, self.until = 0, float("-inf")

    def failed(self, now: float, *, forgiven: int = 0) -> None:
        """One more failure; the first `forgiven` in a row cost no waiting."""
        self._failures += 1
        if (counted := self._failures - forgiven) > 0:
            delay = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(counted - 1, 10))
            self.until = now + delay * (0.5 + self._jitter() / 2)

    def worked(self) -> None:
        """It did what it is for."""
        self._failures, self.until = 0, float("-inf")

    def open(self, now: float) -> bool:
        """Whether nothing is to be tried now."""
        return now < self.until
