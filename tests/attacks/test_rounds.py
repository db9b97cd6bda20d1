"""A call of several rounds: what the user answered, and which round it continues, cannot be changed on the wire."""

from typing import Any

import pytest

from tests.attacks.stage import HONEST, Stage, code_of, token
from tests.support.rawclient import Json, Reply

ABLE: Json = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


def ask(stage: Stage, alias: str, text: str, **round_: Any) -> Reply:
    return stage.call(alias, "ask", text, _meta=ABLE, **round_)


def begun(stage: Stage, alias: str, text: str) -> Reply:
    stage.order(alias, HONEST)
    reply = ask(stage, alias, text)
    assert reply.result["resultType"] == "input_required"
    assert reply.result["inputRequests"]["q"]["method"] == "elicitation/create"
    assert reply.verification["verdict"] == "verified"
    return reply


def answered(first: Reply, note: str) -> Json:
    response = {"action": "accept", "content": {"ok": True, "note": note}}
    return {"inputResponses": {"q": response}, "requestState": first.result["requestState"]}


@pytest.mark.parametrize("alias", ["pp", "ps", "hp", "hs"])
def test_the_second_round_continues_the_first_and_is_verified(stage: Stage, alias: str) -> None:
    text, note = token(), token()
    last = ask(stage, alias, text, **answered(begun(stage, alias, text), note))
    assert last.verification["verdict"] == "verified"
    assert note in last.result["content"][0]["text"]
    if alias in ("ps", "hs"):
        seen = stage.middles[alias].seen.read_bytes()
        assert note.encode() not in seen
        assert text.encode() not in seen


@pytest.mark.parametrize("alias", ["pp", "hp"])
@pytest.mark.parametrize("mode", ["input-responses", "request-state"])
def test_an_answer_of_the_user_that_was_changed_is_refused(stage: Stage, alias: str, mode: str) -> None:
    text, note, plant = token(), token(), token()
    first = begun(stage, alias, text)
    stage.order(alias, mode, plant=plant)
    refused = ask(stage, alias, text, **answered(first, note))
    assert code_of(refused) == "params"
    assert stage.found([note, plant], refused.raw) == []


@pytest.mark.parametrize(("alias", "code"), [("pp", "round"), ("hp", "round"), ("ps", "seal"), ("hs", "seal")])
def test_a_round_that_is_bent_to_another_dialogue_is_refused(stage: Stage, alias: str, code: str) -> None:
    mine, other, note = token(), token(), token()
    first, foreign = begun(stage, alias, mine), begun(stage, alias, other)
    stage.order(alias, "header-previous", plant=note, previous=foreign.verification["receiptId"])
    refused = ask(stage, alias, mine, **answered(first, note))
    assert code_of(refused) == code
    assert stage.found([note], refused.raw) == []
    stage.control(alias)


@pytest.mark.parametrize(("alias", "code"), [("pp", "result"), ("hp", "result"), ("ps", "seal"), ("hs", "seal")])
def test_a_question_to_the_user_that_was_changed_is_never_asked(stage: Stage, alias: str, code: str) -> None:
    text, plant = token(), token()
    stage.order(alias, "question" if code == "result" else "sealed-byte", plant=plant)
    refused = ask(stage, alias, text)
    assert code_of(refused) == code
    assert stage.found([text, plant], refused.raw) == []
