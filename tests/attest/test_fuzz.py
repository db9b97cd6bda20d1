"""Whatever goes into a parser, only an `AttestError` comes out, also where the input is nearly right."""

import base64
import json
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import wire
from attest.bundle import Bundle
from attest.call import open_reply, plain_request, read_request
from attest.canonical import canonical, parse
from attest.dsse import Envelope
from attest.errors import AttestError
from attest.evidence import Binding, Evidence, key_id
from attest.identity import Request, sign_assertion, verify_assertion
from attest.language import load
from attest.manifest import Manifest
from attest.receipt import Receipt
from attest.schemes.software import MEDIA_TYPE, SoftwareScheme
from attest.seal import SealingKey
from attest.statement import Statement
from attest.trust import FORMAT, load_policy, load_trust
from tests.attest.made import (
    ANCHORS,
    BINDING,
    MANIFEST,
    NOW,
    RESULT_SALT,
    STATEMENT,
    bundle,
    evidence,
    raw,
    receipt,
    sign,
    signing_key,
    verify,
)
from tests.attest.test_call import HEADER, KEY_ID, SALT

KEY = SealingKey()
ASKED = Request("tools/call", {"name": "a"})
ASSERTED = sign_assertion(signing_key("observer"), "alice", "here", ASKED, now=NOW, nonce="0" * 32)
EVIDENCE = wire.dump_evidence(evidence(), BINDING).encode()
POLICY = {"allOf": [{"anyOf": [{"minAssurance": "software"}]}, {"measurement": {"register": "r", "values": ["v"]}}]}
TRUST = {"format": FORMAT, "anchors": {"software": [raw("attester").hex()]}}


def scheme(data: bytes) -> object:
    return SoftwareScheme().open(Evidence(MEDIA_TYPE, data), ANCHORS, NOW)


def resource(data: bytes) -> object:
    return wire.load_evidence(data.decode("utf-8", "surrogateescape"))


FROM_BYTES: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "bundle": (Bundle.decode, bundle().encode()),
    "statement": (Statement.decode, STATEMENT.encode()),
    "manifest": (Manifest.decode, MANIFEST.encode()),
    "software evidence": (scheme, evidence().body),
    "evidence resource": (resource, EVIDENCE),
    "trust": (load_trust, canonical(TRUST)),
    "policy": (load_policy, canonical({"kind": "appraisal", "version": 1, "accept": POLICY})),
    "json": (parse, bundle().encode()),
}
LOOSE = ("json", "policy", "trust", "evidence resource")
"""Those that need not be in canonical form."""
FROM_JSON: dict[str, tuple[Callable[[Any], object], Any]] = {
    "receipt": (Receipt.from_json, receipt().to_json()),
    "envelope": (Envelope.from_json, receipt().envelope.to_json()),
    "binding": (Binding.from_json, BINDING.to_json()),
    "cmw": (Evidence.from_cmw, evidence().to_cmw()),
    "policy": (load, POLICY),
    "call": (
        lambda value: read_request("tools/call", {"_meta": {wire.CALL: value}}, {KEY_ID: KEY}),
        plain_request(HEADER, {}, SALT)["_meta"][wire.CALL],
    ),
    "identity": (lambda value: verify_assertion(value, [raw("observer")], "here", ASKED, NOW), ASSERTED),
    "reply": (lambda value: open_reply(HEADER, {"_meta": {wire.SEALED: value}}, KEY), "AAAA"),
}
TOKENS = st.sampled_from(
    [*(bytes([token]) for token in b'"{}[]:,\\0-'), b"\\ud800", b"NaN", b"1e999", b"\xff", b"\xc3\xa9", b"null"]
)
TEXT = st.text() | st.text("\ud800\udfff\u00e9=+/_-Aa0\x00\n", max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.integers(2**52, 2**2000) | st.floats() | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=6
)


def refused(parser: Callable[[Any], object], value: Any) -> bool:
    """Whether the parser refuses; any exception but an `AttestError` with a code fails the test."""
    try:
        parser(value)
    except AttestError as e:
        return bool(e.code)
    return False


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every member of a JSON value, itself included."""
    yield here
    for name in names(value):
        yield from paths(value[name], (*here, name))


def names(value: Any) -> Iterator[Any]:
    """The keys of an object, the indices of an array."""
    if isinstance(value, dict):
        yield from cast(dict[str, Any], value)
    elif isinstance(value, list):
        yield from range(len(cast(list[Any], value)))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with the member at `path` replaced."""
    if not path:
        return new
    changed = copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def mutated(good: Any) -> st.SearchStrategy[Any]:
    """`good` with one member replaced, or one added to one of its objects."""
    places = list(paths(good))
    objects = [(*path, name) for path in places for name in ("extra", "") if isinstance(at(good, path), dict)]
    replaced = st.builds(put, st.just(good), st.sampled_from(places), JSON)
    return replaced | st.builds(put_new, st.just(good), st.sampled_from(objects or [()]), JSON)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def put_new(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    return put(value, path[:-1], at(value, path[:-1]) | {path[-1]: new}) if path else new


@pytest.mark.parametrize("name", FROM_BYTES)
@given(data=st.binary() | st.lists(TOKENS).map(b"".join) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused(name: str, data: bytes) -> None:
    parser, good = FROM_BYTES[name]
    assert refused(parser, data) or name == "json"
    assert not refused(parser, good)


@pytest.mark.parametrize("name", FROM_BYTES)
@settings(max_examples=200)
@given(data=st.data())
def test_nearly_right_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    parser, good = FROM_BYTES[name]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 8)))
    changed = good[:start] + data.draw(st.binary(max_size=3) | TOKENS) + good[end:]
    assert refused(parser, changed) or name in LOOSE or canonical(parse(changed)) == changed


@pytest.mark.parametrize("name", FROM_BYTES)
@settings(max_examples=200)
@given(data=st.data())
def test_nearly_right_objects_are_read_or_refused(name: str, data: st.DataObject) -> None:
    parser, good = FROM_BYTES[name]
    changed = json.dumps(data.draw(mutated(parse(good))), separators=(",", ":"), sort_keys=True).encode()
    assert refused(parser, changed) or name in LOOSE or canonical(parse(changed)) == changed


@pytest.mark.parametrize("name", FROM_JSON)
@settings(max_examples=200)
@given(data=st.data())
def test_any_and_nearly_right_json_is_read_or_refused(name: str, data: st.DataObject) -> None:
    parser, good = FROM_JSON[name]
    assert refused(parser, good) == (name == "reply")
    value = data.draw(JSON | mutated(good))
    assert refused(parser, value) or value is not None


@settings(max_examples=300)
@given(mutated(parse(STATEMENT.encode())))
def test_whatever_the_executor_signs_the_verdict_is_given(said: Any) -> None:
    payload = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8", "replace")
    verdict = verify(bundle(receipt=Receipt(sign(payload), RESULT_SALT)).encode())
    assert verdict.steps[1].status == "passed"
    digests = said["subject"] if verdict.outcome == "verified" else None
    assert digests == (parse(STATEMENT.encode())["subject"] if digests else None)


@settings(max_examples=300)
@given(mutated(parse(base64.b64decode(parse(evidence().body)["payload"]))))
def test_whatever_the_attester_signs_the_verdict_is_given(said: Any) -> None:
    payload = json.dumps(said).encode()
    envelope = sign(payload, name="attester", key=key_id(raw("attester")), kind=MEDIA_TYPE)
    shown = Evidence(MEDIA_TYPE, canonical(envelope.to_json()))
    verdict = verify(bundle(speaker=(shown, BINDING)).encode())
    assert verdict.steps[2].status == "passed"
    assert verdict.assurance in ("none", "software")


@given(JSON)
def test_whatever_a_peer_sends_the_message_helpers_read_it(value: Any) -> None:
    message = {"_meta": value, "data": value}
    assert wire.meta_of(message, wire.RECEIPT) in (None, value)
    assert "data" in wire.without_ours(message)
    rest, receipt_ = wire.error_without_receipt(message)
    assert (rest, receipt_) == (message, None) or isinstance(value, dict)
