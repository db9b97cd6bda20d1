"""Which version is the latest: the rule of the official registry's code, which its documents state differently."""

import re

_NUMBER = r"(0|[1-9][0-9]{0,17})"
_WORD = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_WORD}(?:\.{_WORD})*))?(?:\+[0-9A-Za-z.-]+)?")
_RANGE = re.compile(r"[\^~<>=*|]|\s-\s|(^|\.)[xX](\.|$)")

Rank = tuple[int, tuple[int, int, int], int, tuple[tuple[int, int, str], ...], int]


def rank(version: str, published: int) -> Rank:
    """Sorts versions; the greatest is the latest. `published` is in milliseconds since 1970.

    Semantic versions beat all others; two of one precedence: the first published stays. Others go by time alone.
    """
    match = _SEMVER.fullmatch(version)
    if not match:
        return 0, (0, 0, 0), 0, (), published
    major, minor, patch, pre = match.groups()
    words = tuple((0, int(w), "") if w.isdigit() else (1, 0, w) for w in pre.split(".")) if pre else ()
    return 1, (int(major), int(minor), int(patch)), 0 if pre else 1, words, -published


def is_range(version: str) -> bool:
    """Whether this asks for some version rather than naming one; `latest` does."""
    return version == "latest" or bool(_RANGE.search(version))
