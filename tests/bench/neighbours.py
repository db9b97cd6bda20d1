"""Ten upstreams, four of them bad: what the other six feel. `python -m tests.bench.neighbours`.

Two gateways in front of the same six servers. The four others are healthy for one gateway, and for the other dead,
hung, flapping and lying; both get the same traffic. Rounds alternate, so that both see the same machine.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.__main__ import ETMCP, free_port, start
from tests.bench.load import HEADERS, META, drive
from tests.support import lean

CALLS = int(os.environ.get("BENCH_CALLS", "2000"))
ROUNDS = 5
SIX = [f"good{n}" for n in range(6)]
FOUR: tuple[str, ...] = ("dead", "hung", "flapping", "lying")
PAUSE = 0.1
"""Seconds between two calls to each of the four, which is what a client that insists would do."""


def stdio(folder: Path, mode: str) -> dict[str, Any]:
    """A scripted stdio server."""
    folder.mkdir()
    (folder / "mode").write_text(mode)
    (folder / "tools.json").write_text(json.dumps([lean.tool("echo")]))
    return {"command": sys.executable, "args": [lean.__file__, str(folder)], "etmcp": {"timeout": 2}}


def servers(stack: ExitStack, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both configurations: with four healthy neighbours, and with four bad ones."""
    six: dict[str, Any] = {}
    for name in SIX:
        port = free_port()
        start(stack, sys.executable, "-m", "tests.bench.lean", str(port), port=port)
        six[name] = {"url": f"http://127.0.0.1:{port}/mcp"}
    key, honest, liar = folder / "built.key", free_port(), free_port()
    start(stack, sys.executable, "-m", "tests.bench.built", str(honest), str(key), port=honest)
    start(stack, sys.executable, "-m", "tests.bench.liar", str(liar), f"http://127.0.0.1:{honest}/mcp", port=liar)
    proven = {"require": "executor-attested", "attesters": [key.read_text()], "seal": False}
    healthy = {name: stdio(folder / f"healthy-{name}", "good") for name in ("dead", "hung", "flapping")}
    healthy["lying"] = {"url": f"http://127.0.0.1:{honest}/mcp", "etmcp": proven}
    bad = {
        "dead": {"url": f"http://127.0.0.1:{free_port()}/mcp"},
        "hung": stdio(folder / "hung", "hangs"),
        "flapping": stdio(folder / "flapping", "dies"),
        "lying": {"url": f"http://127.0.0.1:{liar}/mcp", "etmcp": proven},
    }
    return six | healthy, six | bad


async def insist(url: str, name: str, failures: dict[str, int]) -> None:
    """Call one of the four again and again, and look at the list, until cancelled."""
    params = {"name": f"{name}_echo", "arguments": {"text": "x"}, "_meta": META}
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.post(url, data=call, headers=HEADERS | {"mcp-name": f"{name}_echo"}) as response:
                answer = json.loads(await response.read())
            failures[name] += "error" in answer or bool(answer["result"].get("isError"))
            await asyncio.sleep(PAUSE)


async def round_of(url: str, failures: dict[str, int]) -> float:
    """The p99 in milliseconds of calls to the six while others insist on the four."""
    insisting = [asyncio.create_task(insist(url, name, failures)) for name in FOUR]
    try:
        found = await asyncio.gather(*(drive(url, f"{name}_echo", 1, CALLS // 6, {}) for name in SIX))
    finally:
        for task in insisting:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return statistics.mean(figures.p99 for figures in found)


def main() -> None:
    """Print both p99s, their ratio, and that the four failed where they should."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls: dict[str, str] = {}
        for name, config in zip(("healthy", "bad"), servers(stack, folder), strict=True):
            path, port = folder / f"{name}.json", free_port()
            path.write_text(json.dumps({"mcpServers": config}))
            command = (
                ETMCP,
                "--config",
                str(path),
                "--home",
                str(folder / f"home-{name}"),
                "serve",
                "--port",
                str(port),
            )
            start(stack, *command, port=port)
            urls[name] = f"http://127.0.0.1:{port}/mcp"
        p99s: dict[str, list[float]] = {name: [] for name in urls}
        failures: dict[str, dict[str, int]] = {name: dict.fromkeys(FOUR, 0) for name in urls}
        for _ in range(ROUNDS):
            for name, url in urls.items():
                p99s[name].append(asyncio.run(round_of(url, failures[name])))
        for name in urls:
            print(f"{name} neighbours: p99 {statistics.median(p99s[name]):.1f} ms; failures {failures[name]}")
        ratio = statistics.median(p99s["bad"]) / statistics.median(p99s["healthy"])
        print(f"p99 of the six beside four bad servers / beside four healthy ones: {ratio:.2f}")


if __name__ == "__main__":
    main()
