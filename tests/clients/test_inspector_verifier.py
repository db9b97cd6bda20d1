"""The official Inspector, unchanged, verifies a bundle and a proof, on every transport, in both eras."""

import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SOFTWARE
from tests.clients.conftest import entry, serving, written
from tests.clients.test_inspector_storage import ROADS
from tests.servers.verifier.scene import BUNDLE, LOG, POLICY, TRUST, proof
from tests.support.peers import run_inspector
from tests.support.rawclient import ETMCP

Json = dict[str, Any]
VERIFIER = str(Path(ETMCP).with_name("etmcp-verifier"))


@dataclass(frozen=True)
class Place:
    """One verifier over HTTP with roots, and the arguments to start another with the same ones over stdio."""

    folder: Path
    port: int
    roots: tuple[str, ...]

    def road(self, transport: str, era: str) -> list[str]:
        """The Inspector's arguments that lead there."""
        if transport == "stdio":
            config = written(self.folder / "it.json", {"it": entry([VERIFIER, "stdio", *SOFTWARE, *self.roots])})
            return ["--config", str(config), "--server", "it", "--protocol-era", era]
        url = f"http://127.0.0.1:{self.port}/{'mcp' if transport == 'http' else 'sse'}"
        return [url, "--transport", transport, "--protocol-era", era]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    """The server over HTTP, started once."""
    folder = tmp_path_factory.mktemp("verifier")
    (folder / "trust").write_bytes(TRUST)
    (folder / "policy").write_bytes(POLICY)
    roots = ("--trust", str(folder / "trust"), "--policy", str(folder / "policy"), "--log", str(LOG))
    with serving(VERIFIER, "http", *SOFTWARE, *roots, log=folder / "log") as port:
        yield Place(folder, port, roots)


def called(where: list[str], tool: str, arguments: Json) -> Json:
    call = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)]
    done = run_inspector(*where, *call)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["result"]


@pytest.mark.parametrize(("transport", "era"), ROADS)
def test_the_inspector_verifies_a_bundle_and_a_proof(place: Place, transport: str, era: str) -> None:
    where = place.road(transport, era)
    told = called(where, "verify_bundle", {"bundle": BUNDLE})
    assert told["structuredContent"]["verdict"]["outcome"] == "verified"
    assert told["structuredContent"]["roots"]["source"] == "server"
    assert told["content"][0]["text"].startswith("verified, assurance software, under the roots of this server: ")
    told = called(where, "verify_bundle", {"bundle": BUNDLE, "trust": TRUST.decode()})
    assert told["structuredContent"]["verdict"]["outcome"] == "untrusted"
    told = called(where, "verify_inclusion", proof())
    assert told["structuredContent"]["verdict"]["outcome"] == "included"
    told = called(where, "verify_inclusion", proof(index=0))
    assert told["structuredContent"]["verdict"]["outcome"] == "refused"


def test_the_schemas_are_portable(place: Place) -> None:
    listed = run_inspector(*place.road("stdio", "legacy"), "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stderr
