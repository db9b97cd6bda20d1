"""Strict encodings: one spelling each, every other refused as malformed."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.encoding import Fields, b64encode, length_prefixed, salted, same, sha256_hex
from attest.errors import EvidenceError, ReceiptError
from tests.attest.made import refusal

Read = Callable[[Fields], Any]
READERS: dict[str, Read] = {
    "text": lambda fields: fields.text("a", maximum=4),
    "integer": lambda fields: fields.integer("a"),
    "hex": lambda fields: fields.hex("a", 2),
    "digest": lambda fields: fields.digest("a"),
    "base64": lambda fields: fields.base64("a", maximum=4),
    "mapping": lambda fields: fields.mapping("a"),
    "list": lambda fields: fields.list("a"),
    "constant": lambda fields: fields.constant("a", "this"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def read(reader: str, value: Any) -> Any:
    return READERS[reader](Fields({"a": value}, "it", ReceiptError))


@pytest.mark.parametrize(
    ("reader", "value", "meaning"),
    [
        ("text", "four", "four"),
        ("integer", 0, 0),
        ("integer", 2**53 - 1, 2**53 - 1),
        ("hex", "00ff", b"\0\xff"),
        ("digest", "ab" * 32, "ab" * 32),
        ("base64", "", b""),
        ("base64", "AP8=", b"\0\xff"),
        ("base64", "AAECAw==", bytes(range(4))),
        ("mapping", {"b": 1}, {"b": 1}),
        ("list", [1], [1]),
        ("constant", "this", None),
    ],
)
def test_the_right_spelling_is_read(reader: str, value: Any, meaning: Any) -> None:
    assert read(reader, value) == meaning


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("text", "fiver"),
        ("text", 1),
        ("text", None),
        ("integer", -1),
        ("integer", 2**53),
        ("integer", True),
        ("integer", 1.0),
        ("integer", "1"),
        ("hex", "00FF"),
        ("hex", "00f"),
        ("hex", "00ff00"),
        ("hex", " 0ff"),
        ("hex", "00f\n"),
        ("hex", "\u0660\u0660ff"),
        ("digest", "ab" * 31),
        ("base64", "AP8"),
        ("base64", "AP9="),
        ("base64", "AP8=\n"),
        ("base64", "A P8="),
        ("base64", "_P8="),
        ("base64", "===="),
        ("base64", "\u00e9\u00e9\u00e9\u00e9"),
        ("base64", "\ud800AAA"),
        ("base64", "AAECAwQ="),
        ("base64", "AAAAAAAA"),
        ("mapping", []),
        ("mapping", None),
        ("list", {}),
        ("list", "list"),
        ("constant", "that"),
        ("constant", None),
    ],
)
def test_every_other_spelling_is_malformed(reader: str, value: Any) -> None:
    with pytest.raises(ReceiptError) as caught:
        read(reader, value)
    assert caught.value.code == "malformed"


@given(st.sampled_from(sorted(READERS)), JSON)
def test_no_value_gets_a_foreign_exception_out_of_a_reader(reader: str, value: Any) -> None:
    code = refusal(read, reader, value)
    assert code == "malformed" or (not code and (reader in ("integer", "mapping", "list") or isinstance(value, str)))


@given(st.binary(max_size=40))
def test_base64_and_hex_have_one_form_that_reads_back(data: bytes) -> None:
    fields = Fields({"b": b64encode(data), "h": data.hex()}, "it", ReceiptError)
    assert fields.base64("b", maximum=40) == data == fields.hex("h", len(data))
    assert b64encode(data) == base64.b64encode(data).decode()


@pytest.mark.parametrize("reader", READERS)
def test_a_member_that_is_not_there_is_malformed(reader: str) -> None:
    with pytest.raises(EvidenceError, match="lacks 'a'"):
        READERS[reader](Fields({}, "it", EvidenceError))


def test_a_member_is_read_once_and_none_may_be_left_over() -> None:
    fields = Fields({"a": 1, "b": 2}, "it", ReceiptError)
    assert (fields.integer("a"), fields.optional("c")) == (1, None)
    with pytest.raises(ReceiptError, match="unknown members: b"):
        fields.done()
    with pytest.raises(ReceiptError, match="lacks 'a'"):
        fields.take("a")
    assert fields.optional("b") == 2
    fields.done()


@pytest.mark.parametrize("value", [None, [], "{}", 1, True])
def test_what_is_not_an_object_is_malformed(value: Any) -> None:
    with pytest.raises(ReceiptError, match="it is not an object"):
        Fields(value, "it", ReceiptError)


def test_an_object_that_does_not_parse_is_malformed() -> None:
    with pytest.raises(ReceiptError, match="malformed: it: an object names one key twice"):
        Fields.parse('{"a":1,"a":2}', "it", ReceiptError)


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_two_lists_of_fields_never_share_an_encoding(left: list[bytes], right: list[bytes]) -> None:
    assert (length_prefixed(b"tag", *left) == length_prefixed(b"tag", *right)) == (left == right)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_equality_is_that_of_the_values(left: bytes, right: bytes) -> None:
    assert same(left, right) == (left == right)
    assert same(left.hex(), right.hex()) == (left == right)
    assert same(left, left)


def test_a_salt_changes_the_digest_of_the_same_preimage() -> None:
    assert salted(bytes(32), b"x") != salted(b"\1" * 32, b"x")
    assert salted(b"", b"x") == sha256_hex(b"x")
