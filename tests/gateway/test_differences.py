"""Differences in words: nothing that a reader could miss is left out."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.differences import differences, quoted, visible

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


def test_a_long_value_is_cut_and_says_so() -> None:
    assert quoted("x" * 401) == f'"{"x" * 400}…" (401 characters)'
    assert quoted("x" * 400) == f'"{"x" * 400}"'
