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
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.__main__ import free_port, start
from tests.bench.caller import Caller
from tests.bench.leaks import descendants
from tests.bench.load import cpu_seconds
from tests.bench.sandboxes import PEERS, Absent

CALLS = int(os.environ.get("BENCH_CALLS", "1000"))
PEER_RUNS = 50
WARM = 30
WORKERS = 2
SOAK = 2000
ETMCP_TEE = str(Path(sys.executable).with_name("etmcp-tee"))


@dataclass(frozen=True)
class Running:
    """A TEE server of this run."""

    url: str
    pid: int
    anchor: str
    folder: Path


@dataclass(frozen=True)
class Held:
    """What a server and what it started hold: counts, and memory in MiB (proportional)."""

    processes: int
    files: int
    stored: int
    memory: float

    @classmethod
    def by(cls, running: Running) -> "Held":
        """Now."""
        pids = [running.pid, *descendants(running.pid)]
        stored = sum(1 for path in running.folder.rglob("*") if path.is_file())
        return cls(len(pids), sum(map(_files, pids)), stored, round(sum(map(memory, pids)), 1))


def _files(pid: int) -> int:
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def memory(pid: int) -> float:
    """MiB, shared pages divided by who shares them."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


def serve(stack: ExitStack, folder: Path) -> Running:
    """Start the server with two workers; the component is compiled by the first call, once per machine."""
    key, port = Ed25519PrivateKey.generate(), free_port()
    (folder / "key").write_text(key.private_bytes_raw().hex())
    command = [ETMCP_TEE, "--cache", str(folder / "cache"), "http", "--port", str(port)]
    process = start(stack, *command, "--workers", str(WORKERS), "--key-file", str(folder / "key"), port=port)
    anchor = key.public_key().public_bytes_raw().hex()
    return Running(f"http://127.0.0.1:{port}/mcp", process.pid, anchor, folder)


async def rate(call: Callable[[], Awaitable[None]], callers: int, calls: int) -> tuple[list[float], float]:
    """Milliseconds of each call, sorted, and calls a second, by so many callers at once."""
    times: list[float] = []

    async def caller() -> None:
        for _ in range(calls // callers):
            begun = time.perf_counter()
            await call()
            times.append((time.perf_counter() - begun) * 1000)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return sorted(times), len(times) / (time.perf_counter() - begun)


def row(name: str, times: list[float], rest: str) -> None:
    """One line of the table."""
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    print(f"{name:<34} p50 {p50:7.2f}  p99 {p99:7.2f} ms  {rest}", flush=True)


async def wasm(running: Running, callers: int, *, sealed: bool) -> None:
    """Calls of `run_python`, one program each in a fresh sandbox."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        caller = Caller(http, running.url, running.anchor)

        async def call() -> None:
            await caller.canary(sealed=sealed)

        await rate(call, callers, WARM)
        pids = {"server": [running.pid], "workers": descendants(running.pid)}
        before = {name: sum(map(cpu_seconds, each)) for name, each in pids.items()}
        times, speed = await rate(call, callers, CALLS)
    spent = {name: (sum(map(cpu_seconds, each)) - before[name]) / len(times) * 1000 for name, each in pids.items()}
    cpu = ", ".join(f"{name} {each:.2f}" for name, each in spent.items())
    name = f"wasm, {'sealed' if sealed else 'plain'}, {callers} caller{'s' if callers > 1 else ''}"
    row(name, times, f"{speed:5.0f}/s  CPU ms a call: {cpu} ({1000 / sum(spent.values()):.0f} a second and core)")


async def sealing(running: Running) -> float:
    """Sealed by plain, medians of calls that take turns, so that both meet the same machine."""
    times: dict[bool, list[float]] = {False: [], True: []}
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, running.url, running.anchor)
        for number in range(2 * CALLS):
            begun = time.perf_counter()
            await caller.canary(sealed=number % 2 == 0)
            times[number % 2 == 0].append(time.perf_counter() - begun)
    return statistics.median(times[True]) / statistics.median(times[False])


async def soak(running: Running, calls: int) -> None:
    """Many calls, sealed and plain in turn; what the server holds afterwards must be what it held before."""
    async with aiohttp.ClientSession() as http:
        callers = [Caller(http, running.url, running.anchor) for _ in range(WORKERS)]

        async def some(caller: Caller, count: int) -> None:
            for number in range(count):
                if number % 1000 == 0:
                    await caller.appraise()  # evidence expires
                await caller.canary(sealed=number % 2 == 0)

        await asyncio.gather(*(some(caller, 500 // WORKERS) for caller in callers))
        before = Held.by(running)
        await asyncio.gather(*(some(caller, calls // WORKERS) for caller in callers))
        after = Held.by(running)
    print(f"after 500 calls {before}\nafter {calls} more {after}", flush=True)
    if (after.processes, after.files, after.stored) != (before.processes, before.files, before.stored):
        raise SystemExit("void: the calls left something behind")


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
        running = serve(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for callers in (1, WORKERS):
            for sealed in (False, True):
                asyncio.run(wasm(running, callers, sealed=sealed))
        print(f"{'sealed / plain':<34} {asyncio.run(sealing(running)):.2f}", flush=True)
        workers = ", ".join(f"{memory(pid):.0f}" for pid in descendants(running.pid))
        print(f"{'idle':<34} MiB: server {memory(running.pid):.0f}, workers {workers}", flush=True)
        asyncio.run(soak(running, int(sys.argv[1]) if len(sys.argv) > 1 else SOAK))
    peers()


if __name__ == "__main__":
    main()
