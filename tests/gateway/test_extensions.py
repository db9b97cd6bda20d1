"""What is beyond the core protocol passes through: tasks, views of MCP Apps, extensions nobody here knows."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import serving
from tests.gateway import extended as peer
from tests.support import lean
from tests.support.rawclient import ETMCP, HttpClient

Json = dict[str, Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpClient]:
    folder = tmp_path_factory.mktemp("extended")
    (folder / "mode").write_text("good")
    (folder / "tools.json").write_text(json.dumps([lean.tool("echo")]))
    commands = {"plain": [lean.__file__, str(folder)], "extended": [peer.__file__]}
    servers = {alias: {"command": sys.executable, "args": args} for alias, args in commands.items()}
    (folder / "etmcp.json").write_text(json.dumps({"mcpServers": servers}))
    options = ("--config", str(folder / "etmcp.json"), "--home", str(folder / "home"), "serve")
    with serving(ETMCP, *options, log=folder / "log") as port, HttpClient(port, "modern") as connected:
        yield connected


def test_the_gateway_declares_what_its_servers_do_beyond_the_core(client: HttpClient) -> None:
    declared = client.request("server/discover").result["capabilities"]["extensions"]
    assert {name: declared[name] for name in peer.EXTENSIONS} == peer.EXTENSIONS
    assert "com.etmcp/receipts" in declared


def test_a_task_is_followed_where_it_was_begun_and_each_answer_has_a_receipt(client: HttpClient) -> None:
    begun = client.request("tools/call", {"name": "forecast", "arguments": {}})
    assert (begun.result["resultType"], begun.result["taskId"]) == ("task", "t-1")
    assert begun.verification["verdict"] == "observed"
    followed = client.request("tasks/get", {"taskId": "t-1"})
    assert followed.result["result"] == {"content": [], "x": None}
    assert followed.verification["server"] == "extended"


def test_a_view_that_no_list_names_is_read_from_the_server_whose_tool_names_it(client: HttpClient) -> None:
    read = client.request("resources/read", {"uri": peer.VIEW})
    assert read.result["contents"] == peer.RESULTS["resources/read"]["contents"]
    assert client.request("resources/read", {"uri": "ui://other/view"}).error["code"] == -32602


def test_a_method_of_an_unknown_extension_goes_to_the_one_server_that_declares_any(client: HttpClient) -> None:
    assert client.request("vendor/echo", {"value": [None, 1.5]}).result["given"] == [None, 1.5]
    assert client.request("vendor/nothing").error["code"] == -32601
