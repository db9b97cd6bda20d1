"""What the kernel is asked to do, in which order: the receipt is on disk before the client has the answer."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rawclient import ETMCP, envelope
from tests.support.stage import Lean, configuration

WAL = re.compile(r"^(\d+) +(?:fsync|fdatasync)\(\d+<.*\.sqlite-wal>(\) += 0| <unfinished)")
RESUMED = re.compile(r"^(\d+) +<... (?:fsync|fdatasync) resumed>\) += 0")
CALLS = "read,write,writev,fsync,fdatasync"
TRACE = ("-f", "-y", "-s", "100000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o")
ROOT = Path(__file__).parents[2]
AT_ONCE = 64


@pytest.fixture(scope="module")
def strace() -> str:
    """The program, or a skip that names its package."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not here: install the Debian package `strace`")
    probe = subprocess.run([program, "-f", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.splitlines()[:1]}")
    return program


def traced(strace: str, folder: Path, texts: list[str]) -> list[str]:
    """Serve these texts, one after the other, under strace. Returns what happened, one system call a line."""
    config = configuration(folder / "c.json", lean=Lean(folder / "lean", "echo").entry())
    command = [ETMCP, "--config", str(config), "--home", str(folder / "home"), "stdio"]
    trace = folder / "trace"
    gateway = subprocess.Popen([strace, *TRACE, str(trace), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    with gateway.stdin, gateway.stdout:
        for text in texts:
            params = {"name": "echo", "arguments": {"text": text}, "_meta": envelope()}
            message = {"jsonrpc": "2.0", "id": text, "method": "tools/call", "params": params}
            gateway.stdin.write(json.dumps(message).encode() + b"\n")
            gateway.stdin.flush()
            assert json.loads(gateway.stdout.readline())["id"] == text
        gateway.stdin.close()
        assert gateway.wait(30) == 0
    return trace.read_text().splitlines()


def syncs(lines: list[str]) -> list[tuple[int, int]]:
    """Where each sync of the write-ahead log began and ended."""
    found: list[tuple[int, int]] = []
    begun: dict[str, int] = {}
    for number, line in enumerate(lines):
        if (match := WAL.match(line)) and "unfinished" in match[2]:
            begun[match[1]] = number
        elif match:
            found.append((number, number))
        elif (match := RESUMED.match(line)) and match[1] in begun:
            found.append((begun.pop(match[1]), number))
    return found


def at(lines: list[str], pattern: str) -> int:
    """The number of the one line that matches."""
    found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    assert len(found) == 1, (pattern, found)
    return found[0]


def test_the_receipt_is_synced_between_the_upstreams_answer_and_the_clients(strace: str, tmp_path: Path) -> None:
    texts = [f"marker-{n}" for n in range(5)]
    lines = traced(strace, tmp_path, ["first", *texts])
    ours = lines[0].split()[0]
    for text in texts:
        answered = at(lines, rf'^{ours} +(?:read\(|<... read resumed>).*\\"result\\": .*\\"text\\": \\"{text}\\"')
        written = at(lines, rf'^{ours} +writev?\(.*\\"id\\":\\"{text}\\".*\\"result\\":.*\\"text\\":\\"{text}\\"')
        between = [begun for begun, ended in syncs(lines) if answered < begun and ended < written]
        assert between, f"{text} left before it was on disk"


WRITES = """
import asyncio, sys
from pathlib import Path
from gateway.store import Store
async def main(count):
    store = Store(Path(sys.argv[1]))
    row = ("INSERT INTO refusals (at,server,method,code) VALUES (1,'s','m','c')", ())
    await store.write(row)
    print("ready", flush=True)
    await asyncio.gather(*(store.write(row) for _ in range(count)))
    print("done", flush=True)
    store.close()
asyncio.run(main(int(sys.argv[2])))
"""


def test_writes_at_once_share_their_syncs(strace: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = [*TRACE, str(trace), sys.executable, "-c", WRITES, str(tmp_path / "s.sqlite"), str(AT_ONCE)]
    subprocess.run([strace, *command], cwd=ROOT, check=True, capture_output=True, timeout=60)
    lines = trace.read_text().splitlines()
    ready, done = at(lines, r'write\(1<.*"ready'), at(lines, r'write\(1<.*"done')
    count = sum(ready < begun and ended < done for begun, ended in syncs(lines))
    assert 1 <= count <= AT_ONCE // 4, f"{count} syncs for {AT_ONCE} writes"
