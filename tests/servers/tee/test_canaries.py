"""A TEE server under sealed calls full of words that nobody else writes: they are in no file that it leaves, in nothing
that it writes to a file or says to its log, and nowhere on its wire."""

import json
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attest import wire
from attest.call import CallHeader, open_reply, sealed_request
from attest.evidence import Binding
from attest.seal import PublicKey, SealingKey
from servers.tee.sandbox.wasm import WasmSandbox
from tests.support.rawclient import envelope

Json = dict[str, Any]
STRACE = shutil.which("strace")
ROOT = Path(__file__).parents[3]


@dataclass
class Server:
    """`etmcp-tee stdio`, spoken to in the modern era; `said` is every byte that came from it."""

    process: "subprocess.Popen[bytes]"
    number: int = 0
    said: list[bytes] = field(default_factory=list[bytes])

    def ask(self, method: str, params: Json) -> Json:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.number += 1
        sent = {**params, "_meta": {**envelope(), **params.get("_meta", {})}}
        line = json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": sent})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        told: Json = {}
        while told.get("id") != self.number:
            self.said.append(self.process.stdout.readline())
            told = json.loads(self.said[-1])
        return told

    def binding(self) -> Binding:
        """The keys that its evidence names."""
        text = self.ask("resources/read", {"uri": wire.EVIDENCE_URI + "00" * 32})["result"]["contents"][0]["text"]
        return wire.load_evidence(text)[1]

    def sealed(self, method: str, params: Json, binding: Binding | None = None) -> str:
        """What came of a sealed call, as text."""
        binding, key = binding or self.binding(), SealingKey()
        now = time.time_ns() // 1_000_000
        header = CallHeader(method, binding.key_id, secrets.token_hex(32), "00" * 16, now)
        carried = {**params, "_meta": {**envelope(), "progressToken": 1}}
        request = sealed_request(header, carried, bytes(32), PublicKey(binding.sealing_key), key)
        return json.dumps(open_reply(header, self.ask(method, request)["result"], key))


@contextmanager
def running(folder: Path, cache: Path, *before: str) -> Generator[Server]:
    """The server with nowhere to write but `folder`, behind the command `before`."""
    command = [
        *before,
        sys.executable,
        "-m",
        "servers.tee",
        "stdio",
        "--attester",
        "software",
        "--require-sealed",
        "--cache",
        str(cache),
    ]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        with process:
            yield Server(process)
            assert process.stdin is not None
            process.stdin.close()


def canaries(server: Server) -> list[str]:
    """Make calls that succeed, fail and cannot be read; return the words that were in them."""
    words = ["canary" + secrets.token_hex(12) for _ in range(6)]
    code, result, error, printed, argument, name = words
    split = f"{result[:9]}' + '{result[9:]}"
    programs = [
        f"# {code}\nvalue = '{split}'\nprint(value)",
        f"raise ValueError('{error}')",
        f"import sys\nsys.stderr.write('{printed}')",
        f"this is no Python: {code}",
    ]
    opened = [server.sealed("tools/call", {"name": "run_python", "arguments": {"code": each}}) for each in programs]
    assert result in opened[0]  # the words do arrive where they are meant to
    opened.append(server.sealed("tools/call", {"name": "run_python", "arguments": {"code": {argument: argument}}}))
    opened.append(server.sealed("tools/call", {"name": name, "arguments": {}}))
    opened.append(server.sealed("resources/read", {"uri": f"note://{name}"}))
    opened.append(server.sealed("completion/complete", {"ref": {"type": "ref/prompt", "name": name}, "argument": 1}))
    plain = server.ask("tools/call", {"name": "run_python", "arguments": {"code": "1"}})
    assert plain["error"]["data"] == {wire.REFUSAL: "unsealed"}
    assert any(error in each for each in opened)
    return words


def held(folder: Path, words: list[str]) -> list[str]:
    """Which files below a folder hold one of the words."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(word.encode() in path.read_bytes() for word in words)]


def test_sealed_words_are_in_no_file_no_log_and_nowhere_on_the_wire(
    tmp_path: Path, sandbox: WasmSandbox, component_cache: Path
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with running(folder, component_cache) as server:
        words = canaries(server)
    assert held(folder, words) == []
    assert held(component_cache, words) == []
    assert [line for line in server.said if any(word.encode() in line for word in words)] == []
    assert sandbox.environment  # it was compiled before, so the server only opened it


def test_a_signal_changes_the_keys_and_calls_go_on(tmp_path: Path, sandbox: WasmSandbox, component_cache: Path) -> None:
    with running(tmp_path, component_cache) as server:
        before = server.binding()
        server.process.send_signal(signal.SIGUSR1)
        while (after := server.binding()).key_id == before.key_id:
            pass  # until the signal got there: each turn is a round trip
        assert after.boot_id == before.boot_id
        assert '"ok"' in server.sealed("tools/call", {"name": "run_python", "arguments": {"code": "'ok'"}}, before)
        assert '"ok"' in server.sealed("tools/call", {"name": "run_python", "arguments": {"code": "'ok'"}})
    assert f"etmcp-tee: new keys {after.key_id}" in (tmp_path / "stderr").read_text()
    assert sandbox.environment


@pytest.mark.skipif(STRACE is None, reason="needs strace, to see what is written and deleted again")
def test_sealed_words_are_written_to_pipes_only(tmp_path: Path, sandbox: WasmSandbox, component_cache: Path) -> None:
    folder, trace = tmp_path / "server", tmp_path / "trace"
    folder.mkdir()
    calls = "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,open,openat,rename,link,symlink,mkdir"
    before = [str(STRACE), "-f", "-yy", "-qq", "-s", "1000000", "-e", calls, "-o", str(trace)]
    with running(folder, component_cache, *before) as server:
        words = canaries(server)
    lines = trace.read_text("utf-8", "replace").splitlines()
    telling = [line for line in lines if any(word in line for word in words)]
    assert telling  # the sandbox is handed its program through a pipe
    allowed = re.compile(r"\d+ +(write|writev|sendto|sendmsg)\(\d+<(pipe|socket|UNIX[^:]*):\[")
    assert [line[:300] for line in telling if not allowed.match(line)] == []
    assert sandbox.environment
