"""Canonical JSON: one meaning, one byte string, everything else refused by name."""

import json
import time
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from attest.canonical import MAX_DEPTH, canonical, parse
from attest.errors import CanonicalError
from tests.attest.made import refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DIGITS = (2.0**53, 1e21)
"""Between these, RFC 8785 writes a float as digits, which read back as the integer that they spell."""
CODES = {"not-utf8", "not-json", "too-deep", "duplicate-key", "not-a-number", "lone-surrogate", "integer-too-long"}


def json_values(integers: st.SearchStrategy[int], floats: st.SearchStrategy[float] = FLOATS) -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | integers | floats | TEXT
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)


ANY_JSON = json_values(
    st.integers() | st.integers(-(2**300), 2**300), FLOATS.filter(lambda x: not DIGITS[0] <= abs(x) < DIGITS[1])
)
SMALL_JSON = json_values(st.integers(-(2**53) + 1, 2**53 - 1))


@given(ANY_JSON)
def test_what_is_written_reads_back_as_the_same_value_and_the_same_bytes(value: Any) -> None:
    data = canonical(value)
    assert parse(data) == value
    assert canonical(parse(data)) == data


@given(SMALL_JSON)
def test_it_agrees_with_rfc8785_where_integers_fit_a_double(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(st.text("\U0001f600\ufb33\ue000az\u20ac"), st.integers(0, 9)))
def test_keys_are_ordered_by_utf16_units(value: dict[str, int]) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.floats(*DIGITS, exclude_max=True))
def test_a_large_whole_float_shares_its_form_with_the_integer_of_the_same_digits(value: float) -> None:
    data = canonical(value)
    assert data == rfc8785.dumps(value)
    assert float(parse(data)) == value
    assert canonical(parse(data)) == data


@given(ANY_JSON, st.sampled_from([None, 1]), st.booleans())
def test_spacing_and_escapes_do_not_matter(value: Any, indent: int | None, ascii_only: bool) -> None:
    spelled = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert canonical(parse(spelled)) == canonical(value)
    assert parse(spelled) == parse(spelled.encode())


@given(st.binary() | st.text() | st.text('[]{}",:\\u0dD8eE+-.1tfn \n'))
def test_parse_lets_no_foreign_exception_out(data: bytes | str) -> None:
    code = refusal(parse, data)
    assert code in CODES if code else canonical(parse(canonical(parse(data)))) == canonical(parse(data))


@given(st.text(st.characters(categories=["Cs"]), min_size=1), TEXT)
def test_a_lone_surrogate_is_refused_as_value_as_key_and_as_escape(half: str, around: str) -> None:
    for value in (around + half, {half: 1}, {half: 1.5, "\U0001f600": 2}, [{"a": [half]}]):
        with pytest.raises(CanonicalError, match=r"^lone-surrogate"):
            canonical(value)
    escaped = "".join(f"\\u{ord(unit):04X}" for unit in half[:1])
    with pytest.raises(CanonicalError, match=r"^lone-surrogate"):
        parse(f'["{escaped}"]')


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (float("nan"), "not-a-number"),
        ([float("inf")], "not-a-number"),
        ({"a": -float("inf")}, "not-a-number"),
        (b"bytes", "not-json"),
        ({"a": {1, 2}}, "not-json"),
        ([1.5, object()], "not-json"),
        ({1: 1, "a": 2}, "not-json"),
    ],
)
def test_a_value_that_is_no_json_is_refused_by_name(value: Any, code: str) -> None:
    with pytest.raises(CanonicalError) as caught:
        canonical(value)
    assert caught.value.code == code


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth_counts_arrays_and_objects_and_not_what_strings_hold(opening: str, closing: str) -> None:
    levels = MAX_DEPTH // (opening.count("[") + opening.count("{"))
    assert parse(opening * levels + "1" + closing * levels) is not None
    assert parse(opening * levels + '"[[{{\\"[["' + closing * levels) is not None
    with pytest.raises(CanonicalError, match=r"^too-deep"):
        parse(opening * levels + "[1]" + closing * levels)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse("[" + "[]," * 5000 + "{}]")) == 5001


def test_a_value_nested_beyond_the_interpreter_is_refused() -> None:
    value: Any = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(CanonicalError, match=r"^too-deep"):
        canonical(value)
    with pytest.raises(CanonicalError, match=r"^too-deep"):
        parse("[" * 200_000, max_depth=10**9)


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b'""', b'\\\\"', b'"\n', b"[", b'["', b"1", b"1.", b",1"])
def test_the_work_is_linear_in_the_text_whatever_it_holds(unit: bytes) -> None:
    text = b"[" * (MAX_DEPTH + 1) + b'"' + unit * (1_000_000 // len(unit))
    started = time.perf_counter()
    with pytest.raises(CanonicalError):
        parse(text)
    assert time.perf_counter() - started < 60  # quadratic work takes the better part of an hour


def test_integers_of_any_readable_size_are_exact() -> None:
    digits = "9" * 4300
    assert canonical(parse(digits)) == digits.encode()
    assert canonical(2**53 + 1) == b"9007199254740993"
    assert canonical(1e21) == b"1e+21"
    assert canonical(10**21) == b"1" + b"0" * 21
