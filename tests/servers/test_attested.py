"""The executor's half without a gateway: what it admits, what it signs, what it says of itself, in both eras."""

import json
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import mcp_types as types
import pytest

from attest import wire
from attest.call import CallHeader, plain_request, sealed_request
from attest.seal import PublicKey, SealingKey
from attest.sequence import SequenceLedger
from servers import guard
from servers.guard import WINDOW_MS, Guard, Refused
from tests.servers.executor import ECHO, NOW, Executor, Json, Peer, built, called, connected, listed
from tests.support.rawclient import LEGACY


@pytest.fixture
def executor() -> Executor:
    return built()


@pytest.fixture(params=["legacy", "modern"])
async def peer(request: pytest.FixtureRequest, executor: Executor, anyio_backend: str) -> AsyncGenerator[Peer]:
    async with connected(executor, legacy=request.param == "legacy") as peer:
        yield peer


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
