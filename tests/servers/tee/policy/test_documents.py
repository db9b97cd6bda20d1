"""What is no policy is refused in words that name the place, and by one kind of error only."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.tee.policy import BUILT_IN, BadPolicy, read_policy, read_unsigned
from servers.tee.policy.bounds import Bounds
from servers.tee.sandbox import Limits
from tests.servers.tee.policy.made import SMALLEST, read

AT_LEISURE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MUST = 'this one must say "kind": "execution"'
RULE = {"scheme": "https", "host": "a.example", "ports": [443]}
GRANT = {"path": "/srv/a", "guest": "/a"}
HEADER = {"name": "key", "header": {"host": "a.example", "name": "Authorization"}}

BAD = [json.loads(line) for line in Path(__file__).with_name("bad.jsonl").read_text().splitlines()]
"""Each `members` beside what a document needs, and what must be `told`."""


@pytest.mark.parametrize("row", BAD, ids=[row["told"][:70] for row in BAD])
def test_a_bad_member_is_named_with_what_is_wrong(row: dict[str, Any]) -> None:
    with pytest.raises(BadPolicy) as raised:
        read(**row["members"])
    assert str(raised.value) == row["told"]


TEXTS: list[tuple[bytes, str]] = [
    (b"", "document: the policy file: Expecting value at character 0"),
    (b"[]", "document: the policy file is not an object"),
    (b"\xff{}", "document: the policy file: byte 0 is not UTF-8"),
    (b'{"kind":"execution","kind":"execution"}', "document: the policy file: an object names one key twice"),
    (b'{"limits":{"wallSeconds":NaN}}', "document: the policy file: NaN is not JSON"),
    (b'{"limits":{"wallSeconds":1e999}}', "document: the policy file: a number is too large for a double"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "document: the policy file: nested deeper than 32 levels"),
    (b'{"a":' * 9999, "document: the policy file: nested deeper than 32 levels"),
    (b'{"a":"\\ud800"}', "document: the policy file: a string holds half of a surrogate pair"),
    (b'{"a":' + b"9" * 5000 + b"}", "document: the policy file: an integer has more digits than can be read"),
    (b" " * 600_000, "document: the policy file is longer than 524288 bytes"),
    (b"{}", f"document: the policy says no kind; {MUST}"),
    (b'{"kind":"appraisal","version":1}', f"document: the policy says kind 'appraisal'; {MUST}"),
    (b'{"kind":"execution"}', 'document: the policy must say "version": 1'),
    (b'{"kind":"execution","version":true}', 'document: the policy must say "version": 1'),
    (b'{"kind":"execution","version":2}', 'document: the policy must say "version": 1'),
    (b'{"kind":"execution","version":1}', "tier: is missing"),
    (b'{"payloadType":1}', "document: the envelope needs a string of at most 200 characters as 'payloadType'"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS, ids=[message[-60:] for _, message in TEXTS])
def test_text_without_one_meaning_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        read_unsigned(text)
    assert str(raised.value) == message


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(BadPolicy) as raised:
        read(extra=1, limits={"depth": 0}, hostCalls=[""])
    assert [where for where, _ in raised.value.problems] == ["hostCalls[0]", "limits.depth", "extra"]
    assert str(raised.value).endswith("(and 2 more)")


def test_silence_grants_nothing_and_means_the_default_limits() -> None:
    policy = read()
    assert policy.limits() == Limits()
    granted = [policy.network.rules, policy.files.grants, policy.secrets, policy.executables, policy.host_calls]
    assert granted == [()] * 5
    assert read(tier="process") == BUILT_IN


def test_a_document_of_what_was_read_reads_as_the_same_policy() -> None:
    rules = [RULE | {"methods": ["POST", "GET"]}]
    policy = read(network={"rules": rules}, files={"grants": [GRANT]}, secrets=[HEADER], limits={"wallSeconds": 5})
    again = read_unsigned(json.dumps(policy.document()).encode())
    assert (again, again.digest()) == (policy, policy.digest())


def test_spelling_and_order_are_not_in_the_digest() -> None:
    rules = [RULE | {"ports": [443, 80]}], [RULE | {"ports": [80, 443], "maxBytes": 16 << 20}]
    one = read(hostCalls=["b", "a"], limits={"wallSeconds": 20}, network={"rules": rules[0]})
    other = read(network={"rules": rules[1]}, hostCalls=["a", "b"])
    assert one.digest() == other.digest()
    assert one.digest() != read(hostCalls=["a"]).digest()


def test_every_limit_of_a_job_is_in_the_document() -> None:
    assert list(Bounds.model_fields) == [field.name for field in fields(Limits)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.dictionaries(
    st.sampled_from([*BUILT_IN.document(), "extra"]),
    json_values
    | st.fixed_dictionaries({"rules": st.lists(st.fixed_dictionaries({"host": json_values, "ports": json_values}))})
    | st.fixed_dictionaries({"grants": st.lists(st.fixed_dictionaries({"path": json_values, "guest": json_values}))}),
)


@AT_LEISURE
@given(members)
def test_only_one_error_comes_out_of_nearly_right_documents(some: dict[str, Any]) -> None:
    told = ""
    try:
        read_unsigned(json.dumps(SMALLEST | some).encode())
    except BadPolicy as e:
        told = str(e)
    assert told.isprintable()


@AT_LEISURE
@given(st.binary())
def test_only_one_error_comes_out_of_any_bytes(data: bytes) -> None:
    with pytest.raises(BadPolicy):
        read_unsigned(data)
    with pytest.raises(BadPolicy):
        read_policy(data, [bytes(32)])
