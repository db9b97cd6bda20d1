"""One meaning, one byte string: strict JSON in, RFC 8785 bytes out.

RFC 8785 (JCS) covers numbers that fit an IEEE 754 double. MCP peers send larger integers (ids, counters, wei), so
integers of any size are written here as their exact decimal digits; every other rule is that of RFC 8785.
"""

import json
import math
import re
from typing import Any, NoReturn, cast

import rfc8785

from attest.errors import CanonicalError

MAX_DEPTH = 128

# A string, or what is left of the text where it does not end. Possessive: linear in the text, whatever it holds.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?', re.DOTALL)
# A float that Python and RFC 8785 spell apart: a whole one, or one with an exponent. It stands at the start or behind
# `:`, `,` or `[`; a string that looks so merely takes the slow path.
_FLOAT = re.compile(r"(?:^|[:,\[])-?[0-9]+(?:\.0(?![0-9])|(?:\.[0-9]+)?e)")
_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")


def parse(data: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the one value that `data` denotes, integers exact.

    Raises `CanonicalError`: `not-utf8`, `not-json`, `too-deep`, `duplicate-key`, `not-a-number` (NaN, Infinity, or a
    number beyond a double), `lone-surrogate`, `integer-too-long` (over Python's 4300 digits).
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    _check_depth(raw, max_depth)
    try:
        text = raw.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as e:
        raise CanonicalError("not-utf8", f"byte {e.start} is not UTF-8") from e
    except RecursionError as e:
        raise CanonicalError("too-deep", "nested deeper than this interpreter can follow") from e
    except json.JSONDecodeError as e:
        raise CanonicalError("not-json", f"{e.msg} at character {e.pos}") from e
    except ValueError as e:  # int() refuses very long digit strings
        raise CanonicalError("integer-too-long", "an integer has more digits than can be read") from e
    if "\\ud" in text or "\\uD" in text:
        canonical(value)  # the only way a lone surrogate gets in is an escape
    return value


def canonical(value: Any) -> bytes:
    """Return the canonical bytes of a value made of dict (str keys), list, str, int, float, bool and None.

    Raises `CanonicalError` where `parse` would refuse the value's JSON.
    """
    try:
        text = _ENCODER.encode(value)
        if _differs(text):
            text = _write(value)
        return text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise CanonicalError("lone-surrogate", "a string holds half of a surrogate pair") from e
    except RecursionError as e:
        raise CanonicalError("too-deep", "nested too deeply") from e
    except (TypeError, ValueError) as e:
        code = "not-a-number" if "JSON compliant" in str(e) else "not-json"
        raise CanonicalError(code, str(e)) from e


def _differs(text: str) -> bool:
    """Whether RFC 8785 may write this otherwise: a float, or keys whose order differs in UTF-16. Cheap tests first."""
    fraction = "." in text or "e+" in text or "e-" in text
    return bool((fraction and _FLOAT.search(text)) or (not text.isascii() and _ASTRAL.search(text)))


def _write(value: Any) -> str:
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case float():
            return rfc8785.dumps(value).decode()
        case str():
            return _ENCODER.encode(value)
        case dict():
            items = cast(dict[str, Any], value).items()
            members = sorted(items, key=lambda item: item[0].encode("utf-16-be", "surrogatepass"))
            return "{" + ",".join(f"{_ENCODER.encode(key)}:{_write(member)}" for key, member in members) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_write, cast(list[Any], value))) + "]"
        case _:
            raise TypeError(f"a {type(value).__name__} is not JSON")


def _check_depth(raw: bytes, limit: int) -> None:
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    depth = 0
    for byte in re.findall(rb"[\[\]{}]", _STRING.sub(b"", raw)):
        depth += 1 if byte in (b"[", b"{") else -1
        if depth > limit:
            raise CanonicalError("too-deep", f"nested deeper than {limit} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CanonicalError("duplicate-key", "an object names one key twice")
    return members


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise CanonicalError("not-a-number", "a number is too large for a double")
    return number


def _constant(name: str) -> NoReturn:
    raise CanonicalError("not-a-number", f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
