"""What a call costs in the TEE server, and what it leaves behind: `python -m tests.bench.tee [CALLS_OF_THE_SOAK]`.

Each call is a whole one: over HTTP, with a header under an appraised key, in a fresh sandbox, receipt verified. Each
leaves a mark and looks for those of the calls before it; one that is found voids the run. Others stand beside it.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp

from tests.bench.caller import Caller, over_http
from tests.bench.hosted import hosted
from tests.bench.leaks import descendants
from tests.bench.load import TICK, cpu_seconds
from tests.bench.native import native
from tests.bench.running import Running, memory, rate, row, serve
from tests.bench.sandboxes import PEERS, Absent
from tests.bench.soak import soak

CALLS = int(os.environ.get("BENCH_CALLS", "1000"))
PAUSED_CALLS = 300
PAUSE = 0.05
"""Seconds, in which the server builds the next sandbox ahead."""
TOOLS = {"wasm": "run_python", "process": "run_native"}
PEER_RUNS = 50
WARM = 30
WORKERS = 2
SOAK = 20_000


async def through(running: Running, tier: str, callers: int, *, sealed: bool, pause: float = 0) -> None:
    """Calls of one program each, in a fresh sandbox of this tier."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        caller = Caller(over_http(http, running.url), running.anchor)

        async def call() -> None:
            await caller.canary(TOOLS[tier], sealed=sealed)

        await rate(call, callers, WARM)
        before = _spent(running)
        times, speed = await rate(call, callers, CALLS if not pause else min(CALLS, PAUSED_CALLS), pause)
        spent = {name: (each - before[name]) / len(times) * 1000 for name, each in _spent(running).items()}
    cpu = ", ".join(f"{name} {each:.2f}" for name, each in spent.items())
    name = f"{tier}, {'sealed' if sealed else 'plain'}, {callers} caller{'s' if callers > 1 else ''}"
    if pause:
        name += f", {pause * 1000:g} ms apart"
    row(name, times, f"{speed:5.0f}/s  CPU ms a call: {cpu} ({1000 / sum(spent.values()):.0f} a second and core)")


def _spent(running: Running) -> dict[str, float]:
    """CPU seconds so far."""
    return {"server": cpu_seconds(running.pid), "sandboxes": sum(map(_with_ended, descendants(running.pid)))}


def _with_ended(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended: a fork server's sandboxes."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICK
    return 0.0


async def sealing(running: Running) -> float:
    """Sealed by plain, medians of calls that take turns, so that both meet the same machine."""
    times: dict[bool, list[float]] = {False: [], True: []}
    async with aiohttp.ClientSession() as http:
        caller = Caller(over_http(http, running.url), running.anchor)
        for number in range(2 * CALLS):
            begun = time.perf_counter()
            await caller.canary(sealed=number % 2 == 0)
            times[number % 2 == 0].append(time.perf_counter() - begun)
    return statistics.median(times[True]) / statistics.median(times[False])


def peers() -> None:
    """The rows of others."""
    for name, run in PEERS.items():
        try:
            times = sorted(seconds * 1000 for seconds in run(PEER_RUNS))
        except Absent as e:
            print(f"{name:<34} not measured: {e}", flush=True)
        else:
            row(name, times, f"{1000 / statistics.mean(times):5.0f}/s")


def main() -> None:
    """Print the table."""
    with ExitStack() as stack:
        running = serve(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())), WORKERS)
        for tier in TOOLS:
            for callers in (1, WORKERS):
                for sealed in (False, True):
                    asyncio.run(through(running, tier, callers, sealed=sealed))
            asyncio.run(through(running, tier, 1, sealed=False, pause=PAUSE))
        print(f"{'sealed / plain':<34} {asyncio.run(sealing(running)):.2f}", flush=True)
        below = ", ".join(f"{memory(pid):.1f}" for pid in descendants(running.pid))
        print(f"{'idle':<34} MiB: server {memory(running.pid):.0f}, below it {below}", flush=True)
        asyncio.run(soak(running, WORKERS, int(sys.argv[1]) if len(sys.argv) > 1 else SOAK))
    asyncio.run(native(CALLS))
    asyncio.run(hosted(CALLS))
    peers()


if __name__ == "__main__":
    main()
