"""The README's blocks run as they stand: shell with our commands on PATH, JSON as configuration, Python as a server.

Only two things are put in for the reader: where this installation is, and a free port for the one that is shown.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attest.canonical import canonical
from attest.denylist import DEFAULT
from attest.document import sign_policy
from gateway.cli.install.clients import CLIENTS
from gateway.config import load
from tests.attest.made import signing_key
from tests.support.peers import inspector
from tests.support.rawclient import wait_for

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"(<!-- (?P<mark>[^>]*) -->\n)?```(?P<kind>sh|json|toml|python)\n(?P<text>.*?)```", README, re.DOTALL
)
SHELL = [text for _, mark, kind, text in BLOCKS if kind == "sh" and not mark and "make " not in text]
WRITTEN = [(mark.removeprefix("written by: "), text) for _, mark, _, text in BLOCKS if mark.startswith("written by: ")]
PORT = "8400"


def marked(mark: str) -> str:
    """The one block with this mark."""
    (text,) = [text for _, found, _, text in BLOCKS if found == mark]
    return text


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("readme")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def port(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the block that serves is serving, in place of the port that it says."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    text = marked("serves until interrupted").replace(PORT, str(port))
    with (tmp_path_factory.mktemp("log") / "stderr").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-e", "-c", text], env=environment, cwd=ROOT, stderr=log, start_new_session=True
        )
        with process:
            try:
                wait_for(port, process)
                yield str(port)
            finally:
                os.killpg(process.pid, signal.SIGINT)


def run(text: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-e"], input=text, text=True, env=environment, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return done.stdout


@pytest.mark.parametrize("text", SHELL)
def test_every_shell_block_runs(text: str, environment: dict[str, str]) -> None:
    if "prove setup" in text:
        pytest.importorskip("zksnake", reason="zksnake, the extra `prove`, has no wheel for this Python")
    run(text, environment)


@pytest.mark.parametrize(("command", "text"), WRITTEN)
def test_what_is_shown_for_a_client_is_what_is_written(
    command: str, text: str, environment: dict[str, str], tmp_path: Path
) -> None:
    told = run(f"etmcp {command}", {**environment, "HOME": str(tmp_path)})
    file = Path(told.partition(": ")[0])
    assert file.is_relative_to(tmp_path)
    read: Any = tomllib.loads if file.suffix == ".toml" else json.loads
    shown = text.replace("/path/to/etmcp", str(Path(sys.executable).with_name("etmcp")))
    assert read(file.read_text()) == read(shown)


def test_each_client_is_shown_with_what_is_written() -> None:
    assert [command.split()[1] for command, _ in WRITTEN if "--url" not in command] == list(CLIENTS)


def test_the_inspector_block_runs_with_the_real_one(port: str, environment: dict[str, str], tmp_path: Path) -> None:
    text = marked("while it serves: Inspector")
    words = shlex.split(text.replace("\\\n", " "))
    pinned = json.loads((ROOT / "tests" / "peers" / "package.json").read_text())["dependencies"]
    assert words[1].rpartition("@")[2] == pinned["@modelcontextprotocol/inspector"]
    npx = tmp_path / "npx"  # the package as `make peers` installed it: npx itself would fetch it again
    npx.write_text(f'#!/bin/sh\nshift 2\nexec {shlex.join(inspector())} "$@"\n')
    npx.chmod(0o700)
    path = f"{tmp_path}{os.pathsep}{environment['PATH']}"
    told = run(text.replace(PORT, port), {**environment, "PATH": path, "MCP_INSPECTOR_SECRET_STORE": "memory"})
    assert "42" in told
    assert "com.etmcp/receipt" in told


def test_the_curl_block_runs(port: str, environment: dict[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    told = run(marked("while it serves: curl").replace(PORT, port), environment)
    events = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
    (answer,) = events or [told]  # a slow one comes as an event stream, a fast one as it is
    result = json.loads(answer)["result"]
    assert result["structuredContent"] == {"status": "ok", "value": 42}
    assert result["_meta"]["com.etmcp/verification"]["verdict"] == "verified"


def test_the_configuration_block_is_one(tmp_path: Path) -> None:
    text = marked("a configuration")
    path = tmp_path / "config.json"
    path.write_text(text)
    config = load(path, {"WEATHER_TOKEN": "t"})
    assert list(config.servers) == list(json.loads(text)["mcpServers"])
    assert config.servers["weather"].etmcp.require == "executor-attested"
    assert config.servers["weather"].headers == {"Authorization": "Bearer t"}


def test_the_configuration_by_name_is_one(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(marked("a configuration by name"))
    config = load(path, {"GATEWAY_KEY": "00" * 32})
    assert config.storing == "storage"
    assert config.servers["weather"].transport is None
    assert config.registry is not None


def test_the_configuration_that_hosts_is_one(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(marked("a configuration that hosts"))
    (tmp_path / "memory.json").write_bytes((ROOT / "servers/tee/hosted/policies/memory.json").read_bytes())
    assert load(path, {}).servers["memory"].etmcp.host == "tee"


def test_the_policy_block_is_one(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(marked("a policy"))
    run(f"etmcp-tee policy check {path}", environment)
    assert "api.weather.example" in run(f"etmcp-tee policy explain {path}", environment)


def test_the_configuration_for_hardware_is_one(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(marked("an appraisal policy").replace("00…", "00" * 48))
    key = signing_key("denylist")
    (tmp_path / "denylist.json").write_bytes(canonical(sign_policy(DEFAULT.encode(), key).to_json()))
    text = marked("a configuration for hardware")
    (signer,) = json.loads(text)["denylist"]["signers"]
    path = tmp_path / "config.json"
    path.write_text(text.replace(signer, key.public_key().public_bytes_raw().hex()))
    config = load(path, {})
    assert config.servers["tee"].etmcp.accepting is not None
    assert config.endorsements.folder == tmp_path / "documents"
    assert "mrtd" in run(f"etmcp-verify policy check {tmp_path / 'policy.json'}", environment)


def test_every_block_is_tested() -> None:
    marks = {
        "serves until interrupted",
        "while it serves: Inspector",
        "while it serves: curl",
        "a configuration",
        "a configuration by name",
        "a configuration that hosts",
        "a policy",
        "an appraisal policy",
        "a configuration for hardware",
        "",
    }
    assert not [mark for _, mark, _, _ in BLOCKS if mark not in marks and not mark.startswith("written by: ")]
    assert not [text for _, mark, kind, text in BLOCKS if not mark and kind not in ("sh", "python")]


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
