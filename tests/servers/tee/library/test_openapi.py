"""An OpenAPI document becomes tools that reach its server only, and only where the operator's policy agrees."""

import json
import threading
from collections.abc import AsyncGenerator, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from anyio import to_thread
from mcp import Client

from servers.tee.library import FunctionError
from servers.tee.library.openapi import functions
from tests.servers.tee.library.scene import Json, policy, run, tee, value, words

PET = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "$age": {"$ref": "#/x/Age"}}}
DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "2.3.4"},
    "x": {"Age": {"type": ["integer", "null"], "minimum": 0}, "Loop": {"$ref": "#/x/Loop"}},
    "paths": {
        "/pets/{petId}": {
            "parameters": [{"name": "petId", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "getPet",
                "summary": "One pet",
                "parameters": [
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                ],
            },
        },
        "/pets": {
            "post": {
                "operationId": "add-pet",
                "requestBody": {"required": True, "content": {"application/json": {"schema": PET}}},
            },
        },
        "/moved": {"get": {"operationId": "moved"}},
        "/loop": {
            "get": {"operationId": "l", "parameters": [{"name": "a", "in": "query", "schema": {"$ref": "#/x/Loop"}}]}
        },
        "/away": {"get": {"operationId": "w", "parameters": [{"$ref": "https://evil.example/p.json"}]}},
        "/cookie": {"get": {"parameters": [{"name": "c", "in": "cookie", "required": True}]}},
    },
}


class _Api(BaseHTTPRequestHandler):
    """Answers with what it was asked, and redirects /moved to another port."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        moved = url.path == "/moved"
        told: Json = {"method": self.command, "path": url.path, "query": parse_qsl(url.query), "body": body.decode()}
        told["headers"] = {name.lower(): text for name, text in self.headers.items()}
        data = json.dumps(told).encode()
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815 - names of the library's

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Not told."""


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    """Of an API on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def rules(port: int) -> Json:
    rule = {"scheme": "http", "host": "127.0.0.1", "ports": [port]}
    return {"hostCalls": ["fetch"], "network": {"rules": [rule]}}


@pytest.fixture(scope="module")
async def client(
    component_cache: Path, anyio_backend: str, port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Client]:
    """A server with the document's tools, whose policy grants that API."""
    place = tmp_path_factory.mktemp("openapi")
    (place / "pets.json").write_text(json.dumps(DOCUMENT | {"servers": [{"url": f"http://127.0.0.1:{port}/"}]}))
    added = ["library", "add", "--library", place / "lib", "--openapi", place / "pets.json"]
    assert await to_thread.run_sync(run, *added) == 0
    operator = policy(place / "policy.json", **rules(port))
    async with tee(component_cache, "--library", str(place / "lib"), "--unsigned-policy", str(operator)) as client:
        yield client


@pytest.mark.anyio
async def test_operations_are_tools_with_flat_schemas_and_true_hints(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    get, add = tools["get_pet"], tools["add_pet"]
    assert get.title == "One pet"
    assert set(get.input_schema["properties"]) == {"petId", "tag", "X_Trace"}
    assert get.input_schema["required"] == ["petId"]
    assert add.input_schema["properties"]["_age"] == {"type": "integer", "minimum": 0}
    hints = [(t.annotations.read_only_hint, t.annotations.open_world_hint) for t in (get, add) if t.annotations]
    assert hints == [(True, True), (False, True)]
    assert not {"l", "w"} & set(tools), "what cannot be followed is left out"


@pytest.mark.anyio
async def test_arguments_go_where_the_document_says(client: Client) -> None:
    got = value(await client.call_tool("get_pet", {"petId": "a/b?c", "tag": ["x", "y&z"], "X_Trace": "t"}))
    assert got["status"] == 200
    asked = got["body"]
    assert (asked["method"], asked["path"]) == ("GET", "/pets/a%2Fb%3Fc")
    assert asked["query"] == [["tag", "x"], ["tag", "y&z"]]
    assert asked["headers"]["x-trace"] == "t"
    added = value(await client.call_tool("add_pet", {"name": "Mia", "_age": 3}))["body"]
    assert json.loads(added["body"]) == {"name": "Mia", "$age": 3}
    assert added["headers"]["content-type"] == "application/json"


@pytest.mark.anyio
async def test_arguments_cannot_leave_their_place(client: Client) -> None:
    assert "another path" in words(await client.call_tool("get_pet", {"petId": ".."}))
    assert "printable" in words(await client.call_tool("get_pet", {"petId": "1", "X_Trace": "a\r\nHost: evil"}))
    assert "petId" in words(await client.call_tool("get_pet", {}))


@pytest.mark.anyio
async def test_a_redirect_is_shown_and_not_followed(client: Client) -> None:
    assert value(await client.call_tool("moved", {}))["status"] == 302


@pytest.mark.anyio
async def test_http_request_reaches_what_is_granted_and_nothing_else(client: Client, port: int) -> None:
    good = value(
        await client.call_tool(
            "http_request", {"url": f"http://127.0.0.1:{port}/x?y=1", "body": "hi", "method": "POST"}
        )
    )
    assert json.loads(good["body"])["body"] == "hi"
    for url in (
        f"http://localhost:{port}/",
        f"http://127.0.0.2:{port}/",
        f"http://2130706433:{port}/",
        f"http://[::ffff:127.0.0.2]:{port}/",
        f"http://127.0.0.1:{port + 1 if port < 65_535 else 1}/",
        f"https://127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}@evil.example/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ):
        assert "HostError" in words(await client.call_tool("http_request", {"url": url})), url
    asked = {"url": f"http://127.0.0.1:{port}/", "headers": {"Host": "evil.example", "Transfer-Encoding": "chunked"}}
    framed = json.loads(value(await client.call_tool("http_request", asked))["body"])["headers"]
    assert framed["host"] == f"127.0.0.1:{port}"
    assert "transfer-encoding" not in framed
    for headers in ({"A": "b\r\nC: d"}, {"a b": "c"}):
        asked = {"url": f"http://127.0.0.1:{port}/", "headers": headers}
        assert "HostError" in words(await client.call_tool("http_request", asked)), headers


@pytest.mark.anyio
async def test_without_the_operators_grant_nothing_is_reached(component_cache: Path, tmp_path: Path, port: int) -> None:
    (tmp_path / "pets.json").write_text(json.dumps(DOCUMENT))
    url = f"http://127.0.0.1:{port}"
    added = ["library", "add", "--library", tmp_path / "lib", "--openapi", tmp_path / "pets.json", "--server", url]
    assert await to_thread.run_sync(run, *added) == 0
    operator = policy(tmp_path / "policy.json", hostCalls=["fetch"], network={"rules": [_other(port)]})
    for options in ([], ["--unsigned-policy", str(operator)]):
        async with tee(component_cache, "--library", str(tmp_path / "lib"), *options) as client:
            assert '"network"' in words(await client.call_tool("moved", {}))


def _other(port: int) -> Json:
    return {"scheme": "http", "host": "127.0.0.9", "ports": [port]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"openapi": "2.0"}, "OpenAPI 3"),
        ({"openapi": "3.0.0", "paths": {}}, "names no server"),
        ({"openapi": "3.0.0", "servers": [{"url": "/v1"}]}, "names no server"),
        ({"openapi": "3.0.0", "servers": [{"url": "https://u:p@h.example"}]}, "names no server"),
        ({"openapi": "3.0.0", "servers": [{"url": "file:///etc"}]}, "names no server"),
        ({"openapi": "3.0.0", "servers": [{"url": "https://h.example"}], "paths": {}}, "no operation"),
        (
            {"openapi": "3.0.0", "servers": [{"url": "https://h.example"}], "paths": {"/{a}": {"get": {}}}},
            "no parameter",
        ),
        ([], "OpenAPI 3"),
    ],
)
def test_a_document_that_makes_no_tools_is_refused(tmp_path: Path, document: Any, said: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(FunctionError, match=said):
        functions(tmp_path / "a.json", None)


def test_each_operation_may_reach_its_own_server_by_its_own_method_only(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT | {"servers": [{"url": "https://api.example.com:8443/v1"}]}))
    entries, skipped = functions(tmp_path / "a.json", None)
    assert sorted(entry.function.name for entry in entries) == ["add_pet", "get_pet", "moved"]
    assert len(skipped) == 3
    for entry in entries:
        (rule,) = entry.policy.network.rules
        assert (rule.scheme, rule.host, rule.ports) == ("https", "api.example.com", (8443,))
        assert rule.methods == (("POST",) if entry.function.name == "add_pet" else ("GET",))
        assert entry.function.version == "2.3.4"
