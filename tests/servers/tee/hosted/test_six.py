"""Six servers of others, hosted under the policies that ship, and called through the gateway with verified receipts."""

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from servers.tee.hosted import policies
from tests.support.peers import HOSTED, hosted_servers
from tests.support.rawclient import Json, StdioClient

POLICIES = Path(policies.__path__[0])
PAGE = "The page that was granted"
CONNECT_SECONDS = 240
FETCH = ["--ignore-robots-txt", "--allow-private-ips"]


def granted(name: str, folder: Path, change: Mapping[str, Any]) -> str:
    """The shipped policy with the places of this test in it; its path."""
    document: Json = json.loads((POLICIES / f"{name}.json").read_text())
    for part, members in change.items():
        document[part] = {**document[part], **members}
    (folder / f"{name}.json").write_text(json.dumps(document))
    return f"{name}.json"


def own(folder: Path) -> Path:
    """A folder that sandboxes may write to."""
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    return folder


@pytest.fixture(scope="module")
def page() -> Iterator[int]:
    """A web server on this machine; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"<html><body><p>{PAGE}</p></body></html>".encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What they are given: a document, a folder for memory, a repository."""
    folder = tmp_path_factory.mktemp("six")
    (own(folder / "documents") / "note.txt").write_text("a note")
    own(folder / "memory")
    repository = folder / "repository"
    git = ("git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(repository)], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "The first commit"], check=True)
    return folder


@pytest.fixture(scope="module")
def gateway(place: Path, page: int) -> Iterator[StdioClient]:
    """One gateway in front of all six."""
    packages = hosted_servers()
    rule = {"scheme": "http", "host": "127.0.0.1", "ports": [page]}

    def grant(path: str, guest: str, access: str) -> Json:
        return {"grants": [{"path": str(place / path), "guest": guest, "access": access}]}

    changes: dict[str, dict[str, Any]] = {
        "everything": {},
        "filesystem": {"files": grant("documents", "/documents", "rw")},
        "memory": {"files": grant("memory", "/memory", "rw")},
        "time": {},
        "git": {"files": grant("repository", "/repository", "ro")},
        "fetch": {"network": {"rules": [rule]}},
    }
    arguments = {
        "filesystem": ["/documents"],
        "git": ["--repository", "/repository"],
        "fetch": ["--ignore-robots-txt", "--allow-private-ips"],
    }
    safe = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    variables = {"memory": {"MEMORY_FILE_PATH": "/memory/memory.jsonl"}, "git": safe, "fetch": {"PATH": "/none"}}
    servers = {
        name: {
            "command": packages[name][0],
            "args": [*packages[name][1:], *arguments.get(name, [])],
            "env": variables.get(name, {}),
            "etmcp": {"host": "tee", "policy": granted(name, place, change)},
        }
        for name, change in changes.items()
    }
    config = place / "etmcp.json"
    config.write_text(json.dumps({"mcpServers": servers}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(HOSTED))
        with StdioClient(config, place / "home", place / "log") as client:
            deadline = time.monotonic() + CONNECT_SECONDS
            wanted = {tool for tool, *_ in CALLS}
            while not wanted <= (found := {tool["name"] for tool in client.request("tools/list").result["tools"]}):
                assert time.monotonic() < deadline, (wanted - found, (place / "log").read_text()[-3000:])
            yield client


CALLS = (
    ("echo", "everything", {"message": "hello"}, "hello"),
    ("read_text_file", "filesystem", {"path": "/documents/note.txt"}, "a note"),
    ("write_file", "filesystem", {"path": "/documents/new.txt", "content": "written"}, "Success"),
    (
        "create_entities",
        "memory",
        {"entities": [{"name": "Ada", "entityType": "person", "observations": ["x"]}]},
        "Ada",
    ),
    ("get_current_time", "time", {"timezone": "Europe/Berlin"}, "Europe/Berlin"),
    ("git_log", "git", {"repo_path": "/repository"}, "The first commit"),
    ("fetch", "fetch", {"url": "PAGE"}, PAGE),
)


@pytest.mark.parametrize(("tool", "server", "arguments", "expected"), CALLS, ids=[each[0] for each in CALLS])
def test_each_answers_with_a_receipt_of_its_executor(
    gateway: StdioClient, page: int, tool: str, server: str, arguments: Json, expected: str
) -> None:
    if tool == "fetch":
        arguments = {"url": f"http://127.0.0.1:{page}/page"}
    reply = gateway.request("tools/call", {"name": tool, "arguments": arguments})
    assert not reply.result.get("isError"), reply.result
    assert expected in reply.result["content"][0]["text"]
    verdict = reply.verification
    assert (verdict["verdict"], verdict["kind"], verdict["server"]) == ("verified", "executor-attested", server)


DENIED = (
    ("read_text_file", {"path": "/etc/passwd"}, "Access denied"),
    ("git_create_branch", {"repo_path": "/repository", "branch_name": "new"}, "could not be obtained"),
    ("fetch", {"url": "http://127.0.0.1:1/"}, "403"),
    ("fetch", {"url": "https://example.com/"}, "403"),
)


@pytest.mark.parametrize(("tool", "arguments", "expected"), DENIED)
def test_what_the_policy_does_not_grant_fails_with_a_clear_error(
    gateway: StdioClient, tool: str, arguments: Json, expected: str
) -> None:
    reply = gateway.request("tools/call", {"name": tool, "arguments": arguments})
    told = json.dumps(reply.response)
    assert expected in told, told[-600:]


def test_state_is_kept_where_the_policy_says(gateway: StdioClient, place: Path) -> None:
    assert (place / "documents" / "new.txt").read_text() == "written"
    assert "Ada" in (place / "memory" / "memory.jsonl").read_text()


def test_receipts_name_package_lock_tree_isolation_and_egress(gateway: StdioClient, page: int) -> None:
    reply = gateway.request("tools/call", {"name": "fetch", "arguments": {"url": f"http://127.0.0.1:{page}/again"}})
    statement = receipt_of(reply.result)
    environment, usage = statement["environment"], statement["usage"]
    assert environment["tier"] == "service"
    assert environment["hosted"]["package"] == "pypi:mcp-server-fetch"
    assert all(len(environment["hosted"][name]) == 64 for name in ("lock", "tree"))
    assert environment["hosted"]["runtime"]["name"] == "python"
    assert "network namespace" in environment["mechanisms"]
    reached = [(each["host"], each["port"], each["verdict"]) for each in usage["egress"]["log"]]
    assert reached == [("127.0.0.1", page, "allowed")]
    assert usage["memory_bytes"] > 0


def receipt_of(result: Json) -> Json:
    """The predicate of the receipt beside a result."""
    envelope = result["_meta"]["com.etmcp/receipt"]["envelope"]
    return json.loads(base64.b64decode(envelope["payload"]))["predicate"]
