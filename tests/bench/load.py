"""Drives one MCP endpoint with `tools/call`: random text each time, N callers; latency, and CPU by process."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
}
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Figures:
    """Milliseconds, calls a second, CPU milliseconds a call by process name."""

    rate: float
    p50: float
    p99: float
    cpu: dict[str, float]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def as_text(text: str) -> dict[str, Any]:
    """The arguments of an echo."""
    return {"text": text}


async def drive(
    url: str,
    tool: str,
    callers: int,
    calls: int,
    processes: dict[str, int],
    arguments: Callable[[str], dict[str, Any]] = as_text,
) -> Figures:
    """Make `calls` calls, whose arguments carry a random text. Raises `AssertionError` for an answer without it, of an
    echo for one that is anything else."""
    times: list[float] = []

    async def one(http: aiohttp.ClientSession) -> None:
        text = secrets.token_hex(100)
        params = {"name": tool, "arguments": arguments(text), "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        start = time.perf_counter()
        async with http.post(url, data=body, headers=HEADERS | {"mcp-name": tool}) as response:
            answer = json.loads(await response.read())
        times.append(time.perf_counter() - start)
        said = answer["result"]["content"]
        assert text in said[0]["text"], answer
        assert arguments is not as_text or said == [{"type": "text", "text": text}], answer

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        for _ in range(20):
            await one(http)
        times.clear()
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        begun = time.perf_counter()

        async def caller() -> None:
            for _ in range(calls // callers):
                await one(http)

        await asyncio.gather(*(caller() for _ in range(callers)))
        elapsed = time.perf_counter() - begun
    spent = {name: (cpu_seconds(pid) - before[name]) / len(times) * 1000 for name, pid in processes.items()}
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return Figures(len(times) / elapsed, p50, p99, spent)
