"""Clients that come and go, and what is left of them in the gateway: `leaks(folder, rounds)`."""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.bridge.client import on_pipe
from tests.bridge.scene import Era, Gateway, Way, answered, eventually, gateway
from tests.bridge.test_questions import ABLE, ANSWERS, QUESTIONS

WARM = 12
AT_ONCE = 4
SETTLE_SECONDS = 30
PIPES_EVERY = 50
"""Of so many rounds, one starts a gateway of its own on a pipe."""


@dataclass(frozen=True)
class Held:
    """What a process holds; memory in MiB."""

    files: int
    threads: int
    children: int
    stored: int
    memory: float

    @classmethod
    def by(cls, pid: int, home: Path) -> "Held":
        """Of this gateway, now."""
        process = Path(f"/proc/{pid}")
        pages = int((process / "statm").read_text().split()[1])
        return cls(
            files=len(list((process / "fd").iterdir())),
            threads=len(list((process / "task").iterdir())),
            children=len(descendants(pid)),
            stored=sum(1 for path in home.rglob("*") if path.is_file()),
            memory=pages * os.sysconf("SC_PAGESIZE") / 2**20,
        )

    def no_more_than(self, other: "Held") -> bool:
        """Whether nothing but memory, which Python does not give back, has grown."""
        pairs = zip(self._counts, other._counts, strict=True)
        return all(mine <= theirs for mine, theirs in pairs)

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.files, self.threads, self.children, self.stored


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    found = list[int]()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found + [below for child in list(found) for below in _below(child)]


def _below(pid: int) -> list[int]:
    with suppress(OSError):
        return descendants(pid)
    return []


async def visit(running: Gateway, number: int) -> None:
    """One of each kind of client, and each goes another way."""
    async with running.client("legacy", {} if number % 3 else ABLE) as old:
        await old.result("tools/list")
        await old.result("resources/subscribe", {"uri": "legacy_pipe://a"})
        if number % 3 == 0:
            await answered(old, {"q": QUESTIONS["places"]}, ANSWERS, "legacy_pipe_ask")
        else:
            task = old.begin("tools/call", {"name": "modern_http_hang", "arguments": {}, "_meta": {"progressToken": 1}})
            await old.hears(lambda message: message["method"] == "notifications/progress")
            task.cancel()
    async with running.client("modern", ABLE) as new:
        new.begin("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["modern_http://a"]}})
        await new.hears(lambda message: "acknowledged" in message["method"])
        await answered(new, {"q": QUESTIONS["places"]}, ANSWERS, "modern_http_ask")
    async with (
        aiohttp.ClientSession() as pool,
        pool.get(f"http://127.0.0.1:{running.port}/sse") as stream,
    ):
        await stream.content.readline()


async def leaks(folder: Path, rounds: int) -> tuple[Held, Held]:
    """What the gateway held after a few rounds, and what it holds after all of them; equal but for memory, or it
    raises `TimeoutError`."""
    kinds: list[tuple[Era, Way]] = [("legacy", "pipe"), ("modern", "http")]
    with gateway(folder, *kinds) as running:
        home, numbers = folder / "own" / "home", iter(range(rounds))

        async def visitor() -> None:
            for number in numbers:
                await visit(running, number)
                if number % PIPES_EVERY == 0:
                    async with on_pipe(running.config, folder / "own" / f"pipe-{number}", "legacy", ABLE) as there:
                        await there.result("tools/list")

        for number in range(WARM):
            await visit(running, number)
        before = await settled(running.pid, home)
        await asyncio.gather(*(visitor() for _ in range(AT_ONCE)))
        await eventually(lambda: Held.by(running.pid, home).no_more_than(before), "it has let go of everything")
        return before, Held.by(running.pid, home)


async def settled(pid: int, home: Path) -> Held:
    """What is held once it has not changed for a while: what was let go ends in the background."""
    async with asyncio.timeout(SETTLE_SECONDS):
        last, same = Held.by(pid, home), 0
        while same < 10:
            await asyncio.sleep(0.2)
            now = Held.by(pid, home)
            same = same + 1 if now.no_more_than(last) and last.no_more_than(now) else 0
            last = now
    return last
