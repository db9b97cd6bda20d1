"""The official suite as a function: run it at a URL, get which scenarios failed and why."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.support.peers import ROOT, conformance
from tests.support.rawclient import wait_for

Json = dict[str, Any]
Revision = Literal["2025-11-25", "2026-07-28"]
Era = Literal["dual", "legacy", "modern"]

SCENARIOS: Mapping[Revision, int] = {"2025-11-25": 30, "2026-07-28": 37}
SECONDS = 240
SCENARIO_MILLISECONDS = 20_000


@dataclass(frozen=True)
class Score:
    """One run. `failed` and `warned` say for each scenario which checks, and what the suite said."""

    passed: frozenset[str]
    failed: Mapping[str, list[str]]
    warned: Mapping[str, list[str]]

    def __str__(self) -> str:
        total = len(self.passed) + len(self.failed)
        told = [f"{name}: {'; '.join(checks)}" for name, checks in sorted(self.failed.items())]
        return "\n  ".join([f"{len(self.passed)}/{total}", *told])


def score(url: str, revision: Revision, folder: Path) -> Score:
    """Run the scored scenarios of one revision against a server; `folder` must be new and keeps the suite's files.

    Raises `subprocess.TimeoutExpired` after `SECONDS`.
    """
    command = conformance(
        *("server", "--url", url, "--requirements", revision, "-o", str(folder)),
        *("--timeout", str(SCENARIO_MILLISECONDS)),
    )
    nothing = subprocess.DEVNULL
    run = subprocess.run(
        command, timeout=SECONDS, check=False, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    folder.mkdir(exist_ok=True)
    (folder / "log.txt").write_bytes(run.stdout)
    names = required(revision)
    failed = {name: checks for name in names if (checks := _with(folder, name, "FAILURE"))}
    warned = {name: checks for name in names if (checks := _with(folder, name, "WARNING"))}
    return Score(frozenset(names) - frozenset(failed), failed, warned)


def required(revision: Revision) -> list[str]:
    """The server scenarios that a revision requires, from the suite itself."""
    command = conformance("list", "--requirements", revision)
    run = subprocess.run(command, timeout=SECONDS, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    server = run.stdout.decode().partition("Server scenarios")[2].partition("Client scenarios")[0]
    names = re.findall(r"^  - (\S+)$", server, re.MULTILINE)
    assert len(names) == SCENARIOS[revision], names
    return names


def _with(folder: Path, scenario: str, status: str) -> list[str]:
    """Checks of a scenario with this status; no checks at all are a failure."""
    files = list(folder.glob(f"server-{scenario}-2[0-9][0-9][0-9]-*/checks.json"))
    if len(files) != 1:
        return [f"{len(files)} results"] if status == "FAILURE" else []
    checks: list[Json] = json.loads(files[0].read_text(encoding="utf-8"))
    if not checks and status == "FAILURE":
        return ["no checks"]
    return [f"{c['id']}: {c.get('errorMessage', '')}"[:300] for c in checks if c["status"] == status]


@dataclass(frozen=True)
class Fixture:
    """How to start our fixture, and what it executed."""

    calls: Path
    era: Era = "dual"

    def command(self, *way: str) -> list[str]:
        """`stdio`, or `http PORT`."""
        own = ("--era", self.era, "--calls", str(self.calls))
        return [sys.executable, "-m", "tests.conformance.fixture", *own, *way]

    def executed(self) -> list[str]:
        """Each execution as `method target era`, in order; for `answered` in its place see `fixture/server.py`."""
        return self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def started(command: list[str], port: int, log: Path) -> Generator[str]:
    """Run a server; yields its MCP URL once it listens on this port. Its stderr goes to `log`."""
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors) as process:
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


@contextmanager
def fixture_over_http(fixture: Fixture, log: Path) -> Generator[str]:
    """The fixture itself at a URL."""
    port = free_port()
    with started(fixture.command("http", str(port)), port, log) as url:
        yield url


@contextmanager
def bridged(command: list[str], log: Path) -> Generator[str]:
    """A stdio server behind a URL."""
    port = free_port()
    bridge = [sys.executable, "-m", "tests.conformance.bridge", str(port)]
    with started([*bridge, *command], port, log) as url:
        yield url
