"""What the clients of others talk to: our server alone, and one gateway before it and four servers of others."""

import json
import os
import socket
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SOFTWARE
from tests.support.peers import peer_command
from tests.support.rawclient import ETMCP, wait_for

TEE = str(Path(ETMCP).with_name("etmcp-tee"))


@dataclass(frozen=True)
class World:
    """`config` has `etmcp-tee` alone; the gateway at `port` has the others too; the server alone is at `tee_port`."""

    folder: Path
    config: Path
    home: Path
    cache: Path
    port: int
    tee_port: int

    @property
    def repository(self) -> Path:
        """A git repository with one commit."""
        return self.folder / "repository"

    @property
    def files(self) -> Path:
        """A folder with a note in it."""
        return self.folder / "files"


@contextmanager
def serving(*command: str, log: Path, **environment: str) -> Generator[int]:
    """Run a server with `--port` added; yields the port once it listens there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with log.open("wb") as errors:
        process = subprocess.Popen([*command, "--port", str(port)], stderr=errors, env={**os.environ, **environment})
        with process:
            try:
                wait_for(port, process)
                yield port
            finally:
                process.terminate()


def entry(command: list[str]) -> dict[str, Any]:
    """A command as `mcpServers` has it."""
    return {"command": command[0], "args": command[1:]}


def written(path: Path, servers: dict[str, Any]) -> Path:
    """The file with these `mcpServers`."""
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything started once, and the sandbox compiled."""
    folder = tmp_path_factory.mktemp("clients")
    cache, home = folder / "cache", folder / "own" / "home"  # what stands beside the home is closed to children
    tee = {
        **entry([TEE, "--cache", str(cache), "stdio", *SOFTWARE]),
        "etmcp": {"require": "executor-attested"},
    }
    config = written(folder / "tee.json", {"tee": tee})
    repository, files = folder / "repository", folder / "files"
    cache.mkdir(mode=0o700)  # a confined child cannot make it: it sees what was there when it started
    files.mkdir()
    (files / "note.txt").write_text("kept in a file")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(repository)]
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "the first words"], check=True)
    others = {
        "tee": tee,
        "time": entry(peer_command("time", "--local-timezone", "UTC")),
        "git": entry(peer_command("git", "--repository", str(repository))),
        "everything": entry(peer_command("everything")),
        "files": entry(peer_command("filesystem", str(files))),
    }
    everyone = written(folder / "everyone.json", others)
    compiled = [ETMCP, "--config", str(config), "--home", str(home), "call", "run_python", 'code="1"']
    subprocess.run(compiled, check=True, capture_output=True)
    gateway = (ETMCP, "--config", str(everyone), "--home", str(folder / "served" / "home"), "serve")
    log, tee_log = folder / "gateway.log", folder / "tee.log"
    with (
        serving(*gateway, log=log) as port,
        serving(TEE, "--cache", str(cache), "http", *SOFTWARE, log=tee_log) as tee_port,
    ):
        yield World(folder, config, home, cache, port, tee_port)
    assert not log.read_bytes()
