"""The registry as clients meet it: MCP in both eras over three transports, the official API, the import."""

import base64
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from attest.dsse import Envelope
from attest.manifest import Manifest, Pin
from attest.note import NoteKey
from attest.tlog import leaf_hash, open_checkpoint, verify_inclusion
from registry.catalogue.challenge import Challenge, signing_input
from registry.catalogue.entry import SCHEMA
from registry.catalogue.importer import OFFICIAL
from registry.server import resource_uri

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = "com.example/weather"
ENTRY: Json = {"$schema": SCHEMA, "name": NAME, "description": "Weather of the day", "version": "1.0.0"}
MANIFEST = Manifest(NAME, "1.0.0", "observer-attested", {"t": Pin.of({"name": "t"})}, {}, {}, None, frozenset()).sign(
    KEY
)
SECONDS = 20
TOOLS = ["registry_search", "registry_get", "registry_verify", "registry_publish", "registry_status", "registry_log"]


def command(home: Path, *rest: str) -> list[str]:
    return [sys.executable, "-m", "registry", "--data", str(home / "data"), *rest]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the key records of one domain and some entries imported."""
    public = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    (tmp_path / "keys.json").write_text(json.dumps({"example.com": [f"v=MCPv1; k=ed25519; p={public}"]}))
    versions = [{**ENTRY, "name": "org.demo/old", "version": v, "description": "A clock"} for v in ("1.0.0", "2.0.0")]
    lines = [json.dumps(v) for v in versions] + ['{"name": "nameless"}', "{", json.dumps(versions[0])]
    (tmp_path / "entries.jsonl").write_text("\n".join(lines))
    run = subprocess.run(
        command(tmp_path, "import", str(tmp_path / "entries.jsonl"), "--json"),
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    report = json.loads(run.stdout)
    assert (report["records"], report["imported"]) == (5, 2)
    assert report["reasons"] == {"no-namespace": 1, "not-json": 1, "version-exists": 1}
    assert report["pages"] == []
    assert [refused["record"] for refused in report["refused"]] == [3, 4, 5]
    assert "5 records: 2 imported, 3 not" in run.stderr
    return tmp_path


@contextmanager
def served(home: Path) -> Generator[str]:
    """The base URL of a registry over HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = command(home, "http", "--port", str(port), "--keys", str(home / "keys.json"))
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def fetch(url: str) -> tuple[int, bytes]:
    """One GET from a page of another origin."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    try:
        connection.request("GET", url.partition(parts.netloc)[2], headers={"Origin": "https://vscode.dev"})
        answer = connection.getresponse()
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        return answer.status, answer.read()
    finally:
        connection.close()


def get(url: str) -> tuple[int, Any]:
    status, body = fetch(url)
    return status, json.loads(body)


async def call(client: Client, tool: str, **arguments: Any) -> Json:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content or {}


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(getattr(result.content[0], "text", ""))


async def rename(client: Client, status: str, message: str) -> None:
    """Change the status of what is published, in its two steps."""
    what: Json = {"name": NAME, "status": status, "version": "1.0.0", "message": message}
    first = await call(client, "registry_status", **what)
    what |= {"nonce": first["challenge"]["nonce"]}
    what |= {"signature": base64.b64encode(KEY.sign(base64.b64decode(first["sign"]))).decode()}
    changed = await call(client, "registry_status", **what)
    assert changed["updatedCount"] == 1
    assert (await call(client, "registry_get", name=NAME))["_meta"][OFFICIAL]["status"] == status
    assert (await refused(client, "registry_status", **what)).startswith("no-change")


async def use(client: Client) -> None:
    """Everything a client can do; publishes where nobody has yet."""
    listed = (await client.list_tools()).tools
    assert [t.name for t in listed] == TOOLS
    for tool in listed:
        text = json.dumps(tool.input_schema)
        assert tool.title
        assert tool.annotations
        assert not any(word in text for word in ("$ref", "anyOf", '"type": ['))
        assert tool.annotations.read_only_hint == (tool.name in TOOLS[:3])
    assert [s["server"]["version"] for s in (await call(client, "registry_search", query="clock"))["servers"]] == [
        "2.0.0"
    ]
    assert (await call(client, "registry_verify", name="org.demo/old"))["verified"] is False
    assert (await refused(client, "registry_get", name="no.such/server")).startswith("no-server")
    what: Json = {"server": ENTRY, "manifest": MANIFEST.to_json()}
    first = await call(client, "registry_publish", **what)
    challenge = Challenge(**first["challenge"])
    message = signing_input(challenge, ENTRY, Envelope.from_json(what["manifest"]))
    assert base64.b64decode(first["sign"]) == message
    what |= {"nonce": challenge.nonce, "signature": base64.b64encode(KEY.sign(message)).decode()}
    again = await client.call_tool("registry_publish", what)
    if not again.is_error:
        assert (await refused(client, "registry_publish", **what)).startswith("replayed-challenge")
    await rename(client, "deprecated", "use another")
    await rename(client, "active", "")
    logged = [(await call(client, "registry_log", receipts=["ab" * 32]))["entries"][0] for _ in range(2)]
    assert logged[0]["index"] == logged[1]["index"]
    assert (await refused(client, "registry_log", receipts=["ab"])).startswith("malformed-leaf")
    told = await call(client, "registry_verify", name=NAME)
    assert told["verified"] is True
    assert all(told["checks"].values())
    proof, log = told["proof"], NoteKey.parse(told["log"])
    hashes = [base64.b64decode(value) for value in proof["hashes"]]
    checkpoint = open_checkpoint(proof["checkpoint"].encode(), log)
    verify_inclusion(leaf_hash(proof["leaf"].encode()), proof["index"], hashes, checkpoint)
    templates = (await client.list_resource_templates()).resource_templates
    assert [t.uri_template for t in templates] == ["registry://servers/{name}/versions/{version}"]
    for version in ("1.0.0", "latest"):
        content = (await client.read_resource(resource_uri(NAME, version))).contents[0]
        assert json.loads(getattr(content, "text", ""))["manifest"] == MANIFEST.to_json()
    with pytest.raises(MCPError):
        await client.read_resource(resource_uri(NAME, "9"))
    bads: list[Json] = [{"server": {**ENTRY, "repository": {}}}, {"server": {"name": 3}}, {"manifest": {}}]
    for bad in bads:
        assert await refused(client, "registry_publish", **{**what, **bad})


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_over_stdio(home: Path, era: Any) -> None:
    program, *arguments = command(home, "stdio", "--keys", str(home / "keys.json"))
    stdio = stdio_client(StdioServerParameters(command=program, args=arguments, cwd=ROOT))
    async with Client(stdio, mode=era) as client:
        await use(client)


@pytest.mark.anyio
async def test_over_http_and_sse_and_the_official_api(home: Path) -> None:
    with served(home) as url:
        for era in ("auto", "legacy"):
            async with Client(f"{url}/mcp", mode=era) as client:
                await use(client)
        async with Client(sse_client(f"{url}/sse"), mode="legacy") as client:
            await use(client)
        status, page = get(f"{url}/v0.1/servers?limit=2")
        assert (status, page["metadata"]["count"]) == (200, 2)
        _, rest = get(f"{url}/v0.1/servers?limit=2&cursor={page['metadata']['nextCursor'].replace('/', '%2F')}")
        names = [s["server"]["name"] for s in page["servers"] + rest["servers"]]
        assert names == [NAME, "org.demo/old", "org.demo/old"]
        assert "nextCursor" not in rest["metadata"]
        _, latest = get(f"{url}/v0.1/servers?version=latest&search=demo")
        assert [s["server"]["version"] for s in latest["servers"]] == ["2.0.0"]
        _, versions = get(f"{url}/v0.1/servers/org.demo%2Fold/versions")
        assert {s["server"]["version"] for s in versions["servers"]} == {"1.0.0", "2.0.0"}
        _, one = get(f"{url}/v0.1/servers/org.demo%2Fold/versions/latest")
        assert one["_meta"]["io.modelcontextprotocol.registry/official"]["isLatest"] is True
        assert get(f"{url}/v0.1/servers?updated_since=2999-01-01T00:00:00Z")[1]["servers"] == []
        for path, code in (("/no.such%2Fserver/versions", 404), ("/org.demo%2Fold/versions/9", 404), ("?limit=0", 400),
                           ("?limit=x", 400), ("?updated_since=x", 400)):  # fmt: skip
            status, answer = get(f"{url}/v0.1/servers{path}")
            assert (status, list(answer)) == (code, ["error", "code"])
        size = int(fetch(f"{url}/checkpoint")[1].split(b"\n")[1])
        assert size == 1 + 3 * 2 + 1  # a manifest, two changes of status by each client, a receipt
    with served(home) as url:
        assert get(f"{url}/v0.1/servers/{NAME.replace('/', '%2F')}/versions/1.0.0")[0] == 200


def test_a_key_without_its_log_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.key").write_text("00" * 32)
    run = subprocess.run(
        command(tmp_path, "stdio"), cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert run.returncode == 2
    assert "no-log" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.anyio
async def test_without_a_key_file_the_domain_itself_is_asked(tmp_path: Path) -> None:
    program, *arguments = command(tmp_path, "stdio")
    name = "invalid.nobody/weather"  # RFC 2606: there is no such domain, here or anywhere
    what = {"server": {**ENTRY, "name": name}, "manifest": MANIFEST.to_json()}
    async with Client(stdio_client(StdioServerParameters(command=program, args=arguments, cwd=ROOT))) as client:
        said = await refused(client, "registry_publish", **what)
    assert said.startswith(("unknown-namespace: ", "lookup-failed: "))  # the latter where this machine is offline


def test_a_key_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"example.com": "v=MCPv1"}')
    arguments = command(tmp_path, "stdio", "--keys", str(tmp_path / "keys.json"))
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "malformed-key-file" in run.stderr
