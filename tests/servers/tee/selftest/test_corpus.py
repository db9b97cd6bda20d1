"""Hostile programs through a whole server: as root and as an ordinary user, one at a time and together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
OWN = Path(__file__).with_name("cases")


def selftest(python: str, path: str, home: Path, *options: str, user: int | None = None) -> tuple[int, list[Any], str]:
    """Exit code, verdicts and standard error of `etmcp-tee selftest --json`."""
    switch: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home), "PATH": "/usr/bin:/bin"}
    command = [python, "-m", "servers.tee", "selftest", "--json", *options]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False, cwd=home, **switch
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def failed(verdicts: list[Any]) -> dict[str, Any]:
    return {
        found["case"]: (found["verdict"], found["notes"], found["detail"]) for found in verdicts if not found["passed"]
    }


@pytest.mark.parametrize("jobs", ["1", "8"])
def test_every_case_passes_in_each_tier_it_applies_to(
    shared: Path, python_path: str, tmp_path: Path, component_cache: Path, jobs: str
) -> None:
    code, verdicts, said = selftest(
        sys.executable,
        python_path,
        tmp_path,
        "--cache",
        str(component_cache),
        "--corpus",
        str(shared / "abuse"),
        "--jobs",
        jobs,
    )
    assert failed(verdicts) == {}
    assert (code, said) == (0, "")
    assert len(verdicts) == 52
    assert {found["tier"] for found in verdicts} == {"process", "wasm"}


def test_every_case_passes_for_an_ordinary_user(
    shared: Path, python_path: str, common_python: Path, open_home: Path
) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    options = ("--corpus", str(shared / "abuse"), "--jobs", "4", "--tier", "process")
    code, verdicts, said = selftest(str(common_python), python_path, open_home, *options, user=user)
    assert failed(verdicts) == {}
    assert (code, said) == (0, "")


def test_our_own_ten_pass_in_both_tiers(python_path: str, tmp_path: Path, component_cache: Path) -> None:
    code, verdicts, said = selftest(sys.executable, python_path, tmp_path, "--cache", str(component_cache))
    assert failed(verdicts) == {}
    assert (code, said, len(verdicts)) == (0, "", 20)


def test_what_goes_wrong_is_said(python_path: str, tmp_path: Path) -> None:
    code, verdicts, _ = selftest(sys.executable, python_path, tmp_path, "--corpus", str(OWN), "--tier", "process")
    assert code == 1
    assert {name: found[0] for name, found in failed(verdicts).items()} == {
        "an_escape_that_is_claimed": "ESCAPED",
        "nothing_is_said": "NOVERDICT",
        "refused_what_must_work": "BLOCKED",
    }


def test_a_corpus_that_is_none_is_one_line(python_path: str, tmp_path: Path) -> None:
    code, verdicts, said = selftest(sys.executable, python_path, tmp_path, "--corpus", str(tmp_path))
    assert (code, verdicts, said.count("\n")) == (2, [], 1)
