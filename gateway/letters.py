"""What a reader cannot see, or takes for something else: invisible characters, and letters that look like others.

A tool's name is ASCII by the specification's advice, so the table of look-alikes is short: Greek, Cyrillic and other
letters that are drawn as a basic Latin one, on top of NFKC, which folds full-width and mathematical letters. It is not
the whole of Unicode's confusables (UTS #39).
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Default-ignorable characters, and blanks, that their category does not give away (DerivedCoreProperties, Unicode 16).
_IGNORED = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x2800, 0x2800)),
    *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1D159, 0x1D159), (0xE0000, 0xE0FFF)),
)
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
_EMOJI_STYLE, _JOINERS, _NON_JOINER = "\ufe0e\ufe0f", "\u200c\u200d", "\u200c"
_VIRAMA = 9  # canonical combining class
# Alphabets with letters that are drawn like Latin ones; no word mixes them with Latin for a good reason.
_NEAR_LATIN = {"GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"}
_DRAWN_ALIKE = str.maketrans(
    # Cyrillic, Greek, Armenian, others, dashes; each above what it looks like.
    "авеѕіјкмнорсԁтухһԛԝѵґӏүғз" + "αβγειζκμνορστυχω" + "օսցհոԛյ" + "ıɑɡʟ" + "\u2010\u2011\u2012\u2013\u2014\u2212",
    "abesijkmhopcdtyxhqwvrlyf3" + "abyeizkmnopotuxw" + "oughnqj" + "iagl" + "------",
)
_MISTAKEN = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "-": None, "_": None, ".": None, " ": None})


@lru_cache(4096)
def invisible(character: str) -> bool:
    """Whether it shows nothing of itself, or moves what is around it: controls, zero-width, bidi, tags, blanks."""
    code = ord(character)
    return unicodedata.category(character) in _HIDDEN or any(first <= code <= last for first, last in _IGNORED)


def hidden(text: str) -> Iterator[str]:
    """Yield the invisible characters of a text that no writing needs, in order.

    Not among them: line ends and tabs, one variation selector behind a symbol (as in most emoji), joiners between
    symbols, behind an Indic virama or between Arabic letters (RFC 5892, appendix A), NBSP and its like.
    """
    if (text.isascii() and text.isprintable()) or not any(map(invisible, set(text))):
        return
    for index, character in enumerate(text):
        if invisible(character) and character not in "\n\r\t\u2028\u2029" and not _needed(text, index):
            yield character


def spelled(character: str) -> str:
    """Such as `U+200B ZERO WIDTH SPACE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


def visible(text: str, *, ascii_only: bool = False) -> str:
    """The text with its invisible characters (or all that are not ASCII) spelled `\\u{…}`; the space alone stays."""

    def shown(character: str) -> bool:
        return character.isprintable() and not invisible(character) and (character.isascii() or not ascii_only)

    return "".join(c if shown(c) else f"\\u{{{ord(c):x}}}" for c in text)


def skeleton(text: str) -> str:
    """The text as its letters are drawn: of two texts with one skeleton, a reader can take one for the other."""
    kept = "".join(c for c in text if not invisible(c))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", kept).casefold())
    return folded.translate(_DRAWN_ALIKE)


def mistakable(name: str) -> str:
    """The skeleton without what is overlooked in a name: separators; 0 and o, 1, i and l, rn and m, vv and w."""
    return skeleton(name).translate(_MISTAKEN).replace("rn", "m").replace("vv", "w")


def disguised(name: str) -> bool:
    """Whether a name reads as an ASCII one that it is not, or mixes Latin and near-Latin letters in one word."""
    if name.isascii():
        return False
    if skeleton(name).isascii():
        return True
    word: set[str] = set()
    for character in f"{unicodedata.normalize('NFKC', name)} ":
        if character.isalpha():
            word.add(unicodedata.name(character, "").partition(" ")[0])
        elif not unicodedata.combining(character):
            if "LATIN" in word and word & _NEAR_LATIN:
                return True
            word.clear()
    return False


def plain(name: str) -> str:
    """A name as one line in which it cannot be taken for another: spelled in ASCII where it is disguised."""
    return visible(name, ascii_only=disguised(name))


def _needed(text: str, index: int) -> bool:
    character, before, after = text[index], text[index - 1 : index], text[index + 1 : index + 2]
    if character in _EMOJI_STYLE:
        return before in tuple("#*0123456789") or _symbol(before)
    if character not in _JOINERS or not before:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if character == _NON_JOINER:
        return all(c and unicodedata.bidirectional(c) == "AL" for c in (before, after))
    earlier = text[index - 2 : index - 1] if before in _EMOJI_STYLE else before
    return _symbol(earlier) and _symbol(after)


def _symbol(character: str) -> bool:
    return character != "" and unicodedata.category(character) in ("So", "Sk", "Sm", "Po") and not character.isascii()
