"""JSON without exactly one meaning is refused by name, in both directions, and everything else goes on."""

import pytest

from tests.fidelity.pairs import FRONTS, UPSTREAMS, Pairs, alias

AMBIGUOUS = {
    "duplicate-key": '{"a":1,"a":2}',
    "duplicate-key-deep": '{"x":[{"_meta":{"k":1,"\\u006b":2}}]}',
    "not-a-number": "NaN",
    "not-a-number-infinite": "-Infinity",
    "not-a-number-too-large": "1e999",
    "lone-surrogate": '"\\ud800"',
    "lone-surrogate-key": '{"\\udfff":1}',
    "integer-too-long": "9" * 5000,
    "too-deep": "[" * 200 + "]" * 200,
}
CODES = ("duplicate-key", "not-a-number", "lone-surrogate", "integer-too-long", "too-deep")


def code(case: str) -> str:
    return next(code for code in CODES if case.startswith(code))


def goes_on(pairs: Pairs, front: tuple[str, str], upstream: tuple[str, str]) -> None:
    reply = pairs.call(front, upstream, '"result":{"content":[],"n":1}', arguments={"n": 1})
    assert reply.result["n"] == 1


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", AMBIGUOUS)
def test_a_client_that_sends_it_is_told_its_name(pairs: Pairs, front: tuple[str, str], case: str) -> None:
    params = f'{{"name":"{alias(UPSTREAMS[0])}_echo","arguments":{{"v":{AMBIGUOUS[case]}}}}}'
    line = f'{{"jsonrpc":"2.0","id":990,"method":"tools/call","params":{params}}}'
    answer = pairs.clients[front].line(line.encode())
    assert f"[{code(case)}]" in answer["error"]["message"]
    goes_on(pairs, front, UPSTREAMS[0])


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_upstream_that_answers_it_fails_that_call_alone(
    pairs: Pairs, front: tuple[str, str], upstream: tuple[str, str]
) -> None:
    goes_on(pairs, front, upstream)
    process = (pairs.folder / "pid").read_text()
    for case, text in AMBIGUOUS.items():
        reply = pairs.call(front, upstream, f'"result":{{"content":[],"v":{text}}}')
        assert reply.result["isError"] is True
        told = reply.result["content"][0]["text"]
        assert code(case) in told
        goes_on(pairs, front, upstream)
        assert (pairs.folder / "pid").read_text() == process  # the server was not restarted for it


@pytest.mark.parametrize("front", FRONTS)
def test_bytes_that_are_no_json_are_refused_by_name(pairs: Pairs, front: tuple[str, str]) -> None:
    for line, name in ((b'{"jsonrpc":', "not-json"), (b'{"jsonrpc":"\xff"}', "not-utf8")):
        assert f"[{name}]" in pairs.clients[front].line(line)["error"]["message"]
    goes_on(pairs, front, UPSTREAMS[0])
