"""What a reader cannot see is found, what writing needs is left alone, and look-alikes share a skeleton."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.letters import disguised, hidden, invisible, mistakable, skeleton, visible

HIDDEN = {
    "zero width space": "a\u200bb",
    "joiner between letters": "a\u200db",
    "byte order mark": "\ufeffa",
    "right to left": "a\u202eb",
    "isolate": "a\u2066b",
    "tags": "a\U000e0041\U000e0042",
    "tags behind a flag": "\U0001f3f4\U000e0067\U000e007f",
    "variation selectors in a row": "\u263a\ufe0f\ufe0e",
    "selectors that carry bytes": "\u263a\U000e0100",
    "selector behind a letter": "a\ufe0f",
    "soft hyphen": "a\u00adb",
    "grapheme joiner": "a\u034fb",
    "hangul filler": "a\u3164b",
    "braille blank": "a\u2800b",
    "escape": "a\x1b[2K",
    "nul": "a\0",
    "delete": "a\x7f",
    "private use": "a\ue000",
    "unassigned but ignorable": "a\U000e0fff",
}
NEEDED = {
    "lines and tabs": "a\r\n\tb\u2028c",
    "a space that does not break": "a\u00a0b\u3000c",
    "a warning sign": "\u26a0\ufe0f Careful",
    "a keycap": "1\ufe0f\u20e3",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "devanagari": "\u0915\u094d\u200d\u0937",
    "an accent apart": "a\u030a",
    "many scripts": "\u65e5\u672c\u8a9e \u043f\u043e\u0438\u0441\u043a \u0628\u062d\u062b",
}
DISGUISED = {
    "all of it Cyrillic": "\u0441\u043e\u0440\u0443",
    "one letter Cyrillic": "c\u043epy_file",
    "one letter Greek": "list_n\u03bfdes",
    "capitals": "READ_F\u0406LE",
    "full width": "\uff52\uff45\uff41\uff44",
    "mathematical": "\U0001d5cb\U0001d5be\U0001d5ba\U0001d5bd",
    "a ligature": "read_\ufb01le",
    "a hyphen that is none": "read\u2011file",
    "a letter that the table lacks": "\u0436oin",
    "Cherokee in Latin": "\uab83bc",
}
PLAIN = (
    "read_file",
    "caf\u00e9",
    "\u043f\u043e\u0438\u0441\u043a",
    "na\u00efve-x",
    "\u691c\u7d22API",
    "x-\u0436\u0443\u043a",
)


@pytest.mark.parametrize("name", HIDDEN)
def test_what_shows_nothing_of_itself_is_hidden(name: str) -> None:
    assert list(hidden(HIDDEN[name]))
    assert visible(HIDDEN[name]) != HIDDEN[name]


@pytest.mark.parametrize("name", NEEDED)
def test_what_writing_needs_is_not(name: str) -> None:
    assert list(hidden(NEEDED[name])) == []


@pytest.mark.parametrize("name", DISGUISED)
def test_a_name_that_is_not_what_it_reads_as_is_disguised(name: str) -> None:
    assert disguised(DISGUISED[name])


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_in_its_own_letters_is_not(name: str) -> None:
    assert not disguised(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Read-File", "read_file"), ("modern", "modem"), ("list", "1ist"), ("fetch0", "fetchO"), ("vvrite", "write")],
)
def test_what_is_overlooked_in_a_name_is_one_to_who_mistakes_it(one: str, other: str) -> None:
    assert mistakable(one) == mistakable(other)
    assert mistakable(one) != mistakable("another")


def test_the_skeleton_is_how_it_is_drawn() -> None:
    assert skeleton("\u0421\u041e\u0420\u0423 \uff52\u200b") == "copy r"


@given(st.text())
def test_nothing_invisible_survives_being_shown(text: str) -> None:
    assert not any(map(invisible, visible(text)))
    assert visible(text, ascii_only=True).isascii()


@given(st.text(st.characters(categories=["Cf", "Cc", "Co"])))
def test_of_characters_that_are_never_seen_only_joiners_and_line_ends_pass(text: str) -> None:
    assert set(text) - set(hidden(text)) <= set("\n\r\t\u200c\u200d")


@given(st.text())
def test_names_of_any_text_are_judged_without_an_error(text: str) -> None:
    disguised(text)
    mistakable(text)
    assert unicodedata.is_normalized("NFKC", skeleton("\ufb01"))
