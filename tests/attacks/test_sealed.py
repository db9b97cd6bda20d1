"""Sealed progress and resources behind a man in the middle: what passes is what the executor said, in its place."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.stage import ACTORS, HONEST, Cast, Middle, Stage, code_of, on_pipe, ready, token, written
from tests.support.rawclient import Json, Reply, StdioClient

META = {"progressToken": "mine"}
# What is done to the four progress messages of a call, and the steps of which the client then hears.
PROGRESS = {
    HONEST: [1, 2, 3, 4],
    "progress-swapped": [1],
    "progress-renumbered": [1],
    "progress-repeated": [1, 2, 3, 4],
    "progress-dropped": [],
    "progress-byte": [1],
    "progress-moved": [],
}
ARTEFACTS = {"artefact-swapped": "seal", "artefact-byte": "seal", "artefact-in-clear": "unsealed"}


@pytest.mark.parametrize("alias", ["ps", "hs"])
@pytest.mark.parametrize("mode", PROGRESS)
def test_progress_passes_in_its_order_and_to_its_call_or_not_at_all(stage: Stage, alias: str, mode: str) -> None:
    stage.order(alias, HONEST)
    stage.call(alias, "steps", token(), _meta=META)
    secret = token()
    stage.order(alias, mode)
    reply = stage.call(alias, "steps", secret, _meta=META)
    assert reply.verification["verdict"] == "verified"
    expected: list[Json] = [
        {"progressToken": "mine", "progress": step, "total": 4, "message": f"{secret}{step}"} for step in PROGRESS[mode]
    ]
    assert [note["params"] for note in reply.notifications] == expected
    assert secret.encode() not in stage.middles[alias].seen.read_bytes()


@pytest.mark.parametrize("mode", [mode for mode in PROGRESS if mode not in (HONEST, "progress-byte")])
def test_of_a_plain_call_no_word_passes_whoever_put_it_there(stage: Stage, mode: str) -> None:
    secret = token()
    stage.order("pp", HONEST)
    stage.call("pp", "steps", secret, _meta=META)
    stage.order("pp", mode)
    reply = stage.call("pp", "steps", secret, _meta=META)
    assert secret.encode() not in reply.raw


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway before one server that has resources and takes sealed calls only."""
    folder = tmp_path_factory.mktemp("reading")
    with Cast(folder) as cast:
        other = ready(cast.server("honest"))
        middle = Middle.at(folder, "notes")
        settings: Json = {"seal": "require", "timeout": 20, "prefix": "always"}
        entry: Json = on_pipe(middle, other, **settings)
        entry["args"] += ["--require-sealed", "--notes"]
        with StdioClient(written(folder, {"notes": entry}), folder / "home", folder / "stderr") as client:
            client.request("tools/list")
            yield Stage(client, folder / "home", folder / "stderr", {"notes": middle})


def read(stage: Stage, uri: str) -> Reply:
    return stage.client.request("resources/read", {"uri": uri})


@pytest.mark.parametrize("mode", ARTEFACTS)
def test_a_resource_is_read_sealed_and_swapped_for_no_other(reading: Stage, mode: str) -> None:
    first, second, plant = token(), token(), token()
    reading.order("notes", HONEST)
    honest = read(reading, f"note://{first}")
    assert honest.result["contents"][0]["text"] == f"content of note://{first}"
    assert honest.verification["verdict"] == "verified"
    reading.order("notes", mode, plant=plant)
    refused = read(reading, f"note://{second}")
    assert refused.error["data"]["com.etmcp/verification"]["code"] == ARTEFACTS[mode]
    for word in (first, second, plant):
        assert word.encode() not in refused.raw
    seen = reading.middles["notes"].seen.read_bytes()
    assert first.encode() not in seen
    assert second.encode() not in seen


def test_what_must_be_sealed_is_not_used_where_it_cannot_be(tmp_path: Path) -> None:
    """`"seal": "require"` before a server that proves nothing, and before one that stops offering it."""
    lean: Any = {"command": sys.executable, "args": [str(ACTORS / "unproven.py")], "etmcp": {"seal": "require"}}
    with StdioClient(written(tmp_path, {"lean": lean}), tmp_path / "home", tmp_path / "stderr") as client:
        states = client.request("tools/list").result["_meta"]["com.etmcp/servers"]
        assert "[unattested]" in states["lean"]
        assert client.request("tools/list").result["tools"] == []
        secret = token()
        refused = client.request("tools/call", {"name": "echo", "arguments": {"text": secret}})
        assert "error" in refused.response or code_of(refused) == "unattested"
        assert secret.encode() not in refused.raw
