"""Many calls, and what the TEE server holds before and after them."""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bench.caller import Caller, over_http
from tests.bench.leaks import descendants
from tests.bench.running import Running, memory

WARM = 500
TOOLS = ("run_python", "run_native")
APPRAISE_EVERY = 1000
"""Calls; evidence expires."""
SETTLE_SECONDS = 30
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Held:
    """What a server and what it started hold: counts, and memory in MiB (shared pages divided by who shares them)."""

    processes: int
    files: int
    """Descriptors."""
    mounts: int
    """Of the server's own mount namespace."""
    groups: int
    """Control groups that its fork servers made."""
    stored: int
    """Files and folders in its cache and its folder for temporary ones."""
    memory: float

    @classmethod
    def by(cls, running: Running) -> "Held":
        """Now."""
        pids = [running.pid, *descendants(running.pid)]
        return cls(
            len(pids),
            sum(map(_files, pids)),
            len(Path(f"/proc/{running.pid}/mountinfo").read_text().splitlines()),
            _groups({str(pid) for pid in pids}),
            sum(1 for _ in running.folder.rglob("*")),
            round(sum(map(memory, pids)), 1),
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """All but memory, which Python does not give back."""
        return self.processes, self.files, self.mounts, self.groups, self.stored


def _files(pid: int) -> int:
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def _groups(pids: set[str]) -> int:
    """A fork server's folder is called `etmcp-PID-TAG`; each sandbox has one in it."""
    found = 0
    for place, folders, _ in os.walk(_CGROUPS):
        own = [name for name in folders if name.startswith("etmcp-") and name.split("-")[1] in pids]
        found += len(own) + sum(_folders(Path(place) / name) for name in own)
    return found


def _folders(folder: Path) -> int:
    with suppress(OSError):
        return sum(1 for entry in folder.iterdir() if entry.is_dir())
    return 0


async def _settled(running: Running) -> Held:
    """Once nothing but memory has changed for a second: ended sandboxes are cleared away beside the calls."""
    async with asyncio.timeout(SETTLE_SECONDS):
        last, same = Held.by(running), 0
        while same < 5:
            await asyncio.sleep(0.2)
            now = Held.by(running)
            same = same + 1 if now.counts == last.counts else 0
            last = now
    return last


async def soak(running: Running, callers: int, calls: int) -> None:
    """Both tiers, sealed and plain in turn; what the server holds afterwards must be what it held before."""
    async with aiohttp.ClientSession() as http:
        post = over_http(http, running.url)
        each = [Caller(post, running.anchor) for _ in range(callers)]

        async def some(caller: Caller, count: int) -> None:
            for number in range(count):
                if number % APPRAISE_EVERY == 0:
                    await caller.appraise()
                await caller.canary(TOOLS[number % 2], sealed=number % 4 < 2)

        await asyncio.gather(*(some(caller, WARM // callers) for caller in each))
        before = await _settled(running)
        await asyncio.gather(*(some(caller, calls // callers) for caller in each))
        after = await _settled(running)
    print(f"after {WARM} calls {before}\nafter {calls} more {after}", flush=True)
    if after.counts != before.counts:
        raise SystemExit("void: the calls left something behind")
