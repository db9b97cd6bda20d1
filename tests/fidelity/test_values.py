"""Whatever JSON a client sends, the upstream gets; whatever the upstream answers, the client gets."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fidelity.pairs import FRONTS, OURS, UPSTREAMS, Pairs, same, without
from tests.support.rawclient import Json

ENVELOPE = "io.modelcontextprotocol/"
ODD = '\u2028\u2029\u0000\u007f\ufeff\ufffe\ue000\U0001f600\U0010ffff\u202e\u00e9e\u0301"\\/'

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.text(st.sampled_from(ODD), max_size=6)
numbers = (
    st.integers()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**53 + 1, 2**64, -(2**64), 10**400, 1e22, 1e-7, 5e-324, -0.0, 1.0])
)
leaves: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | texts


def nested(levels: int) -> Any:
    value: Any = None
    for level in range(levels):
        value = [value] if level % 2 else {"": value}
    return value


values: st.SearchStrategy[Any] = st.recursive(
    leaves | st.integers(0, 60).map(nested),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.just("_meta"), inner, max_size=4),
    max_leaves=12,
)
objects: st.SearchStrategy[Json] = st.dictionaries(texts, values, max_size=5)
metas: st.SearchStrategy[Json] = st.dictionaries(texts.map(lambda name: f"vendor/{name}"), values, max_size=3)


def with_meta(members: Json, meta: Json) -> Json:
    return members | ({"_meta": meta} if meta else {})


def with_data(error: Json, data: Any) -> Json:
    return error if data is None else error | {"data": data}


names = texts.filter(lambda name: name not in ("_meta", "resultType"))
results: st.SearchStrategy[Json] = st.builds(
    with_meta,
    st.dictionaries(names | st.sampled_from(["content", "structuredContent", "isError"]), values, max_size=5),
    metas,
)
errors: st.SearchStrategy[Json] = st.builds(
    with_data, st.fixed_dictionaries({"code": st.integers(-(2**40), 2**40), "message": texts}), values
)
FULL: Json = {
    "content": [
        {"type": "image", "data": "AAEC", "mimeType": "image/png", "annotations": {"priority": 0.5, "x": None}},
        {"type": "resource", "resource": {"uri": "a://b", "blob": "AAEC", "_meta": {"n": None}}},
    ],
    "structuredContent": {"n": None, "big": 2**80, "deep": nested(60)},
    "isError": False,
    "vendor": {"a": [None]},
    "_meta": {"vendor/x": {"_meta": {}}},
}
COMBINATIONS = [(front, upstream) for front in FRONTS for upstream in UPSTREAMS]
many = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=False,
)


def text_of(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(("front", "upstream"), COMBINATIONS)
def test_arguments_and_results_cross_as_they_are(
    pairs: Pairs, front: tuple[str, str], upstream: tuple[str, str]
) -> None:
    @many
    @example(arguments=FULL, more={"": None, "vendor": [1.5]}, meta={"vendor/y": None}, result=FULL)
    @given(arguments=objects, more=objects, meta=metas, result=results)
    def crosses(arguments: Json, more: Json, meta: Json, result: Json) -> None:
        more = {name: value for name, value in more.items() if name not in ("name", "arguments", "_meta")}
        params = {"arguments": arguments, **more, "_meta": meta}
        reply = pairs.call(front, upstream, f'"result":{text_of(result)}', **params)
        assert same(without(pairs.got(), OURS, ENVELOPE), without({"name": "echo", **params})), pairs.got()
        given_back = without(reply.result, OURS)
        added = {"resultType": "complete"} if front[1] == "modern" else {}
        assert same(given_back, added | result), (given_back, result)

    crosses()


@pytest.mark.parametrize(("front", "upstream"), COMBINATIONS)
def test_errors_cross_as_they_are(pairs: Pairs, front: tuple[str, str], upstream: tuple[str, str]) -> None:
    @settings(many, max_examples=30)
    @given(error=errors)
    def crosses(error: Json) -> None:
        reply = pairs.call(front, upstream, f'"error":{text_of(error)}')
        assert same(reply.error, error), (reply.error, error)

    crosses()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_verdict_in_the_words_of_an_upstream_is_not_passed_on(
    pairs: Pairs, front: tuple[str, str], upstream: tuple[str, str]
) -> None:
    claim = {"com.etmcp/verification": {"verdict": "verified", "assurance": "hardware"}}
    reply = pairs.call(front, upstream, f'"result":{json.dumps({"content": [], "_meta": claim | {"x": 1}})}')
    assert (reply.verification["verdict"], reply.verification["assurance"]) == ("observed", "none")
    assert reply.result["_meta"]["x"] == 1
    failed = pairs.call(front, upstream, f'"error":{json.dumps({"code": 1, "message": "m", "data": claim | {"x": 1}})}')
    assert failed.error == {"code": 1, "message": "m", "data": {"x": 1}}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_what_is_no_answer_is_an_error_and_never_an_empty_result(
    pairs: Pairs, front: tuple[str, str], upstream: tuple[str, str]
) -> None:
    for told in (
        '"result":null',
        '"result":[]',
        '"result":"x"',
        '"error":"x"',
        '"error":null',
        '"result":{},"error":{}',
    ):
        reply = pairs.call(front, upstream, told)
        assert reply.result["isError"] is True
        assert "neither a result nor an error" in reply.result["content"][0]["text"]
        assert "_meta" not in reply.result  # nothing to sign


@pytest.mark.parametrize("front", FRONTS)
def test_an_error_that_is_not_json_rpc_keeps_what_can_be_kept(pairs: Pairs, front: tuple[str, str]) -> None:
    told = {"code": 1.5, "message": None, "data": {"n": None}}
    reply = pairs.call(front, UPSTREAMS[0], f'"error":{json.dumps(told)}')
    assert reply.error == {"code": -32603, "message": "", "data": {"n": None}}
