"""Who may continue what, who hears what, and what is left of a client that goes away in the middle."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attest import wire
from attest.bundle import Bundle
from attest.receipt import Receipt
from attest.statement import Statement
from attest.trust import FORMAT
from gateway.cli.receipts import OBSERVER
from tests.bridge.client import Client
from tests.bridge.scene import ERAS, WAYS, Gateway, Upstream, Way, answered, cell, eventually, gateway, serving
from tests.bridge.test_questions import ABLE, ANSWERS, QUESTIONS
from tests.support.rawclient import ETMCP, Era

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
ROOTS: Json = {"q": QUESTIONS["places"]}
PARAMS: Json = {"name": "ask", "arguments": {"questions": ROOTS}}
WEATHER = str(Path(__file__).parents[2] / "examples" / "weather" / "server.py")


def given(interim: Json) -> Json:
    """What the next round adds."""
    answers = {name: ANSWERS[question["method"]] for name, question in interim["inputRequests"].items()}
    return {"inputResponses": answers, "requestState": interim["requestState"]}


def statement(result: Json) -> tuple[str, Statement]:
    receipt = Receipt.from_json(wire.meta_of(result, wire.RECEIPT))
    return receipt.receipt_id, Statement.decode(receipt.envelope.payload)


async def offline(home: Path, receipt: str, folder: Path) -> str:
    """What `etmcp-verify` says of it, whose verifier trusts this gateway's key."""
    bundle, trust, policy = (folder / name for name in ("bundle", "trust", "policy"))
    command = [ETMCP, "--home", str(home), "receipts", "export", receipt, str(bundle)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    speaker = Bundle.decode(bundle.read_bytes()).speaker
    assert isinstance(speaker, bytes)
    trust.write_text(json.dumps({"format": FORMAT, "anchors": {OBSERVER: [speaker.hex()]}}))
    policy.write_text('{"kind":"appraisal","version":1,"accept":{"minAssurance":"none"}}')
    command = [f"{ETMCP}-verify", str(bundle), "--trust", str(trust), "--policy", str(policy), "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    return json.loads(done.stdout)["outcome"]


@pytest.mark.parametrize("server", ERAS)
async def test_receipts_of_rounds_are_chained_and_each_verifies_offline(tmp_path: Path, server: Era) -> None:
    async with cell(tmp_path, "modern", "http", server, "pipe", ABLE) as (there, _):
        _, results = await answered(there, QUESTIONS, ANSWERS)
        before = None
        assert len(results) >= 2
        for result in results:
            receipt, said = statement(result)
            assert said.previous == before
            assert await offline(tmp_path / "own" / "home", receipt, tmp_path) == "verified"
            before = receipt


@pytest.mark.parametrize("server", ERAS)
async def test_a_request_state_is_good_for_one_request_of_one_client(tmp_path: Path, server: Era) -> None:
    async with cell(tmp_path, "modern", "http", server, "pipe", ABLE) as (there, upstream):
        interim = await there.result("tools/call", PARAMS)
        state = interim["requestState"]
        for changed in (
            {**PARAMS, "name": "wait", "requestState": state},
            {**PARAMS, "requestState": state[:-4] + ("AAAA" if state[-4:] != "AAAA" else "BBBB")},
            {**PARAMS, "requestState": 7},
        ):
            error = (await there.request("tools/call", changed))["error"]
            assert error["code"] == -32602
            assert "begin anew" in error["message"] or "not a string" in error["message"]
        if server == "legacy":
            other = {**PARAMS, "arguments": {"questions": ROOTS, "more": 1}, **given(interim)}
            error = (await there.request("tools/call", other))["error"]
            assert "other arguments" in error["message"]
        assert len(upstream.received("tools/call")) == 1
        last = await there.result("tools/call", PARAMS | given(interim))
        assert last["structuredContent"]["value"]["q"] is not None
        if server == "legacy":
            again = await there.request("tools/call", PARAMS | given(interim))
            assert "is over; begin anew" in again["error"]["message"]


async def test_a_request_state_is_refused_from_another_principal_and_for_another_server(tmp_path: Path) -> None:
    kinds: list[tuple[Era, Way]] = [("modern", "pipe"), ("modern", "http")]
    with gateway(tmp_path, *kinds) as running:
        async with (
            running.client("modern", ABLE, authorization="Bearer one") as one,
            running.client("modern", ABLE, authorization="Bearer two") as two,
        ):
            assert await one.result("tools/list")
            params = {**PARAMS, "name": "modern_pipe_ask"}
            interim = await one.result("tools/call", params)
            error = (await two.request("tools/call", params | given(interim)))["error"]
            assert "belongs to another request" in error["message"]
            elsewhere = {**params, "name": "modern_http_ask"}
            error = (await one.request("tools/call", elsewhere | given(interim)))["error"]
            assert "belongs to another request" in error["message"]
            assert (await one.result("tools/call", params | given(interim)))["structuredContent"]


@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize("back", WAYS)
async def test_clients_with_different_capabilities_never_see_what_is_another_s(
    tmp_path: Path, client: Era, back: Way
) -> None:
    with gateway(tmp_path, ("legacy", back)) as running:
        (upstream,) = running.upstreams.values()
        async with (
            running.client(client, {"roots": {}}) as one,
            running.client(client, ABLE) as two,
            running.client(client, {}) as three,
        ):
            (_, asked_one), (_, asked_two) = await asyncio.gather(
                answered(one, ROOTS, ANSWERS), answered(two, QUESTIONS, ANSWERS)
            )
            assert {question["method"] for question in one.asked} == {"roots/list"}
            assert len(two.asked) == 3
            await asyncio.gather(*(there.call("log", levels=["error"]) for there in (two,)))
            sessions = {e["session"] for e in upstream.received("tools/call")}
            assert len(sessions) >= 2
            if client == "legacy":
                await two.call("late", question=QUESTIONS["places"])
                await upstream.writes(lambda entry: entry.get("note") == "late")
                assert len(two.asked) == 4
            assert not three.asked
            assert [m["method"] for there in (one, three) for m in there.heard if "message" in m["method"]] == []
            assert len(one.asked) == 1
            assert asked_one
            assert asked_two


@pytest.mark.parametrize("back", WAYS)
@pytest.mark.parametrize("polite", [True, False])
async def test_a_legacy_client_that_goes_while_it_is_asked_leaves_nothing(
    tmp_path: Path, back: Way, *, polite: bool
) -> None:
    with gateway(tmp_path, ("legacy", back)) as running:
        (upstream,) = running.upstreams.values()
        async with running.client("legacy", ABLE) as there:
            there.answer = lambda _: None
            task = there.begin("tools/call", PARAMS)
            await there.is_asked()
            if not polite:
                task.cancel()  # the call alone; the client stays
                await upstream.writes(lambda entry: entry.get("note") == "cancelled")
        await upstream.writes(lambda entry: entry.get("note") == "cancelled")
        await ended(upstream)


@pytest.mark.parametrize("back", WAYS)
async def test_a_modern_client_that_goes_during_a_round_leaves_nothing(tmp_path: Path, back: Way) -> None:
    with gateway(tmp_path, ("legacy", back)) as running:
        (upstream,) = running.upstreams.values()
        async with running.client("modern", ABLE) as there:
            call: Json = {"name": "hang", "arguments": {}, "_meta": {"progressToken": "t"}}
            task = there.begin("tools/call", call)
            await there.hears(lambda message: message["method"] == "notifications/progress")
            task.cancel()
            await upstream.writes(lambda entry: entry.get("note") == "cancelled")
        await ended(upstream)


async def ended(upstream: Upstream) -> None:
    """Sessions that were for the client alone are over; the shared one stays."""
    begun = {e["session"] for e in upstream.log if e.get("message", {}).get("method") == "notifications/initialized"}

    def over() -> bool:
        gone = {entry["session"] for entry in upstream.log if entry.get("note") == "ended"}
        return len(begun - gone) <= 1

    await eventually(over, "the sessions end")
    if upstream.way == "pipe":
        await eventually(lambda: len(upstream.processes) <= 1, "the processes end")


REFUSED = {False: "does not serve elicitation/create", True: "has no back-channel"}
"""Who refuses the question: the gateway, or the server itself where the call is sealed."""


@pytest.mark.parametrize("seal", REFUSED)
async def test_a_server_that_must_prove_what_it_says_asks_nothing_unsigned(tmp_path: Path, seal: bool) -> None:
    entry: Json = {"command": sys.executable, "args": [WEATHER], "etmcp": {"era": "legacy", "seal": seal}}
    with serving(tmp_path, {"weather": entry}) as (port, pid):
        running = Gateway(port, pid, tmp_path, {})
        alert: Json = {"name": "alert", "arguments": {"city": "Bern"}}
        async with running.client("legacy", ABLE) as there:
            assert REFUSED[seal] in str(await there.request("tools/call", alert))
            assert there.asked == []
            assert (await there.call("forecast", city="Bern"))["structuredContent"]["city"] == "Bern"


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize("back", WAYS)
async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path, client: Era, server: Era, back: Way) -> None:
    async with cell(tmp_path, client, "http", server, back, {}) as (there, upstream):
        call: Json = {"name": "hang", "arguments": {}, "_meta": {"progressToken": "t"}}
        task = there.begin("tools/call", call)
        told = await there.hears(lambda message: message["method"] == "notifications/progress")
        assert told["params"]["progressToken"] == "t"
        task.cancel()
        entry = await upstream.writes(lambda entry: entry.get("note") == "cancelled")
        assert entry["params"]["name"] == "hang"
        assert (await there.call("steps", n=1))["content"]


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
async def test_log_messages_come_as_the_client_wants_them(tmp_path: Path, client: Era, server: Era) -> None:
    async def levels(there: Client, **meta: Any) -> list[str]:
        there.heard.clear()
        call: Json = {"name": "log", "arguments": {"levels": ["debug", "warning", "error"]}, "_meta": meta}
        await there.result("tools/call", call)
        return [m["params"]["level"] for m in there.heard if m["method"] == "notifications/message"]

    async with cell(tmp_path, client, "http", server, "http", ABLE) as (there, upstream):
        if client == "legacy":
            assert await levels(there) == ["debug", "warning", "error"]
            await there.result("logging/setLevel", {"level": "warning"})
            assert await levels(there) == ["warning", "error"]
            if server == "legacy":
                assert upstream.received("logging/setLevel")[-1]["message"]["params"] == {"level": "warning"}
        else:
            assert await levels(there) == []
            name = "io.modelcontextprotocol/logLevel"
            assert await levels(there, **{name: "warning"}) == ["warning", "error"]
            if server == "modern":
                assert upstream.received("tools/call")[-1]["message"]["params"]["_meta"][name] == "warning"


async def test_progress_of_a_parked_call_comes_under_the_token_of_the_round(tmp_path: Path) -> None:
    async with cell(tmp_path, "modern", "http", "legacy", "pipe", ABLE) as (there, _):
        interim = await there.result("tools/call", PARAMS | {"_meta": {"progressToken": "first"}})
        assert [m["params"]["progressToken"] for m in there.heard if "progress" in m["method"]] == ["first"]
        last = await there.result("tools/call", PARAMS | given(interim) | {"_meta": {"progressToken": "second"}})
        assert last["structuredContent"]
