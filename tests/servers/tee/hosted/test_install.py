"""A package is installed once, without running it, kept by digest, and checked before it runs."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import SOFTWARE
from servers.tee.hosted import HostedError
from servers.tee.hosted.digest import tree_digest
from tests.servers.tee.hosted.scene import TEE, Host
from tests.support.rawclient import HttpClient, Json, wait_for

SERVER = """
import json, pathlib, sys
import marker
TOLD = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
TOOLS = {"tools": [{"name": "mark", "inputSchema": {"type": "object"}}]}
def main():
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message: continue
        said = {"result": TOOLS if message["method"] == "tools/list" else TOLD}
        if message["method"] == "tools/call":
            place = pathlib.Path.home() / "mark"
            text = f"{place.exists()} {sys.argv[1:]} {marker.VALUE}"
            said = {"result": {"content": [{"type": "text", "text": text}]}}
            place.touch()
        if message["method"] == "server/discover":
            said = {"error": {"code": -32601, "message": "no"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}), flush=True)
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: a server, and a package that it needs."""
    folder = tmp_path_factory.mktemp("index")
    folder.chmod(0o755)  # the installer is another user
    wheel(folder, "etmcp-test-marker", {"marker.py": "VALUE = 'from its dependency'"})
    needs = "Requires-Dist: etmcp-test-marker==1.0\n"
    wheel(folder, "etmcp-test-server", {"served.py": SERVER}, needs, "[console_scripts]\nserve = served:main\n")
    # Only as a source: installing it would run what it says.
    (folder / "etmcp_test_source-1.0.tar.gz").write_bytes(b"")
    return folder


def wheel(folder: Path, name: str, files: dict[str, str], needs: str = "", entry: str = "") -> None:
    """A wheel by the specification: PyPA, binary distribution format."""
    flat = name.replace("-", "_")
    info = f"{flat}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry:
        files[f"{info}/entry_points.txt"] = entry
    lines = [f"{info}/RECORD,,"]
    with zipfile.ZipFile(folder / f"{flat}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{path},sha256={digest},{len(text.encode())}")
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "\n".join(lines))


@pytest.fixture(scope="module")
def environ(index: Path) -> dict[str, str]:
    """An operator whose registry is that folder."""
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}


@pytest.fixture(scope="module")
def cache(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is installed."""
    folder = tmp_path_factory.mktemp("installed") / "cache"
    assert "installed, tree" in installed(folder, environ, "pypi:etmcp-test-server==1.0")
    return folder


def installed(cache: Path, environ: dict[str, str], name: str) -> str:
    """What the command says."""
    command = [TEE, "--cache", str(cache), "host", "--install", name]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False).stderr


def test_it_is_installed_once_with_a_lock_and_runs_with_what_it_needs(
    cache: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    (tree,) = (cache / "hosted" / "trees").iterdir()
    assert tree_digest(tree) == tree.name
    lock = (tree / "requirements.lock").read_text().splitlines()
    assert [line.split(" --hash=sha256:")[0] for line in lock] == ["etmcp-test-marker==1.0", "etmcp-test-server==1.0"]
    assert installed(cache, {**environ, "PIP_FIND_LINKS": str(tmp_path)}, "pypi:etmcp-test-server==1.0") == ""
    (tmp_path / "cache").symlink_to(cache)
    with Host(tmp_path / "log", "pypi:etmcp-test-server==1.0", "--flag", "x") as host:
        assert host.text("mark") == "False ['--flag', 'x'] from its dependency"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pypi:etmcp-test-source==1.0", "cannot be fetched"),
        ("pypi:etmcp-test-absent==1.0", "cannot be fetched"),
        ("pypi:etmcp-test-server==9.9", "cannot be fetched"),
        ("pypi:etmcp-test-marker==1.0", "has no command"),
    ],
)
def test_what_cannot_be_installed_is_one_line_and_leaves_nothing(
    environ: dict[str, str], tmp_path: Path, name: str, why: str
) -> None:
    said = installed(tmp_path, environ, name)
    assert why in said.splitlines()[-1]
    assert not list((tmp_path / "hosted").glob("making-*"))


def test_what_was_changed_on_disk_does_not_run(environ: dict[str, str], tmp_path: Path) -> None:
    installed(tmp_path / "cache", environ, "pypi:etmcp-test-server==1.0")
    (tree,) = (tmp_path / "cache" / "hosted" / "trees").iterdir()
    with (tree / "marker.py").open("a") as file:
        file.write("\nimport evil")
    with pytest.raises(AssertionError, match="are not those that were installed"):
        Host(tmp_path / "log", "pypi:etmcp-test-server==1.0")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda tree: (tree / "one").write_text("changed"),
    "mode": lambda tree: (tree / "one").chmod(0o755),
    "name": lambda tree: (tree / "one").rename(tree / "other"),
    "gone": lambda tree: (tree / "folder" / "two").unlink(),
    "new": lambda tree: (tree / "folder" / "three").write_text(""),
    "empty folder": lambda tree: (tree / "folder" / "empty").mkdir(),
    "other link": lambda tree: ((tree / "link").unlink(), (tree / "link").symlink_to("folder")),
    "link for file": lambda tree: ((tree / "one").unlink(), (tree / "one").symlink_to("folder/two")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_of_a_tree_sees_every_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "one").write_text("1")
    (tmp_path / "folder" / "two").write_text("2")
    (tmp_path / "link").symlink_to("one")
    before = tree_digest(tmp_path)
    os.utime(tmp_path / "one", (0, 0))
    assert tree_digest(tmp_path) == before
    change(tmp_path)
    assert tree_digest(tmp_path) != before


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HostedError, match="neither file, folder nor link"):
        tree_digest(tmp_path)


def test_each_http_session_has_a_sandbox_of_its_own(cache: Path, environ: dict[str, str], tmp_path: Path) -> None:
    port = _free_port()
    words = ("--http", "--port", str(port), "pypi:etmcp-test-server==1.0")
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([TEE, "--cache", str(cache), "host", *SOFTWARE, *words], env=environ, stderr=log) as process,
    ):
        try:
            wait_for(port, process)
            call: Json = {"name": "mark", "arguments": {}}
            for _ in range(2):
                with HttpClient(port, "legacy") as client:
                    said = [client.request("tools/call", call).result["content"][0]["text"] for _ in range(2)]
                    assert [text.split()[0] for text in said] == ["False", "True"]
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


MISTAKES = [
    (["npx", "name@^1"], "a range of versions cannot be pinned"),
    (["no-such-program"], "no-such-program: not found"),
    (["/bin/cat"], 'the policy does not name it; add "'),
    (["python3", "-m", "module"], "name a virtual environment's python"),
    (["node", "/nowhere/index.js"], "no grant covers"),
    (["--env", "A=B", "pypi:x"], "not the name of a variable"),
    (["--unsigned-policy", "POLICY", "pypi:x"], 'name the tier "service"'),
]


@pytest.mark.parametrize(("words", "why"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path: Path, words: list[str], why: str) -> None:
    (tmp_path / "POLICY").write_text(json.dumps({"kind": "execution", "version": 1, "tier": "process"}))
    command = [TEE, "--cache", str(tmp_path / "cache"), "host", *SOFTWARE, *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert why in ended.stderr.splitlines()[-1]
