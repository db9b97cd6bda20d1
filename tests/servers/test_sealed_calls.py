"""What a sealed call says while it runs and when it fails travels sealed; what cannot be sealed says nothing."""

import json
import secrets

import pytest

from attest import wire
from attest.call import CallHeader, open_progress, open_reply, plain_request, sealed_request
from attest.seal import PublicKey, SealingKey
from tests.servers.executor import ECHO, NOW, Executor, Json, Peer, built, connected
from tests.support.rawclient import envelope

pytestmark = pytest.mark.anyio
CANARY = "canary" + secrets.token_hex(8)


async def sent(executor: Executor, peer: Peer, method: str, params: Json) -> tuple[CallHeader, SealingKey, Json]:
    """One sealed call: its header, reply key and raw answer."""
    header, key = executor.header(method), SealingKey()
    public = PublicKey(executor.identity.current(NOW).sealing.public)
    return header, key, await peer.ask(method, sealed_request(header, params, bytes(32), public, key))


def odd(how: str) -> Json:
    return {"name": "odd", "arguments": {"how": how, "text": CANARY}, "_meta": {"progressToken": "mine"}}


@pytest.mark.parametrize("legacy", [False, True])
async def test_progress_of_a_sealed_call_is_sealed_in_order_and_its_log_is_not_sent(legacy: bool) -> None:
    executor = built()
    async with connected(executor, legacy=legacy) as peer:
        header, key, answer = await sent(executor, peer, "tools/call", odd("loud"))
        told = [note["params"] for note in peer.heard if note["method"] == "notifications/progress"]
        assert {note["method"] for note in peer.heard} <= {
            "notifications/progress",
            "notifications/resources/list_changed",
        }
        assert CANARY not in json.dumps([peer.heard, answer])
    assert [params["progressToken"] for params in told] == ["mine", "mine"]
    assert [params["progress"] for params in told] == [1, 2]
    assert open_progress(header, 1, told[0], key) == {"progress": 1, "total": 2, "message": CANARY}
    assert open_progress(header, 2, told[1], key) == {"progress": 2, "message": CANARY}


async def test_a_sealed_call_that_wants_no_progress_gets_none() -> None:
    executor = built()
    async with connected(executor, legacy=True) as peer:
        params = {name: value for name, value in odd("loud").items() if name != "_meta"}
        await sent(executor, peer, "tools/call", params)
        assert "notifications/progress" not in {note["method"] for note in peer.heard}


async def test_a_question_that_could_not_be_sealed_is_not_asked() -> None:
    executor = built()
    async with connected(executor, legacy=True) as peer:
        header, key, answer = await sent(executor, peer, "tools/call", odd("question"))
        assert peer.heard == []
        assert CANARY not in json.dumps(answer)
    assert "error" in open_reply(header, answer["result"], key)


@pytest.mark.parametrize("how", ["raise", "surrogate", "report", "crash"])
async def test_an_error_of_the_handler_is_inside_the_sealed_reply_and_in_no_log(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        header, key, answer = await sent(executor, peer, "tools/call", odd(how))
    assert set(answer) == {"jsonrpc", "result"}
    assert CANARY not in caplog.text + json.dumps(answer)
    assert ("withheld, since the call is sealed: ValueError" in caplog.text) == (how == "crash")
    assert set(answer["result"]) == {"content", "resultType", "_meta"}
    assert "error" in open_reply(header, answer["result"], key)


async def test_outside_of_sealed_calls_logs_say_what_they_said(caplog: pytest.LogCaptureFixture) -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        await sent(executor, peer, "tools/call", odd("crash"))
        request = plain_request(executor.header("tools/call"), odd("crash"), bytes(32))
        assert "error" in await peer.ask("tools/call", request)
    assert CANARY in caplog.text


PLAIN: dict[str, Json] = {
    "tools/call": ECHO,
    "prompts/get": {"name": CANARY},
    "resources/read": {"uri": f"note://{CANARY}"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": CANARY}, "argument": {"name": "a", "value": "b"}},
    "resources/subscribe": {"uri": f"note://{CANARY}"},
    "subscriptions/listen": {"notifications": {"resourceSubscriptions": [f"note://{CANARY}"]}},
    "tasks/get": {"taskId": CANARY},
    "no/such": {"x": CANARY},
}


@pytest.mark.parametrize("method", PLAIN)
async def test_where_sealing_is_required_every_plain_request_that_carries_data_is_refused(method: str) -> None:
    async with connected(built(require_sealed=True), legacy=False) as peer:
        error = (await peer.ask(method, PLAIN[method]))["error"]
    assert error["data"] == {wire.REFUSAL: "unsealed"}
    assert CANARY not in json.dumps(error)


@pytest.mark.parametrize("method", ["tools/list", "resources/list", "resources/templates/list"])
async def test_where_sealing_is_required_lists_and_evidence_are_still_read_plain(method: str) -> None:
    async with connected(built(require_sealed=True), legacy=False) as peer:
        assert "result" in await peer.ask(method)
        assert "result" in await peer.ask("resources/read", {"uri": wire.EVIDENCE_URI + "00" * 32})


@pytest.mark.parametrize("method", ["prompts/get", "resources/read", "completion/complete"])
async def test_every_method_is_answered_sealed_even_that_it_is_not_served(method: str) -> None:
    executor = built(require_sealed=True)
    async with connected(executor, legacy=False) as peer:
        header, key, answer = await sent(executor, peer, method, PLAIN[method] | {"_meta": envelope()})
    assert CANARY not in json.dumps(answer)
    assert "error" in open_reply(header, answer["result"], key)


async def test_what_does_not_open_is_refused_in_the_same_words_whatever_is_wrong_with_it() -> None:
    executor = built()
    async with connected(executor, legacy=False) as peer:
        said: set[str] = set()
        for change in ({"sealed": "AAAA"}, {"sealed": ""}, {"sealed": 7}, {"stream": "00" * 16}, {"clientNonce": "x"}):
            header = executor.header("tools/call")
            public = PublicKey(executor.identity.current(NOW).sealing.public)
            request = sealed_request(header, odd("loud"), bytes(32), public, SealingKey())
            request["_meta"][wire.CALL] |= change
            said.add(json.dumps((await peer.ask("tools/call", request))["error"]))
    assert len(said) == 1
    assert json.loads(said.pop())["data"] == {wire.REFUSAL: "seal"}
