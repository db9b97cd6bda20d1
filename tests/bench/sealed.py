"""What sealing costs: a gateway that seals and one that does not before one server, driven in turns.

`.venv/bin/python -m tests.bench.sealed [tee]`: an echo, or Python in the TEE server. Other work on the machine slows
both alike, so the ratios hold where the milliseconds do not.
"""

import asyncio
import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.__main__ import ETMCP, configure, free_port, start
from tests.bench.load import Figures, as_text, drive

TURNS = 7
CALLS = 320


def main() -> None:
    """Print each way, and the ratio of the medians."""
    found: dict[str, list[Figures]] = {"plain": [], "sealed": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, tool, arguments = free_port(), "echo", as_text
        if sys.argv[1:] == ["tee"]:
            tool, arguments = "run_python", program
            server, anchor = tee(stack, folder, port)
        else:
            key = folder / "key"
            server = start(stack, sys.executable, "-m", "tests.bench.built", str(port), str(key), port=port).pid
            anchor = key.read_text()
        gateways: dict[str, tuple[int, int]] = {}
        for name in found:
            settings = {"require": "executor-attested", "attesters": [anchor], "seal": name == "sealed"}
            config = configure(folder, name, f"http://127.0.0.1:{port}/mcp", settings)
            listening = free_port()
            command = (ETMCP, "--config", str(config), "--home", str(folder / name), "serve", "--port", str(listening))
            gateways[name] = listening, start(stack, *command, port=listening).pid
        for _ in range(TURNS):
            for name, (listening, pid) in gateways.items():
                url, processes = f"http://127.0.0.1:{listening}/mcp", {"gateway": pid, "server": server}
                found[name].append(asyncio.run(drive(url, tool, 16, CALLS, processes, arguments)))
    cpu = {name: report(name, turns) for name, turns in found.items()}
    rate = {name: statistics.median(turn.rate for turn in turns) for name, turns in found.items()}
    print(f"sealed / plain: CPU {cpu['sealed'] / cpu['plain']:.2f}, time {rate['plain'] / rate['sealed']:.2f}")


def program(text: str) -> dict[str, Any]:
    """Arguments of `run_python`."""
    return {"code": f"{text!r}"}


def tee(stack: ExitStack, folder: Path, port: int) -> tuple[int, str]:
    """The TEE server: its process id, and its attester key in hex. Its workers' time is not the process's own."""
    key = Ed25519PrivateKey.from_private_bytes(secrets.token_bytes(32))
    (folder / "key").write_text(key.private_bytes_raw().hex())
    command = (
        sys.executable,
        "-m",
        "servers.tee",
        "http",
        "--attester",
        "software",
        "--port",
        str(port),
        "--key-file",
        str(folder / "key"),
    )
    process = start(stack, *command, port=port)
    return process.pid, key.public_key().public_bytes_raw().hex()


def report(name: str, turns: list[Figures]) -> float:
    """Print one row; return CPU milliseconds a call, of both processes."""
    of: Callable[[str], float] = lambda process: statistics.median(turn.cpu[process] for turn in turns)  # noqa: E731
    rate = statistics.median(turn.rate for turn in turns)
    print(f"{name:<8} {rate:6.0f}/s  CPU ms a call: gateway {of('gateway'):.2f}, server {of('server'):.2f}", flush=True)
    return of("gateway") + of("server")


if __name__ == "__main__":
    main()
