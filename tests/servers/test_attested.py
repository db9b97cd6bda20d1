"""The executor's half without a gateway: what it admits, what it signs, what it says of itself, in both eras."""

import json
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import mcp_types as types
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

from attest import schemes, wire
from attest.call import CallHeader, open_reply, plain_request, sealed_request
from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.evidence import Endorsements
from attest.policy import AllOf, MinAssurance
from attest.receipt import Exchange, Receipt, VerifiedReceipt, verify_exchange
from attest.schemes.software import SCHEME, SoftwareAttester
from attest.seal import PublicKey, SealingKey
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier
from servers import guard
from servers.attested import Attested, report
from servers.guard import WINDOW_MS, Guard, Refused
from servers.identity import Identity
from tests.support.rawclient import LEGACY, envelope

Json = dict[str, Any]
NOW = 1_800_000_000_000
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}}
ECHO: Json = {"name": "echo", "arguments": {}}
TOOLS = [
    types.Tool(name="echo", description="Says it again.", input_schema=SCHEMA, output_schema={"type": "object"}),
    types.Tool(name="odd", title="Odd", description="Answers with what is not JSON.", input_schema=SCHEMA),
]
ODD: dict[str, Any] = {"nan": float("nan"), "infinite": float("inf"), "surrogate": "\ud800"}


async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """One tool a page, so that a definition may be on the second."""
    page = int(params.cursor) if params is not None and params.cursor else 0
    more = str(page + 1) if page + 1 < len(TOOLS) else None
    return types.ListToolsResult(tools=[TOOLS[page]], next_cursor=more, ttl_ms=0, cache_scope="private")


async def call_tool(_: Any, params: types.CallToolRequestParams) -> Any:
    given = params.arguments or {}
    match params.name, given.get("how"):
        case "echo", _:
            return {"content": [{"type": "text", "text": json.dumps(given)}], "resultType": "complete"}
        case "odd", "raise":
            raise MCPError(-32000, "failed with \ud800", {"nan": float("nan")})
        case "odd", "report":
            report(environment={"nan": float("nan")}, usage={})
            return {"content": []}
        case "odd", how:
            return {"content": [], "structuredContent": {"value": ODD[str(how)]}, "resultType": "complete"}
        case _:
            raise MCPError(types.INVALID_PARAMS, f"no tool {params.name}", {"asked": params.name})


@dataclass
class Executor:
    """A server under a clock that the test sets, and a client that appraised it. One stream of calls."""

    server: Server[Any]
    identity: Identity
    attester: str
    now: list[int]
    ledger: SequenceLedger = field(default_factory=SequenceLedger)
    stream: str = field(default_factory=lambda: secrets.token_hex(16))

    def header(self, method: str, **changed: Any) -> CallHeader:
        header = CallHeader(
            method, self.identity.current(self.now[0]).key_id, secrets.token_hex(32), self.stream, self.now[0]
        )
        return replace(header, **changed)


@dataclass
class Peer:
    """The wire to the server, raw, in one era."""

    inward: MemoryObjectSendStream[SessionMessage | Exception]
    outward: MemoryObjectReceiveStream[SessionMessage]
    legacy: bool
    number: int = 0

    async def ask(self, method: str, params: Json | None = None) -> Json:
        self.number += 1
        given = dict(params or {})
        if not self.legacy:
            given["_meta"] = envelope() | given.get("_meta", {})
        request = types.JSONRPCRequest(jsonrpc="2.0", id=self.number, method=method, params=given)
        await self.inward.send(SessionMessage(request))
        with anyio.fail_after(20):
            reply = (await self.outward.receive()).message.model_dump(by_alias=True, exclude_unset=True)
        assert reply.pop("id") == self.number
        return reply

    async def result(self, method: str, params: Json | None = None) -> Json:
        reply = await self.ask(method, params)
        assert "result" in reply, reply
        return reply["result"]


@asynccontextmanager
async def connected(executor: Executor, *, legacy: bool) -> AsyncGenerator[Peer]:
    server = executor.server
    inward, reader = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    outward, written = anyio.create_memory_object_stream[SessionMessage](1)
    async with anyio.create_task_group() as tasks, inward, reader, outward, written:
        tasks.start_soon(server.run, reader, outward, server.create_initialization_options())
        peer = Peer(inward, written, legacy)
        if legacy:
            said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            await peer.result("initialize", said)
            await inward.send(
                SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized"))
            )
        yield peer
        tasks.cancel_scope.cancel()


def built(*, require_sealed: bool = False) -> Executor:
    now = [NOW]
    clock: Callable[[], int] = lambda: now[0]  # noqa: E731
    attester = SoftwareAttester(Ed25519PrivateKey.generate(), clock)
    identity = Identity(attester, bytes(32), bytes(16))
    server: Server[Any] = Server("small", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    told = {"name": "small", "version": "1"}
    attested = Attested(identity, server=told, policy_digest="00" * 32, clock=clock, require_sealed=require_sealed)
    server.middleware.append(attested)
    return Executor(server, identity, attester.public_key.hex(), now)


@pytest.fixture
def executor() -> Executor:
    return built()


@pytest.fixture(params=["legacy", "modern"])
async def peer(request: pytest.FixtureRequest, executor: Executor, anyio_backend: str) -> AsyncGenerator[Peer]:
    async with connected(executor, legacy=request.param == "legacy") as peer:
        yield peer


async def appraised(executor: Executor, peer: Peer) -> AttestationResult:
    nonce = secrets.token_bytes(32)
    read = await peer.result("resources/read", {"uri": wire.EVIDENCE_URI + nonce.hex()})
    evidence, binding = wire.load_evidence(read["contents"][0]["text"])
    anchors = Endorsements({SCHEME: frozenset({executor.attester})})
    verifier = Verifier(schemes=schemes.ALL, endorsements=anchors, policy=AllOf([MinAssurance("software")]))
    return verifier.appraise(evidence, binding, nonce=nonce, now=executor.now[0], maximum_age_ms=60_000)


async def called(
    executor: Executor, peer: Peer, method: str, params: Json, *, sealed: bool = False, **changed: Any
) -> tuple[Json, VerifiedReceipt]:
    """One call and its receipt, verified as a gateway does: `definition` is that of the listing in this era."""
    appraisal = await appraised(executor, peer)
    definition = changed.pop("definition", None)
    header, salt = executor.header(method, **changed), secrets.token_bytes(32)
    executor.ledger.begin()
    if sealed:
        key = SealingKey()
        request = sealed_request(header, params, salt, PublicKey(appraisal.binding.sealing_key), key)
        reply = open_reply(header, await peer.result(method, request), key)
    else:
        reply = await peer.ask(method, plain_request(header, params, salt))
    if "error" in reply:
        body, receipt = wire.error_without_receipt(reply["error"])
        preimage, outcome = canonical(body), "error"
    else:
        body, receipt = wire.without_ours(reply["result"]), wire.meta_of(reply["result"], wire.RECEIPT)
        preimage, outcome = canonical(body), wire.outcome_of(body)
    exchange = Exchange(
        server_name="small",
        method=method,
        target=wire.target_of(method, params),
        definition=definition,
        nonce=header.nonce,
        client_nonce=header.client_nonce,
        stream=header.stream,
        previous=header.previous,
        params=wire.covered_params(params),
        params_salt=salt,
        result=preimage,
        outcome=outcome,
        sent_at=header.issued_at,
    )
    now = executor.now[0]
    return body, verify_exchange(Receipt.from_json(receipt), exchange, appraisal, executor.ledger, now)


async def listed(peer: Peer) -> dict[str, str]:
    """The digest of each definition as this era lists it."""
    digests: dict[str, str] = {}
    params: Json = {}
    while True:
        page = await peer.result("tools/list", params)
        digests |= {tool["name"]: sha256_hex(canonical(tool)) for tool in page["tools"]}
        if "nextCursor" not in page:
            return digests
        params = {"cursor": page["nextCursor"]}


@pytest.mark.anyio
async def test_the_extension_is_advertised_beside_what_the_server_says(executor: Executor) -> None:
    said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    async with connected(executor, legacy=True) as peer:
        legacy = (await peer.result("initialize", said))["capabilities"]
    async with connected(executor, legacy=False) as peer:
        modern = (await peer.result("server/discover"))["capabilities"]
        templates = (await peer.result("resources/templates/list"))["resourceTemplates"]
        assert (await peer.result("resources/list"))["resources"] == []  # it has none, and does not fail for it
    for capabilities in (legacy, modern):
        settings = capabilities["extensions"][wire.EXTENSION]
        assert settings == {"version": 1, "evidence": wire.EVIDENCE_TEMPLATE, "sealedRequired": False}
        assert {"tools", "resources"} <= set(capabilities)
    assert wire.EVIDENCE_TEMPLATE in {template["uriTemplate"] for template in templates}


@pytest.mark.parametrize("nonce", ["", "00", "zz" * 32, "AB" * 32, "00" * 33, "00" * 32 + "/..", "{nonce}"])
@pytest.mark.anyio
async def test_evidence_for_what_is_no_nonce_is_refused(peer: Peer, nonce: str) -> None:
    error = (await peer.ask("resources/read", {"uri": wire.EVIDENCE_URI + nonce}))["error"]
    assert error["code"] == types.INVALID_REQUEST
    assert error["message"].startswith(wire.EVIDENCE_TEMPLATE)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.anyio
async def test_the_receipt_names_the_definition_that_this_era_lists(
    executor: Executor, peer: Peer, sealed: bool
) -> None:
    digests = await listed(peer)
    assert set(digests) == {"echo", "odd"}
    for name, params in (("echo", {"n": 1}), ("odd", {"how": "raise"})):
        asked = {"name": name, "arguments": params}
        await called(executor, peer, "tools/call", asked, sealed=sealed, definition=digests[name])


@pytest.mark.anyio
async def test_a_definition_that_nobody_has_listed_yet_is_looked_up(executor: Executor, peer: Peer) -> None:
    async with connected(built(), legacy=peer.legacy) as elsewhere:
        digests = await listed(elsewhere)
    for name in reversed(digests):
        await called(executor, peer, "tools/call", {"name": name}, definition=digests[name])


@pytest.mark.parametrize(
    ("how", "said"), [("surrogate", "not JSON"), ("raise", "not JSON"), ("report", "Internal server error")]
)
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.anyio
async def test_what_is_not_json_becomes_a_signed_error(
    executor: Executor, peer: Peer, how: str, said: str, sealed: bool
) -> None:
    definition = (await listed(peer))["odd"]
    asked = {"name": "odd", "arguments": {"how": how}}
    body, verified = await called(executor, peer, "tools/call", asked, sealed=sealed, definition=definition)
    assert verified.statement.outcome == "error"
    assert body["code"] == types.INTERNAL_ERROR
    assert said in body["message"]


@pytest.mark.parametrize("how", ["nan", "infinite"])
@pytest.mark.anyio
async def test_a_number_that_the_sdk_writes_as_null_is_signed_as_it_is_written(
    executor: Executor, peer: Peer, how: str
) -> None:
    definition = (await listed(peer))["odd"]
    asked = {"name": "odd", "arguments": {"how": how}}
    body, _ = await called(executor, peer, "tools/call", asked, definition=definition)
    assert body["structuredContent"] == {"value": None}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.anyio
async def test_an_unknown_tool_is_a_signed_error_that_keeps_its_data(
    executor: Executor, peer: Peer, sealed: bool
) -> None:
    body, verified = await called(executor, peer, "tools/call", {"name": "none"}, sealed=sealed)
    assert (body["code"], body["message"]) == (types.INVALID_PARAMS, "no tool none")
    assert body["data"] == {"asked": "none"}
    assert (verified.statement.target, verified.statement.definition) == ("none", None)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.anyio
async def test_a_result_of_many_megabytes_is_signed_whole(executor: Executor, peer: Peer, sealed: bool) -> None:
    definition, text = (await listed(peer))["echo"], "ü\u2028" * 1_500_000
    asked = {"name": "echo", "arguments": {"text": text}}
    body, _ = await called(executor, peer, "tools/call", asked, sealed=sealed, definition=definition)
    assert json.loads(body["content"][0]["text"]) == {"text": text}


@pytest.mark.anyio
async def test_receipts_of_a_stream_are_numbered_and_carry_what_the_caller_gave(executor: Executor, peer: Peer) -> None:
    definition = (await listed(peer))["echo"]
    numbers: list[int] = []
    for _ in range(3):
        given: Json = {"client_nonce": "mine", "previous": "ab" * 32, "definition": definition}
        _, verified = await called(executor, peer, "tools/call", ECHO, **given)
        numbers.append(verified.statement.sequence)
    executor.stream, executor.ledger = secrets.token_hex(16), SequenceLedger()
    _, other = await called(executor, peer, "tools/call", ECHO, definition=definition)
    assert (numbers, other.statement.sequence) == ([1, 2, 3], 1)


async def refused(executor: Executor, peer: Peer, header: CallHeader, **params: Any) -> str:
    request = plain_request(header, {"name": "echo", "arguments": {}, **params}, bytes(32))
    return (await peer.ask("tools/call", request))["error"]["data"][wire.REFUSAL]


@pytest.mark.anyio
async def test_a_call_that_is_not_for_here_and_now_is_refused_by_name(executor: Executor, peer: Peer) -> None:
    make = executor.header
    assert await refused(executor, peer, make("tools/call", key_id="00" * 32)) == "unknown-key"
    assert await refused(executor, peer, make("tools/call", issued_at=NOW - WINDOW_MS - 1)) == "stale"
    assert await refused(executor, peer, make("tools/call", issued_at=NOW + WINDOW_MS + 1)) == "stale"
    assert await refused(executor, peer, make("tools/call", nonce="short")) == "malformed"
    assert await refused(executor, peer, make("tools/call"), arguments={"x": float("nan")}) == "malformed"
    nonce = secrets.token_hex(32)
    await called(executor, peer, "tools/call", ECHO, nonce=nonce, definition=(await listed(peer))["echo"])
    assert await refused(executor, peer, make("tools/call", nonce=nonce)) == "replayed"


@pytest.mark.anyio
async def test_a_sealed_call_under_another_header_does_not_open(executor: Executor, peer: Peer) -> None:
    header = executor.header("tools/call")
    public = PublicKey(executor.identity.current(NOW).sealing.public)
    request = sealed_request(header, {"name": "echo"}, bytes(32), public, SealingKey())
    request["_meta"][wire.CALL]["clientNonce"] = "another's"
    assert (await peer.ask("tools/call", request))["error"]["data"][wire.REFUSAL] == "seal"


@pytest.mark.anyio
async def test_a_server_that_requires_sealing_takes_nothing_else() -> None:
    executor = built(require_sealed=True)
    async with connected(executor, legacy=False) as peer:
        assert await refused(executor, peer, executor.header("tools/call")) == "unsealed"
        plain = await peer.ask("tools/call", ECHO)
        assert plain["error"]["data"][wire.REFUSAL] == "unsealed"
        definition = (await listed(peer))["echo"]
        await called(executor, peer, "tools/call", ECHO, sealed=True, definition=definition)


def admitted(watch: Guard, nonce: str, issued_at: int, now: int) -> str:
    try:
        watch.admit(CallHeader("tools/call", "00" * 32, nonce, "00" * 16, issued_at), now)
    except Refused as e:
        return e.code
    return "admitted"


def test_a_nonce_is_remembered_as_long_as_its_call_could_come_again() -> None:
    watch = Guard()
    latest = NOW + WINDOW_MS  # dated in the future as far as is allowed: it stays fresh for two windows
    assert admitted(watch, "a", latest, NOW) == "admitted"
    for later in (0, 1, WINDOW_MS, 2 * WINDOW_MS):
        assert admitted(watch, "a", latest, NOW + later) == "replayed"
    assert admitted(watch, "a", latest, NOW + 2 * WINDOW_MS + 1) == "stale"
    assert admitted(watch, "a", NOW + 3 * WINDOW_MS, NOW + 3 * WINDOW_MS) == "admitted"


@pytest.mark.parametrize(("off", "said"), [(0, "admitted"), (WINDOW_MS, "admitted"), (WINDOW_MS + 1, "stale")])
def test_a_call_is_stale_on_either_side_of_the_window(off: int, said: str) -> None:
    assert admitted(Guard(), "a", NOW - off, NOW) == said
    assert admitted(Guard(), "a", NOW + off, NOW) == said


def test_a_full_memory_refuses_new_calls_until_old_ones_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_CALLS", 2)
    watch = Guard()
    assert [admitted(watch, nonce, NOW, NOW) for nonce in "abc"] == ["admitted", "admitted", "busy"]
    assert admitted(watch, "a", NOW, NOW) == "replayed"
    later = NOW + 2 * WINDOW_MS + 2
    assert admitted(watch, "c", later, later) == "admitted"


def test_streams_are_numbered_apart_and_the_idle_one_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_STREAMS", 2)
    watch = Guard()
    assert [watch.next_number("key", stream) for stream in "aabaa"] == [1, 2, 1, 3, 4]
    assert watch.next_number("another", "a") == 1  # and b, the least recently used, goes
    assert [watch.next_number("key", "a"), watch.next_number("key", "b")] == [5, 1]
