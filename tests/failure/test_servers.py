"""One bad server never empties or stalls the rest, says in one line what is wrong, and comes back by itself."""

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.rawclient import Reply, StdioClient
from tests.support.stage import Lean, configuration

BOUND = 15  # `aggregate.SURVEY_SECONDS`, and some for this machine
BACK_SECONDS = 15
SERVERS = "com.etmcp/servers"

AT_START = {
    "exits": ("exited with code 3", "no licence found", 'check "command", "args" and "env"'),
    "absent": ("cannot start", "not found", 'correct "command" in the configuration'),
}
IN_A_CALL = {
    "dies": ("exited with code 9", "out of luck", "restart it"),
    "hangs": ("no answer to tools/call in time", "try again, or restart it"),
    "huge": ("sent a message of more than 33,554,432 bytes", "fix or replace the server"),
    "ambiguous": ("sent ambiguous JSON (duplicate-key", "fix or replace the server"),
}
HARMLESS = ("floods", "junk")


class Scene:
    """A gateway with a good server, whose tool is `echo`, and a bad one, whose tool is `work`."""

    def __init__(self, client: StdioClient, bad: Lean) -> None:
        self.client, self.bad = client, bad

    def tools(self) -> tuple[set[str], str]:
        """What is listed, within the bound, and the state of the bad server; the good one is ready."""
        begun = time.monotonic()
        result = self.client.request("tools/list").result
        assert time.monotonic() - begun < BOUND
        states: dict[str, str] = result["_meta"][SERVERS]
        assert states["good"] == "ready"
        return {tool["name"] for tool in result["tools"]}, states["bad"]

    def call(self, tool: str) -> Reply:
        return self.client.request("tools/call", {"name": tool, "arguments": {"text": "hello"}})

    def good(self) -> None:
        """The neighbour goes on."""
        assert self.call("echo").result["content"][0]["text"] == "hello"

    def back(self) -> None:
        """The bad server's tool is listed and callable again, with this same gateway."""
        deadline = time.monotonic() + BACK_SECONDS
        while "work" not in self.tools()[0]:
            assert time.monotonic() < deadline, "it does not come back"
        assert self.call("work").result["content"][0]["text"] == "hello"


@contextmanager
def scene(folder: Path, bad: dict[str, Any] | None = None, *, mode: str) -> Generator[Scene]:
    good, server = Lean(folder / "good", "echo"), Lean(folder / "bad", "work", mode=mode)
    config = configuration(folder / "config.json", good=good.entry(), bad=bad or server.entry(timeout=1))
    with StdioClient(config, folder / "home", folder / "stderr") as client:
        client.request("server/discover")  # it has started: from here on time counts
        yield Scene(client, server)
    assert (folder / "stderr").read_bytes() == b""


def one_line(text: str, *parts: str) -> None:
    assert "\n" not in text
    assert "bad" in text
    assert [part for part in parts if part not in text] == [], text


@pytest.mark.parametrize("mode", AT_START)
def test_a_server_that_does_not_start_is_named_with_the_cause_and_returns_once_mended(
    tmp_path: Path, mode: str
) -> None:
    program = tmp_path / "program"
    entry = {"command": str(program)} if mode == "absent" else None
    with scene(tmp_path, entry, mode=mode) as stage:
        listed, state = stage.tools()
        assert listed == {"echo"}
        assert state.startswith("failed: bad: ")
        one_line(state, *AT_START[mode])
        stage.good()
        one_line(stage.call("work").error["message"], "work", "not connected: bad", "`etmcp tools`")
        stage.bad.behave("good")
        mended = stage.bad.entry()
        program.write_text(f"#!/bin/sh\nexec {mended['command']} {' '.join(mended['args'])}\n")
        program.chmod(0o700)
        stage.back()


def test_a_server_that_never_answers_the_handshake_stalls_nobody_beyond_the_bound(tmp_path: Path) -> None:
    with scene(tmp_path, mode="mute") as stage:
        listed, state = stage.tools()
        assert listed == {"echo"}
        assert state == "failed: no answer yet; it is still being waited for"
        stage.good()  # while the other is still mute
        stage.bad.behave("good")
        for pid in stage.bad.pids:
            os.kill(pid, signal.SIGKILL)  # the restart
        stage.back()


@pytest.mark.parametrize("mode", IN_A_CALL)
def test_a_server_that_fails_in_a_call_fails_that_call_alone_with_the_cause(tmp_path: Path, mode: str) -> None:
    with scene(tmp_path, mode=mode) as stage:
        assert stage.tools() == ({"echo", "work"}, "ready")
        result = stage.call("work").result
        assert result["isError"] is True
        text = result["content"][0]["text"]
        assert text.startswith("etmcp: bad: ")
        one_line(text, *IN_A_CALL[mode])
        stage.good()
        stage.bad.behave("good")
        if mode in ("hangs", "ambiguous"):  # these still run, and only their user knows that they should not
            os.kill(stage.bad.pids[-1], signal.SIGKILL)
        stage.back()


@pytest.mark.parametrize("mode", HARMLESS)
def test_what_a_server_prints_beside_the_protocol_costs_nothing(tmp_path: Path, mode: str) -> None:
    with scene(tmp_path, mode=mode) as stage:
        assert stage.tools() == ({"echo", "work"}, "ready")
        for _ in range(2):
            assert stage.call("work").result["content"][0]["text"] == "hello"
        stage.good()


def test_an_endless_stream_of_junk_ends_the_server_that_prints_it(tmp_path: Path) -> None:
    noisy = {"command": "sh", "args": ["-c", "yes not MCP"]}
    with scene(tmp_path, noisy, mode="good") as stage:
        listed, state = stage.tools()
        assert listed == {"echo"}
        one_line(state, "prints to its standard output what is not MCP", "not MCP", "fix or replace the server")
        stage.good()
