"""What sealing costs: a gateway that seals and one that does not before one server, driven in turns.

`.venv/bin/python -m tests.bench.sealed`. Other work on the machine slows both alike, so the ratios hold where the
milliseconds do not.
"""

import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.__main__ import ETMCP, configure, free_port, start
from tests.bench.load import Figures, drive

TURNS = 7
CALLS = 320


def main() -> None:
    """Print each turn, and the ratio of the medians."""
    found: dict[str, list[Figures]] = {"plain": [], "sealed": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, key = free_port(), folder / "key"
        server = start(stack, sys.executable, "-m", "tests.bench.built", str(port), str(key), port=port)
        gateways: dict[str, tuple[int, int]] = {}
        for name in found:
            settings = {"require": "executor-attested", "attesters": [key.read_text()], "seal": name == "sealed"}
            config = configure(folder, name, f"http://127.0.0.1:{port}/mcp", settings)
            listening = free_port()
            command = (ETMCP, "--config", str(config), "--home", str(folder / name), "serve", "--port", str(listening))
            gateways[name] = listening, start(stack, *command, port=listening).pid
        for _ in range(TURNS):
            for name, (listening, pid) in gateways.items():
                processes = {"gateway": pid, "server": server.pid}
                found[name].append(
                    asyncio.run(drive(f"http://127.0.0.1:{listening}/mcp", "echo", 16, CALLS, processes))
                )
    cpu = {name: _report(name, turns) for name, turns in found.items()}
    rate = {name: statistics.median(turn.rate for turn in turns) for name, turns in found.items()}
    print(f"sealed / plain: CPU {cpu['sealed'] / cpu['plain']:.2f}, time {rate['plain'] / rate['sealed']:.2f}")


def _report(name: str, turns: list[Figures]) -> float:
    """One row; returns CPU milliseconds a call, of both processes."""
    gateway, server = (statistics.median(turn.cpu[process] for turn in turns) for process in ("gateway", "server"))
    rate = statistics.median(turn.rate for turn in turns)
    print(f"{name:<8} {rate:6.0f}/s  CPU ms a call: gateway {gateway:.2f}, server {server:.2f}", flush=True)
    return gateway + server


if __name__ == "__main__":
    main()
