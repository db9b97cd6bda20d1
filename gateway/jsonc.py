"""JSON with comments, as VS Code and Cursor write it: what a person put beside the values, blanked out."""

import re
from collections.abc import Callable

BOM = "\ufeff"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'  # possessive: linear in any text
# A string comes first, so that what looks like a comment inside one stays.
_COMMENT = re.compile(rf"{_STRING}|//[^\r\n]*+|/\*.*?(?:\*/|\Z)", re.DOTALL)
# So does a comma with nothing before it, which no reader forgives.
_COMMA = re.compile(rf"{_STRING}|[\[{{]\s*+,|,(?=\s*+[\]}}])", re.DOTALL)
_SHOWN = re.compile(r"[^\r\n]")


def plain(text: str) -> str:
    """The same text without byte order mark, comments, and commas before a closing bracket.

    They become spaces, so that a parser's line and column are those of the file. JSON comes back as it is; what is
    neither comes back as something that is not JSON.
    """
    return _COMMA.sub(_without(","), uncommented(text.removeprefix(BOM)))


def uncommented(text: str) -> str:
    """The same text, as long as before, with spaces for comments alone."""
    return _COMMENT.sub(_without("/"), text)


def _without(start: str) -> Callable[[re.Match[str]], str]:
    def blank(found: re.Match[str]) -> str:
        token = found[0]
        open_end = token.startswith("/*") and (len(token) < 4 or not token.endswith("*/"))
        return token if open_end or not token.startswith(start) else _SHOWN.sub(" ", token)

    return blank
