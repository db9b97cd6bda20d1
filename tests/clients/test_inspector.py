"""The official Inspector, unchanged, works through the gateway and on our server, on every transport, in both eras."""

import hashlib
import json
import re
import secrets
from typing import Any

import pytest

from attest import wire
from attest.canonical import canonical
from attest.encoding import salted
from attest.receipt import Receipt
from attest.statement import PAYLOAD_TYPE, Statement
from gateway.config import SOFTWARE
from servers.tee.library.library import Library
from tests.clients.conftest import TEE, World, entry, written
from tests.support.peers import peer_command, run_inspector
from tests.support.rawclient import ETMCP

Json = dict[str, Any]
ROADS = [
    ("stdio", "legacy"),
    ("stdio", "modern"),
    ("http", "legacy"),
    ("http", "modern"),
    ("sse", "legacy"),  # the modern era has no HTTP+SSE
]
CODE = """import hashlib
def main(word, rounds):
    for _ in range(rounds):
        word = hashlib.sha256(word.encode()).hexdigest()
    return word"""
CSV = "name,age\nanna,31\nbob,\ncarl,44\n"
CALLED = {
    "time": ("convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "T21:00:00"),
    "git": ("git_log", {"repo_path": "{repository}"}, "the first words"),
    "everything": ("get-sum", {"a": 2.5, "b": 40}, "42.5"),
    "files": ("read_text_file", {"path": "{files}/note.txt"}, "kept in a file"),
}


def road(world: World, whom: str, transport: str, era: str) -> list[str]:
    """The Inspector's arguments that lead to the gateway or straight to our server."""
    if transport == "stdio":
        gateway = [ETMCP, "--config", str(world.config), "--home", str(world.home), "stdio"]
        command = gateway if whom == "gateway" else [TEE, "--cache", str(world.cache), "stdio", *SOFTWARE]
        where = ["--config", str(written(world.folder / f"{whom}.json", {"it": entry(command)})), "--server", "it"]
    else:
        port = world.port if whom == "gateway" else world.tee_port
        where = [f"http://127.0.0.1:{port}/{'mcp' if transport == 'http' else 'sse'}", "--transport", transport]
    return [*where, "--protocol-era", era]


def asked(where: list[str], method: str, *arguments: str) -> Json:
    done = run_inspector(*where, "--method", method, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["result"]


def called(where: list[str], tool: str, arguments: Json) -> Json:
    return asked(where, "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))


def without_meta(result: Json) -> Json:
    return {name: value for name, value in result.items() if name != "_meta"}


def receipt_of(result: Json) -> tuple[Json, Receipt, Statement]:
    """Our verdict, the receipt, and what it says, after checking that it covers what the client holds."""
    meta = result["_meta"]
    receipt = Receipt.from_json(meta[wire.RECEIPT])
    said = Statement.decode(receipt.envelope.payload)
    assert meta[wire.VERIFICATION]["receiptId"] == receipt.receipt_id
    bare = wire.without_ours(result)
    # The Inspector keeps `resultType` to itself; what the modern era requires is added to a legacy server's result.
    complete = {"resultType": "complete", **bare}
    uncached = {name: value for name, value in bare.items() if name not in ("ttlMs", "cacheScope")}
    held = [salted(receipt.result_salt, canonical(value)) for value in (bare, complete, uncached)]
    assert said.result_digest in held
    return meta[wire.VERIFICATION], receipt, said


@pytest.mark.parametrize(("transport", "era"), ROADS)
@pytest.mark.parametrize("whom", ["gateway", "server"])
def test_the_inspector_lists_computes_and_describes(world: World, whom: str, transport: str, era: str) -> None:
    where = road(world, whom, transport, era)
    assert {tool["name"] for tool in asked(where, "tools/list")["tools"]} >= {"run_python", "describe_data"}
    word = expected = secrets.token_hex(4)
    for _ in range(3):
        expected = hashlib.sha256(expected.encode()).hexdigest()
    computed = called(where, "run_python", {"code": CODE, "arguments": {"word": word, "rounds": 3}})
    assert computed["structuredContent"] == {"status": "ok", "value": expected}
    described = called(where, "describe_data", {"data": CSV})
    assert described["structuredContent"]["value"]["rows"] == 3
    assert described["structuredContent"]["value"]["columns"][1]["mean"] == 37.5
    if whom == "server":
        assert not [name for name in computed.get("_meta", {}) if name.startswith(wire.PREFIX)]
        return
    for tool, result in (("run_python", computed), ("describe_data", described)):
        verdict, _, said = receipt_of(result)
        assert (verdict["verdict"], verdict["kind"]) == ("verified", "executor-attested")
        assert (verdict["assurance"], verdict["server"]) == ("software", "tee")
        assert (said.method, said.target, said.environment["tier"]) == ("tools/call", tool, "wasm")


def test_the_schemas_of_our_tools_are_portable() -> None:
    listed = run_inspector(TEE, "stdio", *SOFTWARE, "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stderr


def test_the_client_can_check_the_executors_signature_itself(world: World) -> None:
    where = road(world, "gateway", "http", "modern")
    nonce = secrets.token_hex(32)
    read = asked(where, "resources/read", "--uri", f"{wire.EVIDENCE_URI}tee/{nonce}")
    _, binding = wire.load_evidence(read["contents"][0]["text"])
    assert binding.nonce.hex() == nonce
    _, receipt, _ = receipt_of(called(where, "run_python", {"code": "6 * 7"}))
    receipt.envelope.open(PAYLOAD_TYPE, binding.signing_key, binding.key_id)


def test_tools_of_four_servers_of_others_are_listed_beside_ours(world: World) -> None:
    names = [tool["name"] for tool in asked(road(world, "gateway", "http", "legacy"), "tools/list")["tools"]]
    direct = [
        peer_command("time", "--local-timezone", "UTC"),
        peer_command("git", "--repository", str(world.repository)),
        peer_command("everything"),
        peer_command("filesystem", str(world.files)),
    ]
    theirs = [tool["name"] for command in direct for tool in asked(command, "tools/list")["tools"]]
    # Confined by the gateway's Landlock rule ours cannot mount anything, and so offers no function of its process tier.
    ours = [name for name, entry in Library(None, {"wasm": None}).entries.items() if entry.function.tier == "wasm"]
    # server-everything offers that one only to a client with roots, which the gateway does not claim to be.
    assert sorted(names) == sorted({*theirs, *ours} - {"get-roots-list"})
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)


@pytest.mark.parametrize("server", list(CALLED))
def test_a_tool_of_another_is_called_and_its_result_observed(world: World, server: str) -> None:
    tool, arguments, expected = CALLED[server]
    place = {"repository": world.repository, "files": world.files}
    filled = {name: text.format(**place) if isinstance(text, str) else text for name, text in arguments.items()}
    result = called(road(world, "gateway", "http", "modern"), tool, filled)
    assert expected in result["content"][0]["text"]
    verdict, _, said = receipt_of(result)
    assert (verdict["verdict"], verdict["kind"]) == ("observed", "observer-attested")
    assert (verdict["assurance"], verdict["server"]) == ("none", server)
    assert said.target == tool
    assert said.launch is not None


@pytest.mark.parametrize(
    ("tool", "arguments", "kind"),
    [
        ("get-tiny-image", {}, "image"),
        ("get-resource-reference", {"resourceType": "Text", "resourceId": 2}, "resource"),
        ("get-structured-content", {"location": "Chicago"}, "text"),
    ],
)
def test_a_rich_result_arrives_as_it_left_the_server(world: World, tool: str, arguments: Json, kind: str) -> None:
    through = called(road(world, "gateway", "http", "legacy"), tool, arguments)
    direct = called(peer_command("everything"), tool, arguments)
    receipt_of(through)
    assert kind in {item["type"] for item in through["content"]}
    assert timeless(without_meta(through)) == timeless(without_meta(direct))


def timeless(result: Json) -> Json:
    """A dynamic resource says when it was made."""
    return json.loads(re.sub(r"created at [0-9:]+ [AP]M", "created", json.dumps(result).replace("\u202f", " ")))


def test_a_blob_arrives_as_it_left_the_server(world: World) -> None:
    uri = "demo://resource/dynamic/blob/7"
    read = asked(road(world, "gateway", "http", "modern"), "resources/read", "--uri", uri)
    verdict, _, said = receipt_of(read)
    assert verdict["kind"] == "observer-attested"
    assert said.method == "resources/read"
    assert read["contents"][0]["uri"] == uri
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", read["contents"][0]["blob"])


@pytest.mark.parametrize(("transport", "era"), [("http", "modern"), ("sse", "legacy")])
def test_resources_and_prompts_of_another_pass(world: World, transport: str, era: str) -> None:
    where = road(world, "gateway", transport, era)
    resources = asked(where, "resources/list")["resources"]
    assert len(resources) >= 5
    read = asked(where, "resources/read", "--uri", resources[0]["uri"])
    direct = asked(peer_command("everything"), "resources/read", "--uri", resources[0]["uri"])
    receipt_of(read)
    assert read["contents"] == direct["contents"]
    templates = {item["uriTemplate"] for item in asked(where, "resources/templates/list")["resourceTemplates"]}
    assert templates >= {"demo://resource/dynamic/text/{resourceId}", f"{wire.EVIDENCE_URI}tee/{{nonce}}"}
    prompts = {prompt["name"] for prompt in asked(where, "prompts/list")["prompts"]}
    assert "args-prompt" in prompts
    got = asked(where, "prompts/get", "--prompt-name", "args-prompt", "--prompt-args", "city=Bern")
    _, _, said = receipt_of(got)
    assert (said.method, said.target, said.kind) == ("prompts/get", "args-prompt", "observer-attested")
    assert "Bern" in got["messages"][0]["content"]["text"]
