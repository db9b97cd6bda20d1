"""The call header: plain and sealed requests as the executor reads them, and the sealed reply."""

from dataclasses import replace
from typing import Any

import pytest

import attest.seal
from attest import wire
from attest.call import (
    Call,
    CallHeader,
    Sealing,
    open_progress,
    open_reply,
    plain_request,
    read_request,
    sealed_request,
)
from attest.canonical import canonical
from attest.encoding import b64encode
from attest.errors import SealError
from attest.evidence import key_id
from attest.seal import PUBLIC_SIZE, REQUEST, PublicKey, SealingKey, label
from tests.attest.made import octets, raw, refusal

EXECUTOR, REPLY_KEY = SealingKey(), SealingKey()
PUBLIC = PublicKey(EXECUTOR.public)
KEY_ID = key_id(raw("executor"), EXECUTOR.public)
SALT = octets("salt", 32)
HEADER = CallHeader("tools/call", KEY_ID, "0a" * 32, "0b" * 16, 1_800_000_000_000, "client", "0c" * 32)
PARAMS: wire.Json = {
    "name": "add",
    "arguments": {"a": 2**70, "b": "\u00e9"},
    "_meta": {"progressToken": 1, "com.etmcp/receipt": "strip me"},
}
META = {"progressToken": 1}


def plain() -> wire.Json:
    return plain_request(HEADER, PARAMS, SALT)


def sealed(header: CallHeader = HEADER) -> wire.Json:
    return sealed_request(header, PARAMS, SALT, PUBLIC, REPLY_KEY)


def read(params: wire.Json, method: str = "tools/call", key: SealingKey = EXECUTOR) -> Call:
    return read_request(method, params, {KEY_ID: key})


def sealing(header: CallHeader = HEADER) -> Sealing:
    """How the executor seals what it answers to a call under this header."""
    found = read(sealed()).sealing
    assert found is not None
    return replace(found, header=header)


def with_header(params: wire.Json, **members: Any) -> wire.Json:
    header = wire.meta_of(params, wire.CALL) | members
    return wire.with_meta(params, wire.CALL, {name: value for name, value in header.items() if value != "absent"})


def with_body(body: Any) -> wire.Json:
    """A sealed request with another plaintext."""
    data = body if isinstance(body, bytes) else canonical(body)
    return with_header(sealed(), sealed=b64encode(PUBLIC.seal(label(REQUEST, HEADER.bytes()), data)))


@pytest.mark.parametrize("request_", [plain(), sealed()])
def test_the_executor_reads_what_the_caller_asked(request_: wire.Json) -> None:
    call = read(request_)
    assert call.header == HEADER
    assert call.params == {"name": "add", "arguments": PARAMS["arguments"], "_meta": META}
    assert call.params_salt == SALT


def test_a_plain_call_has_nowhere_to_seal_its_reply_and_a_sealed_one_has() -> None:
    assert read(plain()).sealing is None
    assert sealing().key.raw == REPLY_KEY.public


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}])
def test_params_without_one_meaning_are_refused_before_anything_runs(value: Any) -> None:
    ambiguous = PARAMS | {"arguments": {"a": value}}
    assert refusal(read, plain_request(HEADER, ambiguous, SALT)) == "malformed"
    assert refusal(read, plain_request(HEADER, PARAMS | {"_meta": {"theirs": value}}, SALT)) == ""


def test_a_sealed_request_shows_neither_name_nor_arguments() -> None:
    request = sealed()
    assert set(request) == {"name", "_meta"}
    assert request["name"] == "sealed"
    assert set(request["_meta"]) == {"progressToken", "com.etmcp/receipt", "com.etmcp/call"}
    assert b'"add"' not in canonical(request)


def test_a_method_that_names_nothing_is_sealed_as_well() -> None:
    header = replace(HEADER, method="tools/list")
    request = sealed_request(header, {"cursor": "c"}, SALT, PUBLIC, REPLY_KEY)
    assert set(request) == {"_meta"}
    assert read(request, "tools/list").params == {"cursor": "c"}


@pytest.mark.parametrize(
    "changes",
    [
        {"keyId": "absent"},
        {"keyId": KEY_ID.upper()},
        {"nonce": "0a" * 31},
        {"nonce": 1},
        {"stream": "0b" * 32},
        {"issuedAt": -1},
        {"issuedAt": "1"},
        {"issuedAt": 1.0},
        {"clientNonce": "absent"},
        {"clientNonce": "c" * 257},
        {"clientNonce": 1},
        {"clientNonce": "\ud800"},
        {"previous": []},
        {"paramsSalt": "00"},
        {"paramsSalt": "absent"},
        {"method": "tools/call"},
        {"sealed": "AAAA"},
    ],
)
def test_a_plain_header_of_another_shape_is_malformed(changes: Any) -> None:
    assert refusal(read, with_header(plain(), **changes)) == "malformed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sealed": ""}, "seal"),
        ({"sealed": "AAAA"}, "seal"),
        ({"sealed": 1}, "seal"),
        ({"sealed": "\u00e9\u00e9\u00e9\u00e9"}, "seal"),
        ({"sealed": "AAA"}, "seal"),
        ({"sealed": None}, "malformed"),
        ({"sealed": "absent"}, "malformed"),
        ({"paramsSalt": SALT.hex()}, "malformed"),
        ({"keyId": "00" * 32}, "unknown-key"),
        ({"nonce": "0d" * 32}, "seal"),
        ({"stream": "0d" * 16}, "seal"),
        ({"issuedAt": HEADER.issued_at + 1}, "seal"),
        ({"clientNonce": None}, "seal"),
        ({"previous": None}, "seal"),
    ],
)
def test_every_member_of_the_header_is_bound_to_the_ciphertext(changes: Any, code: str) -> None:
    assert refusal(read, with_header(sealed(), **changes)) == code


def test_a_sealed_call_opens_for_no_other_method_or_key() -> None:
    assert refusal(read, sealed(), "prompts/get") == "seal"
    assert refusal(read, sealed(), key=SealingKey()) == "seal"
    assert refusal(read_request, "tools/call", sealed(), {"00" * 32: EXECUTOR}) == "unknown-key"


@pytest.mark.parametrize("value", [None, [], "header", {}, 1])
def test_what_is_no_header_is_malformed(value: Any) -> None:
    assert refusal(read, wire.with_meta(PARAMS, wire.CALL, value)) == "malformed"
    assert refusal(read, {"name": "add", "_meta": value}) == "malformed"


BODY: wire.Json = {"params": {"name": "add"}, "paramsSalt": SALT.hex(), "replyKey": b64encode(REPLY_KEY.public)}


BAD_BODIES: list[Any] = [
    b"",
    b"[]",
    b'{"params":{},"params":{}}',
    BODY | {"params": []},
    BODY | {"paramsSalt": ""},
    BODY | {"extra": 1},
    BODY | {"replyKey": ""},
    BODY | {"replyKey": b64encode(REPLY_KEY.public[:-1])},
    BODY | {"replyKey": b64encode(bytes(PUBLIC_SIZE + 1))},
    BODY | {"replyKey": b64encode(b"\xff" * PUBLIC_SIZE)},
    b'{"params":{"a":"\\ud800"}}',
    {name: value for name, value in BODY.items() if name != "params"},
]


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_sealed_body_of_another_shape_is_refused_before_anything_runs(body: Any) -> None:
    assert refusal(read, with_body(BODY)) == ""
    assert refusal(read, with_body(body)) == "seal"


def test_meta_inside_the_sealed_body_is_dropped_for_that_outside() -> None:
    call = read(with_body(BODY | {"params": {"name": "add", "_meta": {"inner": 1}}}))
    assert call.params == {"name": "add", "_meta": META}


@pytest.mark.parametrize("reply", [{"result": {"content": [], "n": 2**70}}, {"error": {"code": 1, "message": "m"}}])
def test_a_sealed_reply_opens_for_its_call_alone(reply: wire.Json) -> None:
    result = sealing().reply(reply)
    assert open_reply(HEADER, result, REPLY_KEY) == reply
    assert result["content"] == []
    assert result["resultType"] == "complete"
    assert refusal(open_reply, replace(HEADER, nonce="0d" * 32), result, REPLY_KEY) == "seal"
    assert refusal(open_reply, replace(HEADER, method="prompts/get"), result, REPLY_KEY) == "seal"
    assert refusal(open_reply, HEADER, result, SealingKey()) == "seal"


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        ("tools/call", {"content": []}),
        ("prompts/get", {"messages": []}),
        ("resources/read", {"contents": []}),
        ("completion/complete", {}),
    ],
)
def test_a_sealed_reply_looks_like_an_empty_result_of_its_method(method: str, shape: wire.Json) -> None:
    result = sealing(replace(HEADER, method=method)).reply({"result": {}})
    assert {name: value for name, value in result.items() if name != "_meta"} == shape | {"resultType": "complete"}


@pytest.mark.parametrize("result", [{}, {"content": []}, {"_meta": {wire.SEALED: 1}}, {"_meta": []}])
def test_an_unsealed_reply_to_a_sealed_call_is_refused(result: wire.Json) -> None:
    assert refusal(open_reply, HEADER, result, REPLY_KEY) == "unsealed"


@pytest.mark.parametrize(
    "reply", [{}, {"result": []}, {"result": None}, {"error": "e"}, {"result": {}, "error": {}}, {"result": {}, "a": 1}]
)
def test_a_sealed_reply_that_is_neither_result_nor_error_is_malformed(reply: wire.Json) -> None:
    result = sealing().reply(reply)
    assert refusal(open_reply, HEADER, result, REPLY_KEY) == "malformed"


@pytest.mark.parametrize("text", ["", "A", "\u00e9", "AAAA"])
def test_a_sealed_reply_that_is_no_ciphertext_is_refused(text: str) -> None:
    code = refusal(open_reply, HEADER, {"_meta": {wire.SEALED: text}}, REPLY_KEY)
    assert code == ("malformed" if text in ("A", "\u00e9") else "seal")


def test_sealing_to_a_key_that_is_none_is_an_error_of_ours() -> None:
    low_order = PublicKey(EXECUTOR.public[:1184] + bytes(32))
    with pytest.raises(SealError, match=r"^key"):
        sealed_request(HEADER, PARAMS, SALT, low_order, REPLY_KEY)


def test_all_codes_of_a_refused_call_are_known_to_the_gateway() -> None:
    assert {"malformed", "unknown-key", "seal", "unsealed"} <= wire.REFUSALS


def progressed(number: int, told: wire.Json, header: CallHeader = HEADER) -> wire.Json:
    return sealing(header).progress(number, told)


@pytest.mark.parametrize("told", [{"progress": 1}, {"progress": 0.5, "total": 2, "message": "\u00e9 now"}])
def test_sealed_progress_opens_in_its_place_of_its_call_alone(told: wire.Json) -> None:
    sent = progressed(7, told)
    assert (sent["progress"], set(sent)) == (7, {"progress", "_meta"})
    assert open_progress(HEADER, 7, sent, REPLY_KEY) == told
    for number in (6, 8):
        assert refusal(open_progress, HEADER, number, sent, REPLY_KEY) == "seal"
    assert refusal(open_progress, replace(HEADER, nonce="0d" * 32), 7, sent, REPLY_KEY) == "seal"
    assert refusal(open_progress, HEADER, 7, sent, SealingKey()) == "seal"
    assert refusal(open_reply, HEADER, sent, REPLY_KEY) == "seal"
    as_progress = sealing().reply({"result": {}})
    assert refusal(open_progress, HEADER, 7, as_progress, REPLY_KEY) == "seal"


@pytest.mark.parametrize("told", [{}, {"progress": "1"}, {"progress": True}, {"progress": 1, "log": "x"}])
def test_sealed_progress_of_another_shape_is_malformed(told: wire.Json) -> None:
    assert refusal(open_progress, HEADER, 1, progressed(1, told), REPLY_KEY) == "malformed"


@pytest.mark.parametrize("params", [{}, {"progress": 1}, {"_meta": {wire.SEALED: 1}}, {"_meta": {wire.SEALED: "A"}}])
def test_progress_that_is_not_sealed_is_malformed(params: wire.Json) -> None:
    assert refusal(open_progress, HEADER, 1, params, REPLY_KEY) == "malformed"


UNOPENED: dict[str, wire.Json] = {
    "another key": sealed_request(HEADER, PARAMS, SALT, PublicKey(REPLY_KEY.public), REPLY_KEY),
    "another header": with_header(sealed(), nonce="0d" * 32),
    "empty": with_header(sealed(), sealed=""),
    "too short": with_header(sealed(), sealed=b64encode(bytes(1135))),
    "cut": with_header(sealed(), sealed=wire.meta_of(sealed(), wire.CALL)["sealed"][:-8]),
    "no base64": with_header(sealed(), sealed="AAA"),
    "no text": with_header(sealed(), sealed=["A"]),
    **{f"body {number}": with_body(body) for number, body in enumerate(BAD_BODIES)},
}


class Observed:
    """The library's primitive, which notes how much each opening had to work on beyond the encapsulated key."""

    def __init__(self, suite: Any) -> None:
        self.encrypt, self._suite, self.openings = suite.encrypt, suite, list[int]()

    def decrypt(self, sealed: bytes, *args: Any, **more: Any) -> bytes:
        self.openings.append(len(sealed) - 1120)
        return self._suite.decrypt(sealed, *args, **more)


@pytest.mark.parametrize("what", UNOPENED)
def test_whatever_is_wrong_with_the_sealed_part_costs_one_opening_and_says_the_same(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = Observed(attest.seal._SUITE)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(attest.seal, "_SUITE", observed)
    with pytest.raises(SealError) as refused:
        read(UNOPENED[what])
    assert len(observed.openings) == 1
    assert observed.openings[0] >= 16  # enough to decapsulate and to check a tag
    assert (refused.value.code, refused.value.detail) == ("seal", "the sealed part does not open, or holds no call")
    assert refused.value.__suppress_context__
