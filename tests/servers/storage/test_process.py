"""The program itself over stdio and HTTP, its receipts, and what it is behind a gateway."""

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client
from mcp.client.sse import sse_client
from mcp_types import (
    EmptyResult,
    SubscribeRequest,
    SubscribeRequestParams,
    SubscriptionsListenRequest,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from attest import wire
from attest.call import CallHeader, open_reply, sealed_request
from attest.canonical import canonical
from attest.claims import Endorsements
from attest.encoding import sha256_hex
from attest.identity import META, Request, sign_assertion
from attest.policy import MinAssurance
from attest.receipt import Exchange, Receipt, VerifiedReceipt, verify_exchange
from attest.schemes.software import SoftwareScheme
from attest.seal import PublicKey, SealingKey
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier
from gateway.config import SOFTWARE
from servers.storage.__main__ import main
from servers.storage.server import NAME
from tests.servers.storage.test_surface import Ear
from tests.support.rawclient import ETMCP, Era, Json, StdioClient, envelope, wait_for

GATEWAY = Ed25519PrivateKey.generate()
COMMAND = [sys.executable, "-m", "servers.storage"]
ROOT = Path(__file__).parents[3]


def clock() -> int:
    return time.time_ns() // 1_000_000


def assertion(user: str, method: str, params: Json) -> Json:
    request, nonce = Request(method, params), secrets.token_hex(16)
    return {META: sign_assertion(GATEWAY, user, NAME, request, now=clock(), nonce=nonce)}


class Wire:
    """Speaks JSON lines to the process, in the modern era."""

    def __init__(self, process: "subprocess.Popen[bytes]", attester: Ed25519PrivateKey) -> None:
        self._process, self._number = process, 0
        self._anchor = attester.public_key().public_bytes_raw().hex()
        self._ledger, self._stream = SequenceLedger(), secrets.token_hex(16)

    def request(self, method: str, params: Json) -> Json:
        """The response, a result or an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._number += 1
        sent = {**params, "_meta": {**envelope(), **params.get("_meta", {})}}
        line = json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": sent})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        while (told := json.loads(self._process.stdout.readline())).get("id") != self._number:
            pass
        return told

    def appraise(self) -> AttestationResult:
        """Evidence under the attester that we know."""
        nonce = secrets.token_bytes(32)
        read = self.request("resources/read", {"uri": wire.EVIDENCE_URI + nonce.hex()})["result"]
        evidence, binding = wire.load_evidence(read["contents"][0]["text"])
        trusted = Endorsements({"software": frozenset({self._anchor})})
        verifier = Verifier(schemes=[SoftwareScheme()], endorsements=trusted, policy=MinAssurance("software"))
        return verifier.appraise(evidence, binding, nonce=nonce, now=clock(), maximum_age_ms=60_000)

    def sealed(
        self, held: AttestationResult, method: str, params: Json, definition: str | None, user: str | None
    ) -> tuple[Json, VerifiedReceipt]:
        """The answer to a sealed call, and its receipt, verified."""
        said = assertion(user, method, params) if user else {}
        nonce, salt, reply = secrets.token_hex(32), secrets.token_bytes(32), SealingKey()
        header = CallHeader(method, held.key_id, nonce, self._stream, clock())
        carried = {**params, "_meta": {**envelope(), **said}}
        self._ledger.begin()
        answer = self.request(method, sealed_request(header, carried, salt, PublicKey(held.binding.sealing_key), reply))
        opened = open_reply(header, answer["result"], reply)
        if "error" in opened:
            body, receipt = wire.error_without_receipt(opened["error"])
            preimage, outcome = canonical(body), "error"
        else:
            body, receipt = wire.without_ours(opened["result"]), wire.meta_of(opened["result"], wire.RECEIPT)
            preimage, outcome = canonical(body), "result"
        target = wire.target_of(method, params)
        exchange = Exchange(
            NAME,
            method,
            target,
            definition,
            nonce,
            None,
            self._stream,
            None,
            wire.covered_params(params),
            salt,
            preimage,
            outcome,
            header.issued_at,
        )
        return body, verify_exchange(Receipt.from_json(receipt), exchange, held, self._ledger, clock())


@contextmanager
def running(folder: Path) -> Generator[Wire]:
    """`etmcp-storage stdio` under an attester that the test knows."""
    attester = Ed25519PrivateKey.generate()
    (folder / "attester").write_text(attester.private_bytes_raw().hex())
    who = ["--gateway", GATEWAY.public_key().public_bytes_raw().hex()]
    command = [
        *COMMAND,
        "stdio",
        "--attester",
        "software",
        *who,
        "--data",
        str(folder / "data"),
        "--key-file",
        str(folder / "attester"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Wire(process, attester)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def test_receipts_of_sealed_calls_verify_whoever_the_caller_is(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        tools = server.request("tools/list", {})["result"]["tools"]
        definitions = {tool["name"]: sha256_hex(canonical(tool)) for tool in tools}
        held = server.appraise()
        put: Json = {"name": "storage_put", "arguments": {"path": "a", "text": "sealed"}}
        body, receipt = server.sealed(held, "tools/call", put, definitions["storage_put"], "alice")
        assert body["structuredContent"]["created"] is True
        assert set(receipt.statement.environment["identity"]) == {"assertion"}
        body, _ = server.sealed(held, "resources/read", {"uri": "etmcp://alice/a"}, None, "alice")
        assert body["contents"][0]["text"] == "sealed"
        body, receipt = server.sealed(held, "resources/read", {"uri": "etmcp://alice/a"}, None, "bob")
        assert body["message"] == "etmcp://alice/a: there is no such object or version"
        assert receipt.statement.outcome == "error"
        body, receipt = server.sealed(held, "tools/call", put, definitions["storage_put"], None)
        assert (body["data"], receipt.statement.outcome) == ({META: "missing"}, "error")
        body, _ = server.sealed(held, "resources/list", {}, None, "alice")
        assert [entry["uri"] for entry in body["resources"]] == ["etmcp://alice/a"]
        refused = server.request("tools/call", put)["error"]
        assert refused["data"] == {META: "missing"}
    with running(tmp_path) as server:  # it is there after a restart
        get: Json = {"name": "storage_get", "arguments": {"path": "a"}}
        got = server.request("tools/call", {**get, "_meta": assertion("alice", "tools/call", get)})
        assert got["result"]["structuredContent"]["text"] == "sealed"


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_behind_a_gateway_every_result_is_executor_attested(tmp_path: Path, era: Era) -> None:
    (tmp_path / "data").mkdir()
    program, *arguments = [
        *COMMAND,
        "stdio",
        "--attester",
        "software",
        "--single-user",
        "alice",
        "--data",
        str(tmp_path / "data" / "storage"),
    ]
    server = {
        "command": program,
        "args": arguments,
        "env": {"PYTHONPATH": str(ROOT)},
        "etmcp": {"require": "executor-attested"},
    }
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mcpServers": {"storage": server}}))
    with StdioClient(config, tmp_path / "home", tmp_path / "stderr", era) as client:
        names = [tool["name"] for tool in client.request("tools/list").result["tools"]]
        by_end = {name: full for full in names for name in ("storage_put", "storage_get") if full.endswith(name)}
        put = {"name": by_end["storage_put"], "arguments": {"path": "a", "text": "x", "if_version": 0}}
        get = {"name": by_end["storage_get"], "arguments": {"path": "a"}}
        replies = [client.request("tools/call", params) for params in (put, get)]
        assert [reply.result["isError"] for reply in replies] == [False, False]
        assert replies[1].result["structuredContent"]["text"] == "x"
        (resource,) = client.request("resources/list").result["resources"]
        replies.append(client.request("resources/read", {"uri": resource["uri"]}))
        assert [reply.verification["kind"] for reply in replies] == ["executor-attested"] * 3
        assert {reply.verification["assurance"] for reply in replies} == {"software"}
    kept = subprocess.run(
        [ETMCP, "--config", str(config), "--home", str(tmp_path / "home"), "receipts", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert kept.stdout.count("executor-attested") >= 3


@pytest.fixture
def port(tmp_path: Path) -> Generator[int]:
    """`etmcp-storage http`, listening."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    who = ["--gateway", GATEWAY.public_key().public_bytes_raw().hex()]
    command = [*COMMAND, "http", *SOFTWARE, *who, "--port", str(port), "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield port
        finally:
            process.terminate()


@pytest.mark.anyio
async def test_over_http_in_both_eras(port: int) -> None:
    for mode in ("auto", "legacy"):
        async with Client(f"http://127.0.0.1:{port}/mcp", mode=mode) as client:
            put: Json = {"name": "storage_put", "arguments": {"path": mode, "text": mode}}
            meta: Any = assertion("alice", "tools/call", put)
            result = await client.call_tool(put["name"], put["arguments"], meta=meta)
            assert not result.is_error
            meta = assertion("alice", "resources/list", {})
            assert mode in [r.name for r in (await client.list_resources(meta=meta)).resources]
    async with Client(sse_client(f"http://127.0.0.1:{port}/sse"), mode="legacy") as client:
        get: Json = {"name": "storage_get", "arguments": {"path": "legacy"}}
        meta = assertion("alice", "tools/call", get)
        got = await client.call_tool(get["name"], get["arguments"], meta=meta)
        assert (got.structured_content or {})["text"] == "legacy"


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "mode"), [("mcp", "auto"), ("mcp", "legacy"), ("sse", "legacy")])
async def test_changes_are_told_over_every_road(port: int, path: str, mode: Literal["auto", "legacy"]) -> None:
    url = f"http://127.0.0.1:{port}/{path}"
    with Ear() as ear:
        place: Any = sse_client(url) if path == "sse" else url
        async with Client(place, mode=mode, message_handler=ear) as client, anyio.create_task_group() as tasks:
            if mode == "auto":
                said: Json = {"notifications": {"resourceSubscriptions": ["etmcp://alice/a"]}}
                meta = assertion("alice", "subscriptions/listen", said)
                listens = SubscriptionsListenRequestParams.model_validate({**said, "_meta": meta})
                listen = SubscriptionsListenRequest(params=listens)
                tasks.start_soon(client.session.send_request, listen, SubscriptionsListenResult)
                await ear.hears("acknowledged")
            else:
                said = {"uri": "etmcp://alice/a"}
                meta = assertion("alice", "resources/subscribe", said)
                wants = SubscribeRequestParams.model_validate({**said, "_meta": meta})
                await client.session.send_request(SubscribeRequest(params=wants), EmptyResult)
            put: Json = {"name": "storage_put", "arguments": {"path": "a", "text": "x"}}
            with anyio.fail_after(20):
                while not ear.waiting:  # a legacy client over HTTP hears only once its stream is open
                    meta: Any = assertion("alice", "tools/call", put)
                    assert not (await client.call_tool(put["name"], put["arguments"], meta=meta)).is_error
            await ear.hears_of("etmcp://alice/a")
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http", "--single-user", "alice"], "needs stdio"),
        (["stdio"], "required"),
        (["stdio", "--single-user", "alice", "--gateway", "00" * 32], "not allowed with"),
        (["stdio", "--gateway", "00"], "invalid"),
        (["stdio", "--single-user", ".."], "printable"),
    ],
)
def test_who_is_believed_must_be_said(
    arguments: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--data", str(tmp_path / "data")])
    assert ended.value.code == 2
    assert said in capfd.readouterr().err
    assert not (tmp_path / "data").exists()
