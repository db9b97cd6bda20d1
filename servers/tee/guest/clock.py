"""A clock and a source of randomness that are functions of the call alone, so that a call can be run again."""

import datetime
import gc
import hashlib
import os
import random
import time
import types
import uuid
from typing import Any

from guest.rebind import rebind

_READ_NS = 1000  # each reading moves the clock, so that a loop that waits for time to pass ends
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  local time is UTC here, and naive as `now()` is


class Clock:
    """Time and randomness of the one call that this instance runs; `start` sets them."""

    def __init__(self) -> None:
        self._start_ns = 0
        self._elapsed_ns = 0
        self._seed = b""
        self._blocks = 0

    def start(self, seed: bytes, clock_ms: int) -> None:
        """Begin at `clock_ms` (milliseconds since 1970) with all randomness drawn from `seed`."""
        self._start_ns = clock_ms * 1_000_000
        self._elapsed_ns = 0
        self._seed = seed
        self._blocks = 0
        random.seed(int.from_bytes(self.urandom(32)))
        uuid._node = None

    def urandom(self, size: int, /) -> bytes:
        """SHA-256 in counter mode over the seed."""
        if size < 0:
            raise ValueError("negative argument not allowed")
        out = bytearray()
        while len(out) < size:
            out += hashlib.sha256(self._seed + self._blocks.to_bytes(8)).digest()
            self._blocks += 1
        return bytes(out[:size])

    def elapsed_ns(self) -> int:
        self._elapsed_ns += _READ_NS
        return self._elapsed_ns

    def wall_ns(self) -> int:
        return self._start_ns + self.elapsed_ns()

    def elapsed(self) -> float:
        return self.elapsed_ns() / 1e9

    def wall(self) -> float:
        return self.wall_ns() / 1e9

    def sleep(self, seconds: float, /) -> None:
        """Sleeping costs nothing: it only moves the clock."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self._elapsed_ns += int(seconds * 1e9)


CLOCK = Clock()


def install() -> None:
    """Replace every function of the standard library that reads a clock or the system's randomness."""
    real = {name: getattr(time, name) for name in ("gmtime", "localtime", "ctime", "asctime", "strftime")}

    def gettime_ns(clock: int, /) -> int:
        return CLOCK.wall_ns() if clock == time.CLOCK_REALTIME else CLOCK.elapsed_ns()

    replacements: dict[Any, Any] = {
        os.urandom: CLOCK.urandom,
        time.time: CLOCK.wall,
        time.time_ns: CLOCK.wall_ns,
        time.sleep: CLOCK.sleep,
        time.clock_gettime: lambda clock, /: gettime_ns(clock) / 1e9,
        time.clock_gettime_ns: gettime_ns,
        time.clock_getres: lambda _clock, /: _READ_NS / 1e9,
        time.get_clock_info: lambda _name, /: types.SimpleNamespace(
            implementation="virtual", monotonic=True, adjustable=False, resolution=_READ_NS / 1e9
        ),
        time.gmtime: lambda seconds=None, /: real["gmtime"](CLOCK.wall() if seconds is None else seconds),
        time.localtime: lambda seconds=None, /: real["localtime"](CLOCK.wall() if seconds is None else seconds),
        time.ctime: lambda seconds=None, /: real["ctime"](CLOCK.wall() if seconds is None else seconds),
        time.asctime: lambda t=None, /: real["asctime"](time.localtime() if t is None else t),
        time.strftime: lambda form, t=None, /: real["strftime"](form, time.localtime() if t is None else t),
    }
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        if hasattr(time, name):
            replacements[getattr(time, name)] = CLOCK.elapsed
            replacements[getattr(time, f"{name}_ns")] = CLOCK.elapsed_ns
    rebind(replacements)
    _install_datetime()
    _install_random()
    uuid._GETTERS = [uuid._random_getnode]
    uuid._generate_time_safe = uuid._UuidCreate = None


def _install_datetime() -> None:
    """`datetime.now` reads the clock in C, in a type that refuses changes: go through the dictionary it owns.

    A subclass in its place would print and compare differently. Nothing has looked these names up before, so that no
    stale method cache can answer.
    """

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        micros = CLOCK.wall_ns() // 1000
        naive = _EPOCH + datetime.timedelta(microseconds=micros)
        fields = (*naive.timetuple()[:6], naive.microsecond)
        if tz is None:
            return cls(*fields)
        return tz.fromutc(cls(*fields, tzinfo=tz))

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return now(cls)

    members = gc.get_referents(datetime.datetime.__dict__)[0]
    members["now"] = classmethod(now)
    members["utcnow"] = classmethod(utcnow)


def _install_random() -> None:
    seed = random.Random.seed

    def seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
        seed(self, int.from_bytes(CLOCK.urandom(32)) if a is None else a, version)

    random.Random.seed = seeded  # type: ignore[method-assign]
    random.seed = random._inst.seed  # type: ignore[attr-defined]
