"""What the suite does not see of the bridge: clients that share a pipe never meet, and who leaves is followed."""

import http.client
import json
import socket
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.suite import Fixture, bridged
from tests.support.rawclient import SECONDS, VERSION, HttpClient, Reply, authority, envelope

Json = dict[str, Any]
CALLERS = 4
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
WAITS = """
import json, socket, sys

def say(**members):
    print(json.dumps({"jsonrpc": "2.0", **members}), flush=True)

for line in sys.stdin:
    message = json.loads(line)
    match message["method"]:
        case "initialize":
            said = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "w", "version": "1"}}
            say(id=message["id"], result=said)
        case "tools/call":
            asked = message["id"]
            token = message["params"]["_meta"]["progressToken"]
            say(method="notifications/progress", params={"progressToken": token, "progress": 1})
        case "notifications/cancelled":
            with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as told:
                told.sendall(json.dumps([asked, message["params"]["requestId"]]).encode())
"""


class Stream:
    """One POST whose answer is read event by event; leaving it hangs up."""

    def __init__(self, url: str, message: Json, headers: dict[str, str]) -> None:
        accepted = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        self._connection = http.client.HTTPConnection(*authority(url), timeout=SECONDS)
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._connection.request("POST", "/mcp", body, accepted | headers)
        self._response = self._connection.getresponse()

    def next(self) -> Json:
        """The next message."""
        while line := self._response.readline():
            if line.startswith(b"data:") and line[5:].strip():
                return json.loads(line[5:])
        raise AssertionError("the stream ended")

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()


@contextmanager
def modern(url: str, number: int, method: str, **params: Any) -> Generator[Stream]:
    named = {"mcp-name": str(params["name"])} if "name" in params else {}
    meta = {**envelope(), **params.pop("_meta", {})}
    message: Json = {"id": number, "method": method, "params": {**params, "_meta": meta}}
    stream = Stream(url, message, {"mcp-protocol-version": VERSION, "mcp-method": method} | named)
    try:
        yield stream
    finally:
        stream.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The bridge before the fixture."""
    folder = tmp_path_factory.mktemp("bridge")
    with bridged(Fixture(folder / "calls").command("stdio"), folder / "bridge.log") as url:
        yield url


def test_calls_with_the_same_id_and_token_stay_apart(url: str) -> None:
    def call(_: int) -> Reply:
        with HttpClient(authority(url)[1]) as client:
            asked: Json = {"name": "test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": "same"}}
            return client.request("tools/call", asked)

    with ThreadPoolExecutor(CALLERS) as pool:
        replies = list(pool.map(call, range(CALLERS)))
    for reply in replies:
        assert reply.response["id"] == 1
        assert [note["params"]["progress"] for note in reply.notifications] == [0, 50, 100]
        assert {note["params"]["progressToken"] for note in reply.notifications} == {"same"}


def test_subscriptions_with_the_same_id_stay_apart(url: str) -> None:
    tools = modern(url, 7, "subscriptions/listen", notifications={"toolsListChanged": True})
    prompts = modern(url, 7, "subscriptions/listen", notifications={"promptsListChanged": True})
    with tools as of_tools, prompts as of_prompts, HttpClient(authority(url)[1]) as client:
        for stream, kind in ((of_tools, "tool"), (of_prompts, "prompt")):
            acknowledged = stream.next()
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            assert str(acknowledged["params"]["_meta"][SUBSCRIPTION]) == "7"
            client.request("tools/call", {"name": f"test_trigger_{kind}_change", "arguments": {}})
            changed = stream.next()
            assert changed["method"] == f"notifications/{kind}s/list_changed"
            assert str(changed["params"]["_meta"][SUBSCRIPTION]) == "7"


def heard(ear: socket.socket) -> list[Any]:
    """Which request the server behind the bridge got, and which it was told to drop."""
    ear.settimeout(SECONDS)
    connection, _ = ear.accept()
    with connection, connection.makefile("rb") as told:
        return json.loads(told.read())


@pytest.fixture
def ear() -> Generator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_client_that_hangs_up_cancels_its_request(ear: socket.socket, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS, str(ear.getsockname()[1])]
    with bridged(command, tmp_path / "log") as url:
        with modern(url, 5, "tools/call", name="wait", arguments={}, _meta={"progressToken": "t"}) as stream:
            assert stream.next()["params"]["progressToken"] == "t"
        asked, cancelled = heard(ear)
        assert asked == cancelled


def test_a_cancellation_of_the_2025_era_is_passed_on(ear: socket.socket, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITS, str(ear.getsockname()[1])]
    with bridged(command, tmp_path / "log") as url, HttpClient(authority(url)[1], "legacy") as client:
        headers = client._session  # pyright: ignore[reportPrivateUsage]
        params: Json = {"name": "wait", "arguments": {}, "_meta": {"progressToken": "t"}}
        stream = Stream(url, {"id": "mine", "method": "tools/call", "params": params}, headers)
        assert stream.next()["params"]["progressToken"] == "t"
        Stream(url, {"method": "notifications/cancelled", "params": {"requestId": "mine"}}, headers).close()
        assert heard(ear) == ["mine", "mine"]
        stream.close()
