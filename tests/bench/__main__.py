"""Direct, plain relay, observer-attested, executor-attested, sealed: 1 and 16 callers, every receipt checked after."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attest import schemes
from attest.claims import Endorsements
from attest.policy import MinAssurance
from attest.verdict import verify_bundle
from gateway.home import Home
from gateway.records import Records
from gateway.store import Store
from tests.bench.leaks import WARM, leaks
from tests.bench.load import Figures, drive

ROUNDS = 3334
"""Visits, of three clients each."""
CALLS = int(os.environ.get("BENCH_CALLS", "2000"))
ETMCP = str(Path(sys.executable).parent / "etmcp")


@dataclass(frozen=True)
class Upstream:
    """A running server; `anchor` is its software attester key in hex, empty where it has none."""

    url: str
    pid: int
    anchor: str


def free_port() -> int:
    """A port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(stack: ExitStack, *command: str, port: int) -> subprocess.Popen[bytes]:
    """Start a process and return once it listens."""
    process = stack.enter_context(subprocess.Popen(command))
    stack.callback(process.terminate)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process
    raise SystemExit(f"{command[:4]} ended with {process.returncode}")


def configure(folder: Path, name: str, url: str, settings: dict[str, Any]) -> Path:
    """A configuration file with one server."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"mcpServers": {"up": {"url": url, "etmcp": settings}}}))
    return path


def check(home: Path, anchor: str, calls: int, kind: str) -> None:
    """Void the run unless every call has a receipt of this kind that verifies offline."""
    store = Store(home / "private" / "etmcp.sqlite")
    observer = Home(home).signing_key().public_key().public_bytes_raw().hex()
    trust = Endorsements({"software": frozenset({anchor}), "observer": frozenset({observer})})
    records = Records(store, lambda: 0)
    ids = [row["id"] for row in records.recent(10**9) if row["kind"] == kind]
    policy = MinAssurance("software" if kind == "executor-attested" else "none")
    now = time.time_ns() // 1_000_000
    bad = 0
    for receipt_id in ids:
        data = records.bundle(receipt_id).encode()
        verdict = verify_bundle(data, schemes=schemes.ALL, endorsements=trust, policy=policy, now=now)
        bad += verdict.outcome != "verified"
    store.close()
    if bad or len(ids) != calls:
        raise SystemExit(f"void: {bad} of {len(ids)} receipts do not verify, {calls} calls were made")


def memory(pid: int) -> int:
    """Resident MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def measure(name: str, url: str, processes: dict[str, int]) -> dict[int, Figures]:
    """One row of the table, printed as it comes."""
    found: dict[int, Figures] = {}
    for callers in (1, 16):
        figures = found[callers] = asyncio.run(drive(url, "echo", callers, CALLS, processes))
        cpu = ", ".join(f"{process} {spent:.2f}" for process, spent in figures.cpu.items())
        print(
            f"{name:<34} {callers:>3} callers {figures.rate:7.0f}/s  p50 {figures.p50:7.2f}  p99 {figures.p99:7.2f} ms"
            f"  CPU ms a call: {cpu}",
            flush=True,
        )
    return found


def main() -> None:
    """Print the table and the ratios, and what 10,000 clients leave behind; `leaks` alone with that argument."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "leaks").mkdir()
        before, after = asyncio.run(leaks(folder / "leaks", ROUNDS))
        print(f"after {WARM} visits {before}\nafter {ROUNDS} more {after}", flush=True)
        if sys.argv[1:] == ["leaks"]:
            return
        upstreams: dict[str, Upstream] = {}
        for name in ("lean", "built"):
            port, key = free_port(), folder / f"{name}.key"
            process = start(stack, sys.executable, "-m", f"tests.bench.{name}", str(port), str(key), port=port)
            anchor = key.read_text() if key.exists() else ""
            upstreams[name] = Upstream(f"http://127.0.0.1:{port}/mcp", process.pid, anchor)
        rates: dict[tuple[str, str], float] = {}
        for name, upstream in upstreams.items():
            rates[name, "direct"] = measure(f"{name}: direct", upstream.url, {"server": upstream.pid})[16].rate
            modes: dict[str, dict[str, Any]] = {"plain": {}, "observer-attested": {}}
            if upstream.anchor:
                proven = {"require": "executor-attested", "attesters": [upstream.anchor]}
                modes |= {"executor-attested": {**proven, "seal": False}, "sealed": proven}
            for mode, settings in modes.items():
                rates[name, mode] = one_mode(folder, name, mode, settings, upstream)
        for (name, mode), rate in rates.items():
            if mode not in ("direct", "plain"):
                print(f"{name}: plain relay / {mode}, calls a second at 16 callers: {rates[name, 'plain'] / rate:.2f}")


def one_mode(folder: Path, name: str, mode: str, settings: dict[str, Any], upstream: Upstream) -> float:
    """Start a gateway in this mode, measure, check its receipts, stop it."""
    home, port = folder / f"{name}-{mode}", free_port()
    config = configure(folder, f"{name}-{mode}", upstream.url, settings)
    with ExitStack() as inner:
        begun = time.perf_counter()
        if mode == "plain":
            command = (sys.executable, "-m", "tests.bench.plain", str(config), str(home), str(port))
        else:
            command = (ETMCP, "--config", str(config), "--home", str(home), "serve", "--port", str(port))
        gateway = start(inner, *command, port=port)
        up = time.perf_counter() - begun
        found = measure(
            f"{name}: {mode}", f"http://127.0.0.1:{port}/mcp", {"gateway": gateway.pid, "server": upstream.pid}
        )
        print(f"{'':<34} listens after {up:.2f} s, {memory(gateway.pid)} MiB resident", flush=True)
    if mode != "plain":
        kind = "observer-attested" if mode == "observer-attested" else "executor-attested"
        check(home, upstream.anchor, 2 * (CALLS + 20), kind)
    return found[16].rate


if __name__ == "__main__":
    main()
