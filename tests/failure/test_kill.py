"""kill -9 of the gateway: nothing that was answered is lost, and nothing that it started stays."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from attest import schemes
from attest.claims import Endorsements
from attest.policy import AllOf, NotDebug
from attest.verdict import OBSERVER, verify_bundle
from gateway.home import Home
from gateway.records import Records
from gateway.store import Store
from tests.support.rawclient import ETMCP, envelope
from tests.support.stage import Lean, configuration

ROOT = Path(__file__).parents[2]
DRIVERS, ROUNDS, SECONDS = 4, 51, 180
GONE_SECONDS = 5


def clock() -> int:
    return time.time_ns() // 1_000_000


def test_200_kills_during_calls_lose_no_receipt_that_was_answered(tmp_path: Path) -> None:
    running: list[subprocess.Popen[bytes]] = []
    homes = [tmp_path / f"home{n}" for n in range(DRIVERS)]
    outputs = [home.with_suffix(".out") for home in homes]
    for n, (home, output) in enumerate(zip(homes, outputs, strict=True)):
        config = configuration(tmp_path / f"{n}.json", lean=Lean(tmp_path / f"lean{n}", "echo").entry())
        command = [sys.executable, "-m", "tests.failure.driver", str(config), str(home), str(n), str(ROUNDS)]
        with output.open("wb") as file:
            running.append(subprocess.Popen(command, cwd=ROOT, stdout=file))
    try:
        assert [process.wait(SECONDS) for process in running] == [0] * DRIVERS
    finally:
        for process in running:
            process.kill()
            process.wait()
    total = Counter[str]()
    for home, output in zip(homes, outputs, strict=True):
        total += examine(Home(home), output.read_text().splitlines())
    print(dict(total))
    assert total["kills"] >= 200
    assert total["answered"] >= 2000
    assert total["kills during calls"] >= 100, "the kills miss the moments that matter"


def examine(home: Home, lines: list[str]) -> Counter[str]:
    """Check one home against all that its gateways answered."""
    answered = [line[2:] for line in lines if line.startswith("A ")]
    in_flight = [int(line[2:]) for line in lines if line.startswith("K ")]
    anchors = Endorsements({OBSERVER: frozenset({home.signing_key().public_key().public_bytes_raw().hex()})})
    store = Store(home.database)
    try:
        records = Records(store, clock)
        for receipt in answered:
            assert store.read("SELECT 1 FROM receipts WHERE id = ?", receipt), f"{receipt} was answered and is lost"
            verdict = verify_bundle(
                records.bundle(receipt).encode(),
                schemes=schemes.ALL,
                endorsements=anchors,
                policy=AllOf([NotDebug()]),
                now=clock(),
            )
            assert (verdict.outcome, verdict.receipt_id) == ("verified", receipt)
    finally:
        store.close()
    connection = sqlite3.connect(home.database)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = int(connection.execute("SELECT count(*) FROM receipts").fetchone()[0])
    connection.close()
    assert len(set(answered)) == len(answered)
    during = sum(n > 0 for n in in_flight)
    return Counter({"kills": len(in_flight), "kills during calls": during, "answered": len(answered), "kept": kept})


def test_kill_during_a_call_leaves_no_process_not_even_a_daemon(tmp_path: Path) -> None:
    servers = {name: Lean(tmp_path / name, f"work_{name}", mode="hangs") for name in ("one", "two", "three")}
    servers["three"].behave("daemon")
    config = configuration(tmp_path / "c.json", **{name: server.entry() for name, server in servers.items()})
    command = [ETMCP, "--config", str(config), "--home", str(tmp_path / "home"), "stdio"]
    gateway = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    with gateway.stdin, gateway.stdout:
        for number, name in enumerate(servers):
            params = {"name": f"work_{name}", "arguments": {}, "_meta": envelope() | {"progressToken": number}}
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            gateway.stdin.write(json.dumps(message).encode() + b"\n")
            gateway.stdin.flush()
        told: list[Any] = [json.loads(gateway.stdout.readline()) for _ in servers]
        assert {message["params"]["progressToken"] for message in told} == {0, 1, 2}, told
        pids = {pid for server in servers.values() for pid in server.pids}
        keepers = {parent(server.pids[0]) for server in servers.values()}
        assert len(pids) == 4
        assert len(keepers) == 3
        watched = {os.pidfd_open(pid): pid for pid in pids | keepers}
        gateway.send_signal(signal.SIGKILL)
        gateway.wait()
    assert not still_there(watched), "these processes survived the gateway"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def still_there(watched: dict[int, int]) -> list[int]:
    """The pids of those descriptors that are not gone within the deadline; closes the descriptors."""
    poll = select.poll()
    for fd in watched:
        poll.register(fd, select.POLLIN)
    deadline, alive = time.monotonic() + GONE_SECONDS, dict(watched)
    while alive and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            poll.unregister(fd)
            del alive[fd]
    for fd in watched:
        os.close(fd)
    return list(alive.values())
