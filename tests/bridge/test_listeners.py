"""What a listener of one era says to the other, what HTTP says to whoever wants no more, and `etmcp status`."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bridge.client import on_pipe
from tests.bridge.scene import Upstream, Way, gateway, serving
from tests.support.rawclient import ETMCP, LEGACY, VERSION, Era, envelope
from tests.support.stage import configuration

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
HELLO: Json = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
ACCEPT = {"accept": "application/json, text/event-stream"}


async def posted(port: int, message: Json, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as pool:
        url = f"http://127.0.0.1:{port}/mcp"
        async with pool.post(url, json={"jsonrpc": "2.0", **message}, headers=ACCEPT | headers) as response:
            return response.status, await response.text()


def error_in(body: str) -> Json:
    data = body if body.startswith("{") else body.partition("data:")[2]
    return json.loads(data)["error"]


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "peer", "modern", "pipe")


async def test_a_modern_listener_names_the_versions_it_speaks(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, {"peer": upstream.entry()}, "--era", "modern") as (port, _):
        _, body = await posted(port, {"id": 1, "method": "initialize", "params": HELLO})
        error = error_in(body)
        assert error["code"] == -32022
        assert error["data"] == {"supported": [VERSION], "requested": LEGACY}
        params: Json = {"_meta": envelope()}
        headers = {"mcp-protocol-version": VERSION, "mcp-method": "server/discover"}
        _, body = await posted(port, {"id": 1, "method": "server/discover", "params": params}, **headers)
        assert json.loads(body)["result"]["supportedVersions"] == [VERSION]


async def test_a_legacy_listener_knows_no_discovery_and_names_its_versions(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, {"peer": upstream.entry()}, "--era", "legacy") as (port, _):
        for method, code in (("server/discover", -32601), ("tools/list", -32022)):
            headers = {"mcp-protocol-version": VERSION, "mcp-method": method}
            _, body = await posted(port, {"id": 1, "method": method, "params": {"_meta": envelope()}}, **headers)
            error = error_in(body)
            assert error["code"] == code
            if code == -32022:
                assert LEGACY in error["data"]["supported"]
                assert VERSION not in error["data"]["supported"]
                assert error["data"]["requested"] == VERSION
        _, body = await posted(port, {"id": 1, "method": "initialize", "params": HELLO})
        assert LEGACY in body


@pytest.mark.parametrize(("listener", "client", "code"), [("modern", "legacy", -32022), ("legacy", "modern", -32022)])
async def test_a_pipe_of_one_era_refuses_the_other(
    tmp_path: Path, upstream: Upstream, listener: Era, client: Era, code: int
) -> None:
    config = configuration(tmp_path / "config.json", peer=upstream.entry())
    async with on_pipe(config, tmp_path / "own" / "home", listener, {}, "--era", listener) as there:
        assert await there.result("tools/list")
        there.era = client
        method = "initialize" if client == "legacy" else "tools/list"
        error = (await there.request(method, HELLO if client == "legacy" else None))["error"]
        assert error["code"] == code
        assert error["data"]["supported"]


@pytest.mark.parametrize(("server", "era"), [("legacy", "modern"), ("modern", "legacy")])
async def test_a_server_of_the_wrong_era_is_named_in_one_line(tmp_path: Path, server: Era, era: Era) -> None:
    with gateway(tmp_path, (server, "pipe"), era=era) as running:
        async with running.client("modern") as there:
            said = (await there.result("tools/list"))["_meta"]["com.etmcp/servers"]
            assert said[f"{server}_pipe"].startswith(f"failed: {server}_pipe: ")
            assert "\n" not in said[f"{server}_pipe"]


async def test_who_names_no_session_gets_405_and_a_notification_gets_202(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, {"peer": upstream.entry()}) as (port, _):
        async with aiohttp.ClientSession() as pool:
            for verb in ("GET", "DELETE"):
                async with pool.request(verb, f"http://127.0.0.1:{port}/mcp", headers=ACCEPT) as response:
                    assert (response.status, response.headers["allow"]) == (405, "POST")
        assert await posted(port, {"method": "notifications/initialized"}) == (202, "")


async def etmcp(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [ETMCP, *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ways", [("pipe", "pipe"), ("pipe", "http")])
async def test_status_says_how_every_server_is(tmp_path: Path, ways: tuple[Way, Way]) -> None:
    kinds: list[tuple[Era, Way]] = [("legacy", ways[0]), ("modern", ways[1])]
    with gateway(tmp_path, *kinds) as running:
        own = ("--config", str(running.config), "--home", str(tmp_path / "other" / "home"))
        done = await etmcp(*own, "status")
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"legacy_{ways[0]}: ready; peer 1, legacy era, {LEGACY}, observer-attested, ")
        told = json.loads((await etmcp(*own, "status", "--json")).stdout)
        assert (told[f"modern_{ways[1]}"]["era"], told[f"modern_{ways[1]}"]["protocol"]) == ("modern", VERSION)
        url = f"http://127.0.0.1:{running.port}/mcp"
        done = await etmcp(*own, "status", "--json", "--url", url)
        assert json.loads(done.stdout) == {alias: {"state": "ready"} for alias in running.upstreams}
        assert done.returncode == 0
        (running.upstreams[f"legacy_{ways[0]}"].folder / "broken").touch()
        done = await etmcp(*own, "status")
        assert done.returncode == 1
        assert f"legacy_{ways[0]}: failed: " in done.stdout


async def test_status_of_what_is_no_gateway_is_one_line(tmp_path: Path) -> None:
    with gateway(tmp_path, ("modern", "http")) as running:
        (upstream,) = running.upstreams.values()
        own = ("--config", str(running.config), "--home", str(tmp_path / "other" / "home"), "status", "--url")
        for url, said in (
            (f"http://127.0.0.1:{upstream.port}/mcp", "is no ETMCP gateway"),
            (f"http://127.0.0.1:{running.port}/nowhere", "404"),
            ("http://127.0.0.1:1/mcp", "cannot connect"),
        ):
            done = await etmcp(*own, url)
            assert done.returncode != 0
            assert said in done.stderr
            assert len(done.stderr.splitlines()) == 1
