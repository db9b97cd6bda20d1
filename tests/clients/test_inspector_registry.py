"""The official Inspector, unchanged, on the registry: every transport, both eras, every tool and the resource."""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attest.note import NoteKey
from attest.tlog import leaf_hash, open_checkpoint, verify_inclusion
from registry.log.leaf import Leaf
from registry.server import resource_uri
from tests.clients.conftest import entry as launched
from tests.clients.conftest import written
from tests.registry.process import REGISTRY, imported, key_file, registry
from tests.registry.scene import KEY, entry, manifest
from tests.support.peers import run_inspector

Json = dict[str, Any]
ROADS = [
    ("stdio", "legacy"),
    ("stdio", "modern"),
    ("http", "legacy"),
    ("http", "modern"),
    ("sse", "legacy"),  # the modern era has no HTTP+SSE
]


@dataclass(frozen=True)
class Place:
    """A registry with two imported versions, served at `url`; over stdio its command is in `config`."""

    url: str
    config: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One registry over HTTP, and another for stdio."""
    folders = [tmp_path_factory.mktemp(name) for name in ("http", "stdio")]
    for folder in folders:
        lines = [json.dumps(entry(name="org.demo/clock", version=f"{n}.0.0", description="A clock")) for n in (1, 2)]
        (folder / "entries").write_text("\n".join(lines))
        assert imported(folder, str(folder / "entries")).returncode == 0
        key_file(folder)
    command = [REGISTRY, "--data", str(folders[1] / "data"), "stdio", "--keys", str(folders[1] / "keys.json")]
    config = written(folders[1] / "config.json", {"it": launched(command)})
    with registry(folders[0]) as url:
        yield Place(url, config)
    assert not (folders[0] / "registry.log").read_text().removeprefix("etmcp-registry: ").partition("\n")[2]


def road(place: Place, transport: str, era: str) -> list[str]:
    if transport == "stdio":
        return ["--config", str(place.config), "--server", "it", "--protocol-era", era]
    path = "mcp" if transport == "http" else "sse"
    return [f"{place.url}/{path}", "--transport", transport, "--protocol-era", era]


def asked(where: list[str], method: str, *arguments: str) -> Json:
    done = run_inspector(*where, "--method", method, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["result"]


def called(where: list[str], tool: str, **arguments: Any) -> Json:
    result = asked(where, "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
    assert not result.get("isError"), result
    return result["structuredContent"]


@pytest.mark.parametrize(("transport", "era"), ROADS)
def test_the_inspector_searches_publishes_verifies_and_logs(place: Place, transport: str, era: str) -> None:
    where = road(place, transport, era)
    names = {tool["name"] for tool in asked(where, "tools/list")["tools"]}
    assert names == {f"registry_{verb}" for verb in ("search", "get", "verify", "publish", "status", "log")}
    assert [s["server"]["version"] for s in called(where, "registry_search", query="clock")["servers"]] == ["2.0.0"]
    name = f"com.example/{transport}-{era}"
    what: Json = {"server": entry(name=name), "manifest": manifest(name)}
    first = called(where, "registry_publish", **what)
    signature = base64.b64encode(KEY.sign(base64.b64decode(first["sign"]))).decode()
    told = called(where, "registry_publish", **what, nonce=first["challenge"]["nonce"], signature=signature)
    assert told["server"] == what["server"]
    verified = called(where, "registry_verify", name=name)
    assert verified["verified"] is True
    proof, log = verified["proof"], NoteKey.parse(verified["log"])
    hashes = [base64.b64decode(value) for value in proof["hashes"]]
    checkpoint = open_checkpoint(proof["checkpoint"].encode(), log)
    verify_inclusion(leaf_hash(proof["leaf"].encode()), proof["index"], hashes, checkpoint)
    templates = asked(where, "resources/templates/list")["resourceTemplates"]
    assert [item["uriTemplate"] for item in templates] == ["registry://servers/{name}/versions/{version}"]
    read = asked(where, "resources/read", "--uri", resource_uri(name, "latest"))
    assert json.loads(read["contents"][0]["text"])["manifest"] == what["manifest"]
    digest = hashlib.sha256(name.encode()).hexdigest()
    logged = called(where, "registry_log", receipts=[digest])
    item = logged["entries"][0]
    hashes = [base64.b64decode(value) for value in item["hashes"]]
    checkpoint = open_checkpoint(logged["checkpoint"].encode(), log)
    verify_inclusion(leaf_hash(Leaf("receipt", digest).encode()), item["index"], hashes, checkpoint)


def test_the_schemas_of_the_registrys_tools_are_portable(place: Place) -> None:
    listed = run_inspector(*road(place, "http", "modern"), "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stdout + listed.stderr
