"""The README's blocks run as they stand: shell with our commands on PATH, JSON as configuration, Python as a server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(<!-- (?P<mark>[^>]*) -->\n)?```(?P<kind>sh|json|python)\n(?P<text>.*?)```", README, re.DOTALL)
SHELL = [text for _, mark, kind, text in BLOCKS if kind == "sh" and not mark and "make " not in text]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("readme")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "ETMCP_HOME": str(home / "etmcp"), "LANG": "C.UTF-8"}


@pytest.mark.parametrize("text", SHELL)
def test_every_shell_block_runs(text: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-e"], input=text, text=True, env=environment, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_configuration_block_is_one(tmp_path: Path) -> None:
    (text,) = [text for _, _, kind, text in BLOCKS if kind == "json"]
    path = tmp_path / "config.json"
    path.write_text(text)
    config = load(path)
    assert list(config.servers) == list(json.loads(text)["mcpServers"])
    assert config.servers["weather"].etmcp.require == "executor-attested"


def test_the_python_block_makes_a_server_that_proves_itself() -> None:
    (text,) = [text for _, _, kind, text in BLOCKS if kind == "python"]
    check = "\nassert any(type(m).__name__ == 'Attested' for m in server.middleware)\n"
    subprocess.run([sys.executable, "-c", text + check], cwd=ROOT, check=True)


def test_the_two_commands_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    made = [line.removeprefix("make ") for _, _, kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    targets = [line for line in made if line in ("demo", "test")]
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)


def test_every_file_that_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
