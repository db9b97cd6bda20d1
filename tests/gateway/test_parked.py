"""A call that waits between two rounds."""

import asyncio
from typing import Any

import pytest

from gateway.parked import Conversation
from gateway.upstream import DEAF, Downlink, Json, UpstreamUnavailable, refuse
from gateway.upstream.session import ClientFace

pytestmark = pytest.mark.anyio
FACE = ClientFace({"roots": {}, "elicitation": {}, "sampling": {}}, {})
ROOTS: Json = {"jsonrpc": "2.0", "id": 7, "method": "roots/list"}
NAME: Json = {"jsonrpc": "2.0", "id": 8, "method": "elicitation/create", "params": {"message": "?"}}


def _answers(interim: Json) -> Json:
    return {name: {} for name in interim["result"]["inputRequests"]}


async def both(down: Downlink) -> Json:
    one, two = await asyncio.gather(down.ask(ROOTS), down.ask(NAME))
    return {"result": {"one": one, "two": two}}


async def test_questions_are_handed_out_without_the_server_s_ids_until_all_are_answered() -> None:
    talk = Conversation(both, FACE)
    asked = await talk.round(None, DEAF, None)
    while len(asked["result"]["inputRequests"]) < 2:
        asked = await talk.round({}, DEAF, None)
    assert asked["result"]["inputRequests"] == {
        "q1": {"method": "roots/list"},
        "q2": {"method": "elicitation/create", "params": {"message": "?"}},
    }
    rest = await talk.round({"q2": {"action": "decline"}, "q9": {}, "nonsense": 1}, DEAF, None)
    assert set(rest["result"]["inputRequests"]) == {"q1"}
    assert not talk.done
    done = await talk.round({"q1": {"roots": []}}, DEAF, None)
    assert done == {"result": {"one": {"result": {"roots": []}}, "two": {"result": {"action": "decline"}}}}
    assert talk.done


@pytest.mark.parametrize("responses", [None, [], "q1", 3])
async def test_responses_of_another_shape_answer_nothing(responses: Any) -> None:
    talk = Conversation(both, FACE)
    await talk.round(None, DEAF, None)
    assert (await talk.round(responses, DEAF, None))["result"]["resultType"] == "input_required"
    await talk.close()


async def test_progress_comes_under_the_token_of_the_round_and_not_between_rounds() -> None:
    heard: list[Json] = []

    async def tell(message: Json) -> None:
        heard.append(message)

    async def work(down: Downlink) -> Json:
        for step in range(3):
            await down.tell({"method": "notifications/progress", "params": {"progressToken": 0, "progress": step}})
            await down.tell({"method": "notifications/progress"})  # not even that must break the call
            if step < 2:
                await down.ask(ROOTS)
        return {"result": {}}

    talk, down = Conversation(work, FACE), Downlink(tell, refuse)
    first = await talk.round(None, down, "a")
    second = await talk.round(_answers(first), down, None)
    await talk.round(_answers(second), down, "c")
    assert [message["params"]["progressToken"] for message in heard] == ["a", "c"]


async def test_what_the_call_raises_is_raised_in_the_round_and_asked_of_nobody_else() -> None:
    async def work(down: Downlink) -> Json:
        await down.ask(ROOTS)
        raise UpstreamUnavailable("x", "died", "restart it")

    talk = Conversation(work, FACE)
    await talk.round(None, DEAF, None)
    with pytest.raises(UpstreamUnavailable, match="died"):
        await talk.round({"q1": {}}, DEAF, None)


async def test_closing_cancels_the_call_and_its_questions() -> None:
    ended: list[str] = []

    async def work(down: Downlink) -> Json:
        try:
            return await down.ask(ROOTS)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    talk = Conversation(work, FACE)
    await talk.round(None, DEAF, None)
    await talk.close()
    assert ended == ["cancelled"]
    assert talk.done
