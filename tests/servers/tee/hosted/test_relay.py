"""A hosted server's MCP passes unchanged, in both eras on either side, and its failures are told clearly."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.tee.hosted.plain import STRANGE
from tests.servers.tee.hosted.scene import Host, policy, script
from tests.support.rawclient import Era, Json

SERVER_INFO = "io.modelcontextprotocol/serverInfo"
PAIRS: tuple[tuple[Era, Era], ...] = (("modern", "legacy"), ("legacy", "legacy"), ("modern", "modern"))


def answers(question: Json) -> Json:
    """What the client says to the server's question."""
    assert question["method"] == "elicitation/create"
    return {"result": {"action": "accept", "content": {"name": "Ada"}}}


def hosted(folder: Path, client: Era, server: Era) -> Host:
    """The plain server in this era, for a client of that one, which can be asked."""
    words = ("--unsigned-policy", str(policy(folder)), *script("plain.py", server))
    return Host(folder / "log", *words, era=client, capabilities={"elicitation": {}}, answers=answers)


@pytest.fixture(scope="module", params=PAIRS, ids=[f"{client} client, {server} server" for client, server in PAIRS])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Each pair."""
    with hosted(tmp_path_factory.mktemp("plain"), *request.param) as host:
        yield host


def bare(result: Json) -> Json:
    """Without what the modern era adds to a legacy server's result."""
    added = ("resultType", "ttlMs", "cacheScope")
    return {name: value for name, value in result.items() if name not in added or name in STRANGE}


def test_it_introduces_itself_under_the_name_that_we_know(plain: Host) -> None:
    said = plain.introduced
    assert said["instructions"] == "Use it well."
    info = said.get("serverInfo") or said["_meta"][SERVER_INFO]
    assert (info["name"], info["title"]) == ("local:plain.py", "Plain")
    assert said["capabilities"]["tools"] == {"listChanged": True}
    assert "com.etmcp/receipts" in said["capabilities"]["extensions"]


def test_lists_and_results_lose_nothing(plain: Host) -> None:
    assert bare(plain.call("strange")) == STRANGE
    tools = plain.request("tools/list")["result"]["tools"]
    assert tools[0] == {"name": "strange", "inputSchema": {"type": "object"}, "unknown": None}
    assert plain.request("prompts/list")["result"]["prompts"] == [{"name": "greet"}]
    greeted = plain.request("prompts/get", {"name": "greet"})["result"]["messages"][0]["content"]["text"]
    assert greeted == "greet greet"
    assert plain.request("resources/list")["result"]["resources"] == [{"uri": "test://one", "name": "one"}]
    templates = plain.request("resources/templates/list")["result"]["resourceTemplates"]
    assert [each["uriTemplate"] for each in templates] == ["test://{id}", "attest://evidence/{nonce}"]
    assert plain.request("resources/read", {"uri": "test://7"})["result"]["contents"][0]["text"] == "read"
    reference = {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}}
    assert plain.request("completion/complete", reference)["result"]["completion"]["values"] == ["complete"]


def test_errors_pass_with_their_data(plain: Host) -> None:
    error = plain.request("example.com/unknown")["error"]
    assert (error["code"], error["data"]["nothing"]) == (-32601, None)


def test_progress_carries_the_clients_own_token(plain: Host) -> None:
    plain.notifications.clear()
    plain.request("tools/call", {"name": "progress", "arguments": {}, "_meta": {"progressToken": "mine"}})
    told = [each["params"] for each in plain.notifications if each["method"] == "notifications/progress"]
    assert [(each["progressToken"], each["progress"]) for each in told] == [("mine", 1), ("mine", 2), ("mine", 3)]


def test_a_cancelled_call_is_cancelled_in_there(plain: Host) -> None:
    number = plain.begin("tools/call", {"name": "hang", "arguments": {}})
    plain.request("tools/list")  # so that the call has arrived
    plain.send({"method": "notifications/cancelled", "params": {"requestId": number}})
    while True not in json.loads(plain.text("cancelled")):
        plain.request("tools/list")


def test_our_own_members_of_meta_stay_out(plain: Host) -> None:
    meta = {"com.etmcp/unknown": 1, "example.com/own": 2}
    reply = plain.request("tools/call", {"name": "meta", "arguments": {}, "_meta": meta})
    seen = json.loads(reply["result"]["content"][0]["text"])
    assert seen["example.com/own"] == 2
    assert not any(name.startswith("com.etmcp/") for name in seen)


def test_a_legacy_client_is_asked_by_its_own_session(tmp_path: Path) -> None:
    with hosted(tmp_path, "legacy", "legacy") as host:
        answer = json.loads(host.text("ask"))
        assert answer == {"result": {"action": "accept", "content": {"name": "Ada"}}}
        host.notifications.clear()
        host.call("grow")
        host.call("log")
        methods = [each["method"] for each in host.notifications]
        assert {"notifications/tools/list_changed", "notifications/message"} <= set(methods)


def test_rounds_of_a_modern_server_pass_as_they_are(tmp_path: Path) -> None:
    with hosted(tmp_path, "modern", "modern") as host:
        first = host.call("rounds")
        assert (first["resultType"], first["requestState"]) == ("input_required", "state-1")
        given = {"inputResponses": {"who": {"action": "accept"}}, "requestState": "state-1"}
        last = host.request("tools/call", {"name": "rounds", "arguments": {}, **given})["result"]
        assert last["content"][0]["text"] == '"state-1"'


def test_a_modern_client_hears_a_legacy_servers_changes(tmp_path: Path) -> None:
    with hosted(tmp_path, "modern", "legacy") as host:
        wanted = {"toolsListChanged": True, "resourceSubscriptions": ["test://one"]}
        host.begin("subscriptions/listen", {"notifications": wanted})
        while not host.notifications:
            host.next()
        host.call("grow")
        host.call("strange")
        while len(host.notifications) < 3:
            host.next()
        heard = [each["method"] for each in host.notifications[1:]]
        assert heard == ["notifications/tools/list_changed", "notifications/resources/updated"]


def test_a_legacy_server_asks_no_modern_client(tmp_path: Path) -> None:
    with hosted(tmp_path, "modern", "legacy") as host:
        assert json.loads(host.text("ask"))["error"]["code"] == -32601
