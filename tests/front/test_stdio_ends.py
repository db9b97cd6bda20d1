"""`etmcp stdio` ends when it should: a signal while the client says nothing, and input that is a file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ETMCP = str(Path(sys.executable).parent / "etmcp")
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ETMCP_HOME": str(tmp_path / "etmcp")}


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_ends_it_while_the_client_is_silent(environment: dict[str, str]) -> None:
    pipe = subprocess.PIPE
    # A run in the background of a shell ignores interrupts, and so would what it starts.
    with subprocess.Popen(
        [ETMCP, "stdio"],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=environment,
        preexec_fn=_interruptible,  # noqa: PLW1509 - before any thread
    ) as gateway:
        assert gateway.stdin is not None
        assert gateway.stdout is not None
        gateway.stdin.write(json.dumps(HELLO).encode() + b"\n")
        gateway.stdin.flush()
        assert json.loads(gateway.stdout.readline())["id"] == 1
        gateway.send_signal(signal.SIGINT)
        assert gateway.wait(timeout=20) == 130
        gateway.stdin.close()


def test_input_from_a_file_is_answered_into_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    asked, told = tmp_path / "in", tmp_path / "out"
    asked.write_text(json.dumps(HELLO) + "\n")
    with asked.open() as stdin, told.open("w") as stdout:
        subprocess.run([ETMCP, "stdio"], stdin=stdin, stdout=stdout, env=environment, timeout=60, check=True)
    assert json.loads(told.read_text())["result"]["serverInfo"]["name"] == "etmcp"


def test_common_options_stand_before_the_command_or_behind_it(environment: dict[str, str], tmp_path: Path) -> None:
    there, missing = str(tmp_path / "there"), str(tmp_path / "missing.json")
    for arguments in (["--home", there, "receipts", "list"], ["receipts", "list", "--home", there]):
        subprocess.run([ETMCP, *arguments], env=environment, timeout=60, check=True)
    assert Path(there).is_dir()
    for arguments in (["--config", missing, "tools"], ["tools", "--config", missing]):
        done = subprocess.run([ETMCP, *arguments], env=environment, timeout=60, capture_output=True, check=False)
        assert done.returncode == 2
        assert missing in done.stderr.decode()
