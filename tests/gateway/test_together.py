"""Registry, storage and gateway as a user has them: a server by its name, held to its manifest; its results kept."""

import base64
import json
import re
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attest.canonical import canonical
from attest.errors import LogError
from attest.manifest import Manifest, Pin
from attest.note import NoteKey
from attest.tlog import leaf_hash, open_checkpoint, verify_inclusion
from gateway.client import Client
from gateway.config import SOFTWARE, load
from gateway.errors import Withheld
from gateway.home import Home
from gateway.journal import proven
from gateway.runtime import Gateway, running
from gateway.upstream import DEAF, UpstreamError
from gateway.upstream.session import ClientFace
from tests.bridge.scene import eventually
from tests.registry.process import publish, registry
from tests.registry.scene import KEY, NAME, entry
from tests.support import lean

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
STORAGE = str(Path(sys.executable).with_name("etmcp-storage"))
TOOL = lean.tool("echo")
CLIENT = Client(ClientFace({}, {"name": "test", "version": "1"}), None, DEAF)


@dataclass(frozen=True)
class Place:
    """A registry that lists a server as it is (1.0.0), and as it is not (2.0.0)."""

    registry: str
    log: str
    folder: Path

    def config(self, version: str, *, log: str = "", **settings: Any) -> Path:
        """A gateway's configuration: that server by its name, and a storage server that believes the gateway."""
        key = Home(self.folder / "gateway" / "home").signing_key().public_key().public_bytes_raw().hex()
        data = str(self.folder / "storage")
        storage = {
            "command": STORAGE,
            "args": ["stdio", "--data", data, "--gateway", key, *SOFTWARE],
            "etmcp": {"identity": True},
        }
        named = {"etmcp": {"name": NAME, "version": version, "store": "all", **settings}}
        where = {"url": f"{self.registry}/mcp", "log": log or self.log}
        path = self.folder / "etmcp.json"
        path.write_text(json.dumps({"mcpServers": {"weather": named, "storage": storage}, "registry": where}))
        return path


def npx(folder: Path) -> Path:
    """A folder with an `npx` that starts the server whatever package it is asked for."""
    scripted = folder / "weather"
    scripted.mkdir()
    (scripted / "mode").write_text("good")
    (scripted / "tools.json").write_text(json.dumps([TOOL]))
    script = folder / "bin" / "npx"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{lean.__file__}" "{scripted}"\n')
    script.chmod(0o755)
    return script.parent


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "registry"
    folder.mkdir()
    npx(tmp_path)
    (tmp_path / "storage").mkdir()  # a server sees what was there when it started
    (tmp_path / "gateway").mkdir()
    with registry(folder) as url:
        for version, tool in (("1.0.0", TOOL), ("2.0.0", {**TOOL, "description": "Something else."})):
            pins = {"echo": Pin.of(tool)}
            signed = Manifest(NAME, version, "observer-attested", pins, {}, {}, None, frozenset()).sign(KEY)
            package = {"registryType": "npm", "identifier": "weather", "version": version}
            listed = entry(version=version, packages=[{**package, "transport": {"type": "stdio"}}])
            status, told = publish(url, listed, signed.to_json())
            assert status == 200, told
        log = re.search(r"log (\S+)", (folder / "registry.log").read_text())
        assert log
        yield Place(url, log[1], tmp_path)


@asynccontextmanager
async def gateway(place: Place, config: Path) -> AsyncGenerator[Gateway]:
    def clock() -> int:
        return time.time_ns() // 1_000_000

    home, environ = (
        Home(place.folder / "gateway" / "home"),
        {"USER": "ada", "PATH": f"{place.folder / 'bin'}:/usr/bin:/bin"},
    )
    async with running(load(config), home, clock=clock, environ=environ, version="0") as started:
        yield started


async def call(started: Gateway, tool: str, **arguments: Any) -> Json:
    reply = await started.aggregate.named("tools/call", {"name": tool, "arguments": arguments}, CLIENT)
    return reply["result"]


async def test_a_server_by_its_name_is_held_to_its_manifest_and_its_results_are_kept(place: Place) -> None:
    async with gateway(place, place.config("1.0.0")) as started:
        said = await call(started, "echo", text="kept")
        receipt = said["_meta"]["com.etmcp/verification"]["receiptId"]
        results = started.aggregate.rounds.results
        assert results is not None
        await results.settled()
        assert (results.kept, results.failed) == (1, 0)
        kept = await call(started, "storage_result", receipt_id=receipt)
        assert not kept.get("isError"), kept
        assert "kept" in json.dumps(kept["structuredContent"])
        assert (await started.aggregate.survey())["weather"] == "ready"


async def test_a_manifest_that_does_not_fit_blocks_the_tool(place: Place) -> None:
    async with gateway(place, place.config("2.0.0")) as started:
        listed = await started.aggregate.merged("tools/list")
        assert "echo" not in {tool["name"] for tool in listed["tools"]}
        with pytest.raises(Withheld, match="drift"):
            await call(started, "echo", text="x")


async def test_another_log_resolves_nothing_and_the_neighbour_goes_on(place: Place) -> None:
    stranger = "other.example+" + place.log.partition("+")[2]
    with pytest.raises(Exception, match="verifier key"):
        load(place.config("1.0.0", log=stranger))
    async with gateway(place, place.config("9.9.9")) as started:
        states = await started.aggregate.survey()
        assert "[not-found]" in states["weather"]
        assert states["storage"] == "ready"
        with pytest.raises(UpstreamError):
            await started.aggregate.members["weather"].connections.link()
        assert (await call(started, "storage_put", path="a.txt", text="x"))["isError"] is False
        listed = await started.aggregate.collect("resources/list", "resources")
        assert [item["uri"] for item in listed["resources"]] == ["etmcp://ada/a.txt"]


async def test_a_server_of_the_older_transport_is_one_like_the_others(place: Place) -> None:
    path = place.config("1.0.0")
    servers = {"old": {"url": f"{place.registry}/sse", "type": "sse"}}
    path.write_text(json.dumps({"mcpServers": servers}))
    async with gateway(place, path) as started:
        found = await call(started, "registry_search", query="weather")
        names = {entry["server"]["name"] for entry in found["structuredContent"]["servers"]}
        assert names == {NAME}
        assert found["_meta"]["com.etmcp/verification"]["verdict"] == "observed"
        link = await started.aggregate.members["old"].connections.link()
        assert link.session.era == "legacy"


async def test_receipts_go_into_the_log_each_with_its_proof_and_none_without(place: Place) -> None:
    path = place.config("1.0.0", store="none")
    document = json.loads(path.read_text())
    document["registry"]["receipts"] = True
    path.write_text(json.dumps(document))
    async with gateway(place, path) as started:
        said = [await call(started, "echo", text=text) for text in ("one", "two")]
        receipts = [one["_meta"]["com.etmcp/verification"]["receiptId"] for one in said]
        entry = await eventually(lambda: started.records.log_entry(receipts[1]), "the receipt is logged")
        log = NoteKey.parse(place.log)
        checkpoint = open_checkpoint(entry.checkpoint.encode(), log)
        leaf = leaf_hash(canonical({"type": "receipt", "digest": receipts[1]}))
        verify_inclusion(leaf, entry.index, [base64.b64decode(value) for value in entry.hashes], checkpoint)
        assert started.records.unlogged(10) == []
        answer = await started.hub.registry.ask("registry_log", {"receipts": receipts})
        assert [one.receipt for one in proven(answer, receipts, log)] == receipts
        for lie in (receipts[:1], receipts[::-1]):
            with pytest.raises(LogError, match="other receipts"):
                proven(answer, lie, log)
        forged = json.loads(json.dumps(answer))
        forged["structuredContent"]["entries"][0]["digest"] = "00" * 32
        with pytest.raises(LogError):
            proven(forged, receipts, log)
        with pytest.raises(LogError):
            proven({"isError": True}, receipts, log)
        with pytest.raises(LogError):
            proven(answer, receipts, NoteKey("other.example", log.public))
