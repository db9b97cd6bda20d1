"""The official Inspector, unchanged, stores, lists and reads, on every transport, in both eras."""

import json
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.identity import META, Request, sign_assertion
from gateway.config import SOFTWARE
from tests.attest import made
from tests.clients.conftest import entry, serving, written
from tests.support.peers import run_inspector
from tests.support.rawclient import ETMCP

Json = dict[str, Any]
STORAGE = str(Path(ETMCP).with_name("etmcp-storage"))
GATEWAY = Ed25519PrivateKey.generate()
ROADS = [
    ("stdio", "legacy"),
    ("stdio", "modern"),
    ("http", "legacy"),
    ("http", "modern"),
    ("sse", "legacy"),  # the modern era has no HTTP+SSE
]


@dataclass(frozen=True)
class Place:
    """A storage server over HTTP that believes `GATEWAY`, and the data of one over stdio for one user."""

    folder: Path
    port: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    """The server over HTTP, started once."""
    folder = tmp_path_factory.mktemp("storage")
    who = ("--gateway", GATEWAY.public_key().public_bytes_raw().hex())
    with serving(STORAGE, "http", *who, *SOFTWARE, "--data", str(folder / "http"), log=folder / "log") as port:
        yield Place(folder, port)


class Road:
    """The Inspector's way to the server: whoever started it over stdio, or alice over HTTP, by an assertion each."""

    def __init__(self, place: Place, transport: str, era: str) -> None:
        self._vouched = transport != "stdio"
        if self._vouched:
            url = f"http://127.0.0.1:{place.port}/{'mcp' if transport == 'http' else 'sse'}"
            where = [url, "--transport", transport]
        else:
            command = [
                STORAGE,
                "stdio",
                "--attester",
                "software",
                "--single-user",
                "alice",
                "--data",
                str(place.folder / "stdio"),
            ]
            where = ["--config", str(written(place.folder / "it.json", {"it": entry(command)})), "--server", "it"]
        self._where = [*where, "--protocol-era", era]

    def asked(self, method: str, params: Json, *arguments: str, user: str = "alice") -> Json:
        """The result of one request. The Inspector is told what `_meta` to send, as a gateway would make it."""
        done = self._run(method, params, *arguments, user=user)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["result"]

    def refused(self, method: str, params: Json, *arguments: str, user: str = "alice") -> str:
        """What the Inspector says of a refusal."""
        done = self._run(method, params, *arguments, user=user)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def _run(self, method: str, params: Json, *arguments: str, user: str) -> Any:
        meta: list[str] = []
        if self._vouched:
            request, nonce = Request(method, params), secrets.token_hex(16)
            now = time.time_ns() // 1_000_000
            said = sign_assertion(GATEWAY, user, "etmcp-storage", request, now=now, nonce=nonce)
            meta = ["--metadata", f"{META}={json.dumps(said)}"]
        return run_inspector(*self._where, "--method", method, *arguments, *meta)

    def called(self, tool: str, arguments: Json, user: str = "alice") -> Json:
        params = {"name": tool, "arguments": arguments}
        told = self.asked(
            "tools/call", params, "--tool-name", tool, "--tool-args-json", json.dumps(arguments), user=user
        )
        return told["structuredContent"]

    def read(self, uri: str) -> Json:
        (content,) = self.asked("resources/read", {"uri": uri}, "--uri", uri)["contents"]
        return content


@pytest.mark.parametrize(("transport", "era"), ROADS)
def test_the_inspector_stores_lists_and_reads(place: Place, transport: str, era: str) -> None:
    road, path = Road(place, transport, era), f"{transport}/{era} ä"
    tools = {tool["name"] for tool in road.asked("tools/list", {})["tools"]}
    assert tools == {f"storage_{name}" for name in ("put", "get", "list", "delete", "history", "result")}
    first = road.called("storage_put", {"path": path, "text": "eins", "expires_in": 600})
    assert first["created"] is True
    second = road.called("storage_put", {"path": path, "base64": "AAE=", "if_version": first["version"]})
    assert road.called("storage_get", {"path": path, "version": first["version"]})["text"] == "eins"
    listed = road.asked("resources/list", {})["resources"]
    assert first["uri"] in [resource["uri"] for resource in listed]
    content = road.read(first["uri"])
    assert (content["blob"], content["_meta"]["version"]) == ("AAE=", second["version"])
    templates = {item["uriTemplate"] for item in road.asked("resources/templates/list", {})["resourceTemplates"]}
    assert templates >= {"etmcp://{user}/{+path}", "etmcp://{user}/results/{receiptId}"}
    history = road.called("storage_history", {"path": path})["versions"]
    assert [entry["version"] for entry in history] == [second["version"], first["version"]]
    if transport != "stdio":
        params = {"uri": first["uri"]}
        said = road.refused("resources/read", params, "--uri", first["uri"], user="bob")
        assert "there is no such object" in said
    road.called("storage_delete", {"path": path})
    assert "there is no such object" in road.refused("resources/read", {"uri": first["uri"]}, "--uri", first["uri"])


@pytest.mark.parametrize(("transport", "era"), ROADS)
def test_the_inspector_reads_a_result_by_its_receipt_and_its_verdict(place: Place, transport: str, era: str) -> None:
    road, bundle = Road(place, transport, era), made.bundle()
    receipt_id = bundle.receipt.receipt_id
    road.called("storage_put", {"path": f"results/{receipt_id}.json", "text": bundle.encode().decode()})
    told = road.called("storage_result", {"receipt_id": receipt_id})
    content = road.read(f"etmcp://alice/results/{receipt_id}")
    assert told["result"] == content["text"] == made.RESULT.decode()
    assert told["label"] == content["_meta"]["label"] == "self-consistent, untrusted"


@pytest.mark.parametrize(("transport", "era"), ROADS[2:])
def test_a_request_without_assertion_is_refused_by_name(place: Place, transport: str, era: str) -> None:
    where = [f"http://127.0.0.1:{place.port}/{'mcp' if transport == 'http' else 'sse'}", "--transport", transport]
    done = run_inspector(*where, "--protocol-era", era, "--method", "resources/list")
    assert done.returncode != 0
    assert "identity refused: missing" in done.stdout + done.stderr


def test_the_schemas_are_portable(tmp_path: Path) -> None:
    command = [STORAGE, "stdio", *SOFTWARE, "--single-user", "alice", "--data", str(tmp_path / "data")]
    config = written(tmp_path / "it.json", {"it": entry(command)})
    listed = run_inspector("--config", str(config), "--server", "it", "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stderr
