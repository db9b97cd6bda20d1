"""Both eras on one pipe and one URL, what each may not do, and who is not let in at all."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from attest import wire
from tests.clients.conftest import World, serving
from tests.support.rawclient import ETMCP, LEGACY, VERSION, HttpClient, StdioClient, envelope

Json = dict[str, Any]
TOKEN = "a token of the test"
INITIALIZE: Json = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
INITIALIZED: Json = {"jsonrpc": "2.0", "method": "notifications/initialized"}
CALL: Json = {"name": "run_python", "arguments": {"code": "6 * 7"}}
POSTED = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def modern(number: int, method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": envelope()}}


def legacy(number: int, method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def lines(*messages: Json) -> bytes:
    return b"\n".join(json.dumps(message).encode() for message in messages)


@pytest.fixture
def pipe(world: World) -> Iterator[StdioClient]:
    stderr = world.folder / "eras.stderr"
    with StdioClient(world.config, world.home, stderr) as client:
        yield client
    assert not stderr.read_bytes()


def discovered(pipe: StdioClient) -> None:
    told = pipe.line(lines(modern(1, "server/discover")))["result"]
    assert {VERSION, LEGACY, "2025-06-18", "2024-11-05"} <= set(told["supportedVersions"])
    assert told["capabilities"]["extensions"][wire.EXTENSION]["version"] == 1


def initialized(pipe: StdioClient) -> None:
    told = pipe.line(lines(INITIALIZE))
    assert told["id"] == "hello"
    assert told["result"]["protocolVersion"] == LEGACY
    assert told["result"]["capabilities"]["extensions"][wire.EXTENSION]["version"] == 1


def answer_of(pipe: StdioClient, *messages: Json) -> Json:
    reply = pipe.line(lines(*messages))
    assert reply["id"] == messages[-1]["id"], reply
    assert reply["result"]["structuredContent"]["value"] == 42
    return reply["result"]


def test_a_client_that_probes_and_then_shakes_hands_is_served(pipe: StdioClient) -> None:
    discovered(pipe)
    initialized(pipe)
    answer_of(pipe, INITIALIZED, legacy(2, "tools/call", **CALL))


def test_a_client_that_shakes_hands_and_then_probes_is_served(pipe: StdioClient) -> None:
    initialized(pipe)
    discovered(pipe)
    assert answer_of(pipe, INITIALIZED, modern(2, "tools/call", **CALL))["resultType"] == "complete"


def test_requests_of_both_eras_alternate_on_one_pipe(pipe: StdioClient) -> None:
    discovered(pipe)
    answer_of(pipe, modern(2, "tools/call", **CALL))
    initialized(pipe)
    answer_of(pipe, INITIALIZED, legacy(3, "tools/call", **CALL))
    answer_of(pipe, modern(4, "tools/call", **CALL))
    answer_of(pipe, legacy(5, "tools/call", **CALL))


def test_a_legacy_request_before_the_handshake_is_refused(pipe: StdioClient) -> None:
    assert "error" in pipe.line(lines(legacy(1, "tools/list")))
    discovered(pipe)


@pytest.mark.parametrize("era", ["legacy", VERSION, "auto"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.anyio
async def test_the_sdks_client_lists_and_calls(world: World, transport: str, era: str) -> None:
    arguments = ["--config", str(world.config), "--home", str(world.home), "stdio"]
    stdio = StdioServerParameters(command=ETMCP, args=arguments)
    async with Client(stdio if transport == "stdio" else f"http://127.0.0.1:{world.port}/mcp", mode=era) as client:
        assert "run_python" in {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("run_python", CALL["arguments"])
        assert result.structured_content == {"status": "ok", "value": 42}
        assert (result.meta or {})[wire.VERIFICATION]["kind"] == "executor-attested"


def http_reply(port: int, verb: str, path: str, headers: Json, body: Json | None = None) -> tuple[int, bytes]:
    """Status and body; of an event stream only that it began."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(verb, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        streams = response.getheader("content-type", "").startswith("text/event-stream") and verb == "GET"
        return response.status, b"" if streams else response.read()
    finally:
        connection.close()


def test_a_notification_over_http_is_accepted_without_a_body(world: World) -> None:
    with HttpClient(world.port, "legacy") as client:
        headers = POSTED | client._session  # pyright: ignore[reportPrivateUsage]
        assert http_reply(world.port, "POST", "/mcp", headers, INITIALIZED) == (202, b"")


def test_a_modern_client_cannot_open_a_stream_or_end_a_session(world: World) -> None:
    headers = {"accept": "text/event-stream", "mcp-protocol-version": VERSION}
    for verb in ("GET", "DELETE"):
        assert http_reply(world.port, verb, "/mcp", headers)[0] == 405


SPOOFED = [
    ({"host": "evil.example:{port}"}, 421),
    ({"host": "127.0.0.1.evil.example:{port}"}, 421),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "http://127.0.0.1.evil.example:{port}"}, 403),
    ({"origin": "null"}, 403),
]


@pytest.mark.parametrize("whom", ["gateway", "server"])
@pytest.mark.parametrize(("headers", "status"), SPOOFED)
def test_a_page_that_rebinds_its_name_to_us_is_refused(world: World, whom: str, headers: Json, status: int) -> None:
    port = world.port if whom == "gateway" else world.tee_port
    spoofed = {name: value.format(port=port) for name, value in headers.items()}
    assert http_reply(port, "POST", "/mcp", POSTED | spoofed, INITIALIZE)[0] == status
    assert http_reply(port, "GET", "/sse", {"accept": "text/event-stream"} | spoofed)[0] == status
    assert http_reply(port, "POST", "/messages/?session_id=0", POSTED | spoofed, INITIALIZE)[0] == status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_local_page_is_served(world: World, host: str) -> None:
    headers = POSTED | {"host": f"{host}:{world.port}", "origin": f"http://{host}:{world.port}"}
    assert http_reply(world.port, "POST", "/mcp", headers, INITIALIZE)[0] == 200


@pytest.fixture(scope="module")
def guarded(world: World) -> Iterator[int]:
    """A gateway that asks for a token."""
    command = (ETMCP, "--config", str(world.config), "--home", str(world.home), "serve")
    with serving(*command, log=world.folder / "guarded.log", ETMCP_TOKEN=TOKEN) as port:
        yield port


@pytest.mark.parametrize(("verb", "path"), [("POST", "/mcp"), ("GET", "/mcp"), ("GET", "/sse"), ("POST", "/messages/")])
@pytest.mark.parametrize("given", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x"])
def test_without_the_token_every_door_is_closed(guarded: int, verb: str, path: str, given: str | None) -> None:
    headers = POSTED | ({"authorization": given} if given is not None else {})
    assert http_reply(guarded, verb, path, headers, INITIALIZE if verb == "POST" else None)[0] == 401


def test_with_the_token_the_door_opens(guarded: int) -> None:
    headers = POSTED | {"authorization": f"Bearer {TOKEN}"}
    assert http_reply(guarded, "POST", "/mcp", headers, INITIALIZE)[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - the point
def test_beyond_loopback_it_serves_only_with_a_token(world: World, host: str) -> None:
    command = [ETMCP, "--config", str(world.config), "--home", str(world.home), "serve", "--host", host]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": ""}, timeout=30)
    assert refused.returncode == 2
    assert "ETMCP_TOKEN" in refused.stderr
    assert refused.stderr.count("\n") == 1
