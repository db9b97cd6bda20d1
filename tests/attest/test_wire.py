"""Which bytes the digests cover: everything but our own `_meta` keys, and of params no `_meta` at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest import wire
from attest.canonical import canonical

OURS = {"com.etmcp/receipt": 1, "com.etmcp/verification": 2, "com.etmcp/anything": 3}
THEIRS = {"progressToken": 1, "com.etmcp": 2, "com.etmcpx/receipt": 3}


@pytest.mark.parametrize(
    ("result", "covered"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 1, "_meta": OURS}, {"a": 1}),
        ({"a": 1, "_meta": {}}, {"a": 1}),
        ({"a": 1, "_meta": OURS | THEIRS}, {"a": 1, "_meta": THEIRS}),
        ({"a": 1, "_meta": [1]}, {"a": 1, "_meta": [1]}),
        ({"content": [{"_meta": OURS}]}, {"content": [{"_meta": OURS}]}),
    ],
)
def test_the_result_digest_covers_all_but_our_own_meta(result: wire.Json, covered: wire.Json) -> None:
    assert wire.covered_result(result) == canonical(covered)


def test_the_params_digest_covers_all_but_meta() -> None:
    params = {"name": "add", "arguments": {"_meta": 1}, "requestState": "s", "_meta": THEIRS}
    expected = b'{"arguments":{"_meta":1},"name":"add","requestState":"s"}'
    assert wire.covered_params(params) == expected


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_adding_our_keys_never_changes_what_is_covered(result: dict[str, Any], meta: dict[str, Any]) -> None:
    message = result | {"_meta": meta}
    assert wire.covered_result(wire.with_meta(message, wire.RECEIPT, {})) == wire.covered_result(message)
    assert wire.meta_of(wire.with_meta(message, wire.RECEIPT, 7), wire.RECEIPT) == 7


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {"com.etmcp/refusal": "busy"}}, {"data": [1]}])
def test_an_error_keeps_its_data_beside_the_receipt(data: wire.Json) -> None:
    error = {"code": -32602, "message": "m"} | data
    wrapped = wire.error_with_receipt(error, {"envelope": 1})
    assert wire.error_without_receipt(wrapped) == (error, {"envelope": 1})
    assert wire.REFUSAL not in wrapped["data"]


@pytest.mark.parametrize("error", [{"code": 1, "message": "m"}, {"code": 1, "data": {"a": 1}}, {"code": 1, "data": []}])
def test_an_error_without_receipt_stays_as_it_is(error: wire.Json) -> None:
    assert wire.error_without_receipt(error) == (error, None)


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("tools/call", {"name": "add"}, "add"),
        ("prompts/get", {"name": "greet"}, "greet"),
        ("resources/read", {"uri": "file:///a", "name": "add"}, None),
        ("completion/complete", {"name": "add"}, None),
        ("tools/call", {"name": 1}, None),
        ("tools/call", {}, None),
    ],
)
def test_the_target_is_the_tool_or_prompt_alone(method: str, params: wire.Json, target: str | None) -> None:
    assert wire.target_of(method, params) == target


@pytest.mark.parametrize(
    ("kind", "outcome"), [(None, "result"), ("complete", "result"), ("input_required", "input-required")]
)
def test_the_outcome_follows_the_result_type(kind: str | None, outcome: str) -> None:
    assert wire.outcome_of({} if kind is None else {"resultType": kind}) == outcome
