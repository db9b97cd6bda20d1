"""One line, `prove(server)`, in a small server of somebody else's: what the gateway can then prove, started by it or
reached over HTTP, and what a client that knows nothing of it sees."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult

from attest import wire
from attest.bundle import Bundle
from attest.dsse import Envelope
from attest.receipt import Receipt
from attest.schemes.software import SCHEME
from attest.statement import Statement
from attest.trust import FORMAT
from tests.support.peers import run_inspector
from tests.support.rawclient import ETMCP, VERSION, Reply, StdioClient, wait_for

Json = dict[str, Any]
ROOT = Path(__file__).parents[1]
WEATHER = str(ROOT / "examples" / "weather" / "server.py")
ABLE: Json = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
NOT_A_KEY = "00" * 32


@dataclass(frozen=True)
class Station:
    """The weather server behind a gateway; `attester` is known beforehand over HTTP alone."""

    client: StdioClient
    home: Path
    attester: str | None

    def call(self, tool: str, meta: Json | None = None, /, **params: Any) -> Reply:
        return self.client.request("tools/call", {"name": tool, **params, **({"_meta": meta} if meta else {})})

    def etmcp(self, *arguments: str) -> str:
        command = [ETMCP, "--home", str(self.home), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def newest(self) -> Json:
        return json.loads(self.etmcp("receipts", "list", "--limit", "1", "--json"))


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Json]:
    """The server over HTTP, started by nobody of ours, with the key that it prints."""
    log = tmp_path_factory.mktemp("remote") / "log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, WEATHER, "http", str(port)], stderr=errors)
        with process:
            try:
                wait_for(port, process)
                key = log.read_text().partition("attester ")[2][:64]
                yield {"url": f"http://127.0.0.1:{port}/mcp", "etmcp": {"attesters": [key]}}
            finally:
                process.terminate()


@pytest.fixture(scope="module", params=["started", "remote"])
def station(
    request: pytest.FixtureRequest, remote: Json, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """A gateway before it, for a client of the modern era."""
    folder = tmp_path_factory.mktemp("station")
    started = {"command": sys.executable, "args": [WEATHER]}
    server, attester = (started, None) if request.param == "started" else (remote, remote["etmcp"]["attesters"][0])
    config, home, stderr = folder / "etmcp.json", folder / "home", folder / "stderr"
    config.write_text(json.dumps({"mcpServers": {"weather": server}}))
    with StdioClient(config, home, stderr) as client:
        yield Station(client, home, attester)
    assert not stderr.read_bytes()


def proven(reply: Reply, method: str, target: str | None, previous: str | None = None) -> str:
    """The receipt id, after checking that this result is proven and that the receipt says what was asked."""
    verdict = reply.verification
    assert (verdict["verdict"], verdict["kind"]) == ("verified", "executor-attested")
    assert (verdict["assurance"], verdict["server"]) == ("software", "weather")
    receipt = Receipt.from_json(wire.meta_of(reply.result, wire.RECEIPT))
    said = Statement.decode(receipt.envelope.payload)
    assert (said.method, said.target, said.previous) == (method, target, previous)
    assert said.server == {"name": "weather", "version": "1.0.0"}
    assert (said.definition is None) == (target is None)
    assert receipt.receipt_id == verdict["receiptId"]
    return receipt.receipt_id


def test_tools_prompts_and_resources_are_proven(station: Station) -> None:
    told = station.call("forecast", arguments={"city": "Nairobi", "warmer_by": 0.25})
    assert told.result["structuredContent"] == {"city": "Nairobi", "celsius": 19.25, "rainy_days": 9}
    proven(told, "tools/call", "forecast")
    prompt = station.client.request("prompts/get", {"name": "pack", "arguments": {"city": "Bern"}})
    assert "Bern" in prompt.result["messages"][0]["content"]["text"]
    proven(prompt, "prompts/get", "pack")
    for uri, text in (
        ("weather://cities", "Bern\nNairobi\nReykjavik"),
        ("weather://climate/Bern", "1.5 degrees Celsius"),
    ):
        read = station.client.request("resources/read", {"uri": uri})
        assert read.result["contents"] == [{"uri": uri, "mimeType": "text/plain", "text": text}]
        proven(read, "resources/read", None)


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("forecast", {"city": "Atlantis"}, "no station in Atlantis; weather://cities lists them"),
        ("forecast", {"city": 7}, "validation error"),
        ("forecast", {}, "Field required"),
        ("average", {}, "Error executing tool average"),
    ],
)
def test_the_error_of_a_tool_is_proven(station: Station, tool: str, arguments: Json, text: str) -> None:
    failed = station.call(tool, arguments=arguments)
    assert failed.result["isError"] is True
    assert text in failed.result["content"][0]["text"]
    proven(failed, "tools/call", tool)


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("prompts/get", {"name": "pack", "arguments": {}}, "pack"),
        ("resources/read", {"uri": "weather://climate/Atlantis"}, None),
    ],
)
def test_an_error_of_the_protocol_is_proven_and_kept(
    station: Station, method: str, params: Json, target: str | None, tmp_path: Path
) -> None:
    assert station.client.request(method, params).error["message"]
    kept = station.newest()
    assert (kept["method"], kept["target"], kept["outcome"]) == (method, target, "error")
    assert (kept["kind"], kept["assurance"]) == ("executor-attested", "software")
    assert verified(station, kept["id"], tmp_path)["outcome"] == "verified"


def test_a_tool_that_nobody_has_is_not_asked_for(station: Station) -> None:
    before = station.newest()
    assert "no tool 'storm' here" in station.call("storm").error["message"]
    assert station.newest() == before


def test_each_round_of_a_dialogue_is_signed_and_chained(station: Station) -> None:
    asked = station.call("alert", ABLE, arguments={"city": "Bern"})
    assert asked.result["resultType"] == "input_required"
    first = proven(asked, "tools/call", "alert")
    (name, question), *_ = asked.result["inputRequests"].items()
    assert question["params"]["message"] == "Send a storm alert to all of Bern?"
    answer = {"action": "accept", "content": {"agreed": True}}
    done = station.call(
        "alert",
        ABLE,
        arguments={"city": "Bern"},
        inputResponses={name: answer},
        requestState=asked.result["requestState"],
    )
    assert done.result["content"][0]["text"] == "Bern was warned"
    proven(done, "tools/call", "alert", previous=first)


def attester_in(bundle: Path) -> str:
    """The key that vouches for a server which the gateway started: the operator reads it from the bundle's evidence."""
    speaker = Bundle.decode(bundle.read_bytes()).speaker
    assert not isinstance(speaker, bytes)
    return json.loads(Envelope.from_json(json.loads(speaker[0].body)).payload)["attester"]


def verified(station: Station, receipt: str, folder: Path, *, attester: str | None = None) -> Json:
    """What `etmcp-verify`, a process of its own, says of an exported receipt."""
    bundle, trust, policy = (folder / name for name in ("bundle", "trust", "policy"))
    station.etmcp("receipts", "export", receipt, str(bundle))
    key = attester or station.attester or attester_in(bundle)
    trust.write_text(json.dumps({"format": FORMAT, "anchors": {SCHEME: [key]}}))
    policy.write_text('{"kind":"appraisal","version":1,"accept":{"minAssurance":"software"}}')
    command = [ETMCP.removesuffix("etmcp") + "etmcp-verify", str(bundle), "--trust", str(trust), "--policy"]
    done = subprocess.run([*command, str(policy), "--json"], capture_output=True, text=True, check=False, env={})
    verdict = json.loads(done.stdout)
    assert done.returncode == {"verified": 0, "refused": 1, "untrusted": 3}[verdict["outcome"]]
    return verdict


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "forecast", "arguments": {"city": "Bern"}}),
        ("prompts/get", {"name": "pack", "arguments": {"city": "Bern"}}),
        ("resources/read", {"uri": "weather://climate/Bern"}),
    ],
)
def test_an_exported_receipt_verifies_offline(station: Station, method: str, params: Json, tmp_path: Path) -> None:
    receipt = station.client.request(method, params).verification["receiptId"]
    verdict = verified(station, receipt, tmp_path)
    assert (verdict["outcome"], verdict["receiptId"], verdict["method"]) == ("verified", receipt, method)
    assert (verdict["kind"], verdict["assurance"]) == ("executor-attested", "software")
    assert verified(station, receipt, tmp_path, attester=NOT_A_KEY)["outcome"] == "untrusted"


def test_without_its_key_a_remote_server_is_only_observed(remote: Json, tmp_path: Path) -> None:
    config = tmp_path / "etmcp.json"
    config.write_text(json.dumps({"mcpServers": {"weather": {"url": remote["url"]}}}))
    with StdioClient(config, tmp_path / "home", tmp_path / "stderr") as client:
        told = client.request("tools/call", {"name": "forecast", "arguments": {"city": "Bern"}})
    assert (told.verification["verdict"], told.verification["kind"]) == ("observed", "observer-attested")
    assert told.verification["assurance"] == "none"


@pytest.mark.parametrize("era", ["legacy", VERSION])
@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.anyio
async def test_a_client_that_knows_nothing_sees_an_ordinary_server(
    remote: Json, transport: Literal["stdio", "http"], era: str
) -> None:
    async def agree(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"agreed": True})

    server = StdioServerParameters(command=sys.executable, args=[WEATHER]) if transport == "stdio" else remote["url"]
    async with Client(server, mode=era, elicitation_callback=agree) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["forecast", "average", "alert"]
        told = await client.call_tool("forecast", {"city": "Bern"})
        assert told.structured_content == {"city": "Bern", "celsius": 1.5, "rainy_days": 14}
        warned = await client.call_tool("alert", {"city": "Bern"})
        assert warned.content[0].model_dump()["text"] == "Bern was warned"
        read = await client.read_resource("weather://cities")
        got = await client.get_prompt("pack", {"city": "Bern"})
        for result in (told, warned, read, got):
            assert wire.PREFIX not in json.dumps(result.model_dump(mode="json", by_alias=True))


def test_the_inspector_sees_an_ordinary_server() -> None:
    arguments = ("--method", "tools/call", "--tool-name", "forecast", "--tool-arg", "city=Bern")
    done = run_inspector(sys.executable, WEATHER, *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["structuredContent"]["celsius"] == 1.5
    assert wire.PREFIX not in done.stdout
