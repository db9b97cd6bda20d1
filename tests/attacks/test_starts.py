"""What can be wrong before the first call: who the server is, what it can do, what it offers. One gateway, many."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.stage import HONEST, Cast, Middle, Stage, at, code_of, direct, on_pipe, ready, token, written
from tests.support.rawclient import Json, StdioClient

# Alias: how its server is tampered with from the start.
FROM_THE_START = {
    "renamed": "server-renamed",
    "dropped": "extension-dropped",
    "lowered": HONEST,
    "redefined": "definition-changed",
    "unlisted": "list-error",
    "undiscovered": "discover-error",
    "drifting": HONEST,
    "silent": HONEST,
}
REQUIRED: Json = {"require": "executor-attested", "timeout": 20}


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with Cast(tmp_path_factory.mktemp("starts")) as cast:
        yield cast


@pytest.fixture(scope="module")
def servers(cast: Cast) -> dict[str, Json]:
    starting = cast.server("honest"), cast.server("honest")
    real, other = map(ready, starting)
    middle = Middle.at(cast.folder, "drifting", HONEST)
    servers = {
        alias: on_pipe(Middle.at(cast.folder, alias, mode), real, **REQUIRED)
        for alias, mode in FROM_THE_START.items()
        if alias != "drifting"
    }
    del servers["lowered"]["etmcp"]["require"]
    servers["silent"]["etmcp"]["timeout"] = 1
    return servers | {
        "drifting": at(cast.proxy(middle, real, other), **REQUIRED),
        "selfmade": at(other, trusted=False, **REQUIRED),
        "untrusted": at(other, trusted=False),
        "demanding": direct("--require-sealed", seal=False, **REQUIRED),
        "sealing": direct("--require-sealed", **REQUIRED),
    }


@pytest.fixture(scope="module")
def starts(cast: Cast, servers: dict[str, Json]) -> Iterator[Stage]:
    home, stderr = cast.folder / "home", cast.folder / "stderr"
    middles = {alias: Middle(*files(cast.folder, alias)) for alias in FROM_THE_START}
    with StdioClient(written(cast.folder, servers), home, stderr) as client:
        yield Stage(client, home, stderr, middles)
    assert not stderr.read_bytes()


def files(folder: Path, alias: str) -> tuple[Path, Path]:
    return folder / "middle" / f"{alias}.order", folder / "middle" / f"{alias}.seen"


def states(stage: Stage) -> tuple[dict[str, str], bytes]:
    reply = stage.client.request("tools/list")
    return reply.result["_meta"]["com.etmcp/servers"], reply.raw


def test_a_server_under_another_name_is_refused(starts: Stage) -> None:
    refused = starts.call("renamed", "echo", token())
    assert code_of(refused) == "server"
    assert b"firstrenamed" not in refused.raw


@pytest.mark.parametrize(("alias", "code"), [("dropped", "unattested"), ("selfmade", "root")])
def test_a_required_proof_that_is_not_offered_closes_the_server(starts: Stage, alias: str, code: str) -> None:
    told, raw = states(starts)
    assert f"[{code}]" in told[alias]
    assert f'"{alias}_echo"'.encode() not in raw
    assert starts.call(alias, "echo", "x").error["message"].count(alias)


def test_receipts_under_a_key_that_nobody_trusts_are_claims_and_ours_says_observed(starts: Stage) -> None:
    reply = starts.call("untrusted", "echo", "hello")
    verdict = reply.verification
    assert (verdict["verdict"], verdict["kind"], verdict["assurance"]) == ("observed", "observer-attested", "none")
    assert b"executor-attested" not in reply.raw


def test_a_definition_that_differs_from_the_executors_is_refused(starts: Stage) -> None:
    refused = starts.call("redefined", "echo", token())
    assert code_of(refused) == "definition"
    assert starts.call("redefined", "other", "x").verification["verdict"] == "verified"


@pytest.mark.parametrize("alias", ["unlisted", "undiscovered"])
def test_an_error_before_any_call_brings_no_word_of_the_wire_to_the_client(starts: Stage, alias: str) -> None:
    told, raw = states(starts)
    assert told[alias].startswith("failed")
    assert starts.found([f"first{alias}"], raw) == []


def test_a_server_that_takes_sealed_calls_only_refuses_plain_ones(starts: Stage) -> None:
    assert code_of(starts.call("demanding", "echo", token())) == "unsealed"
    assert starts.call("sealing", "echo", "x").verification["verdict"] == "verified"


def test_an_answer_that_is_held_back_is_a_timeout_and_the_next_call_goes_on(starts: Stage) -> None:
    starts.control("silent")
    secret, plant = token(), token()
    starts.order("silent", "withheld", plant=plant)
    late = starts.call("silent", "echo", secret)
    assert "no answer to tools/call in time" in late.result["content"][0]["text"]
    assert starts.found([secret, plant], late.raw) == []
    starts.control("silent")


def test_a_definition_that_drifts_is_blocked_and_its_neighbour_is_not(starts: Stage) -> None:
    starts.control("drifting")
    plant = token()
    starts.order("drifting", "definition-changed", plant=plant)
    told, raw = states(starts)
    assert told["drifting"] == "ready, with unapproved changes"
    assert plant.encode() not in raw
    secret = token()
    refused = starts.call("drifting", "echo", secret)
    assert code_of(refused) == "drift"
    assert secret.encode() not in starts.middles["drifting"].seen.read_bytes()
    assert plant.encode() not in refused.raw
    assert starts.call("drifting", "other", "x").verification["verdict"] == "verified"
    starts.order("drifting", HONEST)
    assert states(starts)[0]["drifting"] == "ready"
    starts.control("drifting")


def test_a_kind_that_was_pinned_cannot_be_lowered_by_dropping_the_extension(
    starts: Stage, cast: Cast, servers: dict[str, Json]
) -> None:
    starts.control("lowered")
    starts.order("lowered", "extension-dropped", plant=token())
    again = cast.folder / "again"
    again.mkdir()
    config = written(again, {"lowered": servers["lowered"]})
    with StdioClient(config, starts.home, again / "stderr") as client:
        stage = Stage(client, starts.home, again / "stderr")
        secret = token()
        refused = client.request("tools/call", {"name": "echo", "arguments": {"text": secret}})
        assert code_of(refused) == "kind"
        assert stage.found([secret], refused.raw) == []
        assert client.request("tools/list").result["tools"] == []
    assert secret.encode() not in files(cast.folder, "lowered")[1].read_bytes()
