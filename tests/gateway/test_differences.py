"""Differences in words: nothing that a reader could miss is left out."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest import wire
from gateway.differences import differences, quoted, readable
from gateway.letters import visible
from tests.attest.zk import minted

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"d": "a"}, {"d": "b"}, ['d was "a" and is now "b"']),
        ({"d": "a"}, {}, ['d was removed; it was "a"']),
        ({}, {"d": [1]}, ['d was added: "[1]"']),
        (
            {"s": {"p": {"x": 1}}},
            {"s": {"p": {"x": 2, "y": 3}}},
            ['s.p.x was "1" and is now "2"', 's.p.y was added: "3"'],
        ),
        ({"l": [1, 2]}, {"l": [1, 3, 4]}, ['l[1] was "2" and is now "3"', 'l[2] was added: "4"']),
        ({"v": True}, {"v": 1}, ['v was "true" and is now "1"']),
        ({"v": None}, {}, ['v was removed; it was "null"']),
        ({"v": {}}, {"v": []}, ['v was "{}" and is now "[]"']),
        ({"d": "ab"}, {"d": "a\u200bb"}, ['d was "ab" and is now "a\\u{200b}b"']),
        ({"d": "ab"}, {"d": "a\nb\x1b[2K"}, ['d was "ab" and is now "a\\u{a}b\\u{1b}[2K"']),
        ({}, {"d\u202e": 1}, ['d\\u{202e} was added: "1"']),
        ({"same": 1.0}, {"same": 1.0}, []),
    ],
)
def test_each_difference_is_one_sentence(old: Any, new: Any, said: list[str]) -> None:
    assert list(differences(old, new)) == said


@given(json_values, json_values)
def test_there_is_a_difference_exactly_where_the_values_differ(old: Any, new: Any) -> None:
    assert not list(differences(old, old))
    if repr(old) != repr(new) and old != new:
        assert list(differences(old, new))


@given(json_values, json_values)
def test_a_sentence_is_one_line_that_shows_each_character(old: Any, new: Any) -> None:
    for line in differences({"a": old}, {"a": new}):
        assert line.isprintable()


@given(st.text())
def test_nothing_invisible_stays(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")]
    assert visible(shown) == shown


def test_a_value_is_shown_whole() -> None:
    assert quoted("x" * 5000) == f'"{"x" * 5000}"'


def test_of_long_texts_the_part_that_differs_is_shown() -> None:
    old = "a" * 1000 + "read it" + "b" * 1000
    (said,) = differences({"d": old}, {"d": old.replace("read", "send")})
    before, after = (f"{'a' * 40}{word} it{'b' * 36}" for word in ("read", "send"))
    assert said == (
        f'd was "…{before}…" (characters 961 to 1043 of 2007) and is now "…{after}…" (characters 961 to 1043 of 2007)'
    )


@given(st.text(min_size=150), st.text(max_size=3), st.text(max_size=3), st.text(min_size=150))
def test_a_difference_deep_in_a_long_text_is_never_cut_away(head: str, one: str, other: str, tail: str) -> None:
    for said in differences({"d": head + one + tail}, {"d": head + other + tail}):
        before, after = said.removeprefix("d was ").split(" and is now ", 1)
        assert before != after


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("copy", "\u0441\u043e\u0440\u0443", 'd was "copy" and is now "\\u{441}\\u{43e}\\u{440}\\u{443}"'),
        ("\u00e5", "a\u030a", 'd was "\\u{e5}" and is now "a\\u{30a}"'),
        ("1", 1, 'd was ""1"" and is now "1"'),
        ("a", "a\ufe0f", 'd was "a" and is now "a\\u{fe0f}"'),
        ("a", "a\u3164", 'd was "a" and is now "a\\u{3164}"'),
    ],
)
def test_what_looks_the_same_is_told_apart(old: Any, new: Any, said: str) -> None:
    assert list(differences({"d": old}, {"d": new})) == [said]


def test_of_a_program_the_identity_is_said_and_not_the_points_that_it_is_the_digest_of() -> None:
    program = minted.program().to_json()
    tool = {"name": "t", "_meta": {wire.PROGRAM: program, "more": 1}}
    (said,) = differences({"name": "t"}, readable(tool))
    assert program["identity"] in said
    assert "verifyingKey" not in said
    noted = program | {"verifyingKey": program["verifyingKey"] | {"note": "Ask for it."}}
    (said,) = differences(readable(tool), readable({"name": "t", "_meta": {wire.PROGRAM: noted, "more": 1}}))
    assert "Ask for it." in said
    refused = {"name": "t", "_meta": {wire.PROGRAM: program | {"identity": "00" * 32}}}
    assert readable(refused) == refused
    assert readable({"name": "t"}) == {"name": "t"}
