"""A TEE server that is measured, and the lines of the table."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.__main__ import free_port, start

ETMCP_TEE = str(Path(sys.executable).with_name("etmcp-tee"))
FUNCTION = Path(__file__).parent / "run_native"


@dataclass(frozen=True)
class Running:
    """A TEE server of this run. `folder` has all that it writes to."""

    url: str
    pid: int
    anchor: str
    folder: Path


def serve(stack: ExitStack, folder: Path, workers: int) -> Running:
    """Start the server; the component is compiled by the first call, once per machine."""
    key, port = Ed25519PrivateKey.generate(), free_port()
    temporary = folder / "tmp"
    temporary.mkdir()
    folder.chmod(0o711)  # sandboxes run as somebody else
    temporary.chmod(0o1777)
    (folder / "key").write_text(key.private_bytes_raw().hex())
    library = str(folder / "library")
    subprocess.run([ETMCP_TEE, "library", "add", "--library", library, str(FUNCTION)], check=True, capture_output=True)
    command = [
        "/usr/bin/env",
        f"TMPDIR={temporary}",
        ETMCP_TEE,
        "--cache",
        str(folder / "cache"),
        "http",
        "--attester",
        "software",
    ]
    command += ["--port", str(port), "--workers", str(workers), "--key-file", str(folder / "key")]
    process = start(stack, *command, "--library", library, port=port)
    anchor = key.public_key().public_bytes_raw().hex()
    return Running(f"http://127.0.0.1:{port}/mcp", process.pid, anchor, folder)


def memory(pid: int) -> float:
    """MiB, shared pages divided by who shares them."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


async def rate(
    call: Callable[[], Awaitable[None]], callers: int, calls: int, pause: float = 0
) -> tuple[list[float], float]:
    """Milliseconds of each call, sorted, and calls a second, by so many callers at once; `pause` is seconds between."""
    times: list[float] = []

    async def caller() -> None:
        for _ in range(calls // callers):
            begun = time.perf_counter()
            await call()
            times.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(pause)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return sorted(times), len(times) / (time.perf_counter() - begun)


def row(name: str, times: list[float], rest: str) -> None:
    """One line of the table; `times` are sorted."""
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    print(f"{name:<34} p50 {p50:7.2f}  p99 {p99:7.2f} ms  {rest}", flush=True)
