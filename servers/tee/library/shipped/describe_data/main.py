"""Describe data without reading it all: `main(data, format)` tells what is in a CSV, JSON, TOML or text document.

This file is its own program: it runs in the sandbox with nothing but the standard library. Every figure is exact for
the part that was read; where a bound cut that part short, `truncated` is true and says so.
"""

import csv
import datetime
import io
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn, cast

FORMATS = ("auto", "csv", "tsv", "json", "jsonl", "toml", "text")
MAX_CELLS = 80_000
"""Values read, in all tables together: about half of the fuel that a call has by default."""
MAX_CHARACTERS = 1_000_000
"""Of text whose words are counted."""
SNIFFED = 1000  # rows that decide on a delimiter; all the others must then agree
MAX_COLUMNS = 200
MAX_PATHS = 200
MAX_DEPTH = 30
TOP = 5
SHOWN = 100
"""Characters shown of a frequent value."""

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,299})")  # 007 is a code, not a number
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]{0,299})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)

_NESTED = ("object", "array")
Cell = tuple[str, Any]
"""A kind (integer, number, boolean, date, datetime, string, object, array) and a value."""


def main(data: str, format: str = "auto") -> dict[str, Any]:  # noqa: A002  the name that callers use
    """Describe `data`. With `auto` the first format that fits all of it is taken, text if none does.

    Raises `ValueError` with the line at fault if `data` is not in the `format` named.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    text = data.removeprefix("\ufeff")
    found = {
        "bytes": len(data.encode()),
        "lines": text.count("\n") + (not text.endswith("\n") and bool(text)),
        "truncated": False,
    }
    if format != "auto":
        return {"format": format} | found | _DESCRIBERS[format](text)
    for name in _candidates(text):
        try:
            return {"format": name} | found | _DESCRIBERS[name](text)
        except ValueError:
            continue  # not this one: the next is less demanding, and text takes all
    return {"format": "text"} | found | describe_text(text)


def _candidates(text: str) -> Iterator[str]:
    start = text.lstrip()[:1]
    if start in ("{", "["):
        yield from ("json", "jsonl")
    if re.search(r"^\s*[\w.\"'-]+\s*=", text, re.MULTILINE):
        yield "toml"
    for name, delimiters in (("tsv", "\t"), ("csv", ",;|")):
        if any(_width(text, delimiter) for delimiter in delimiters):
            yield name


# Tables of text


def describe_csv(text: str) -> dict[str, Any]:
    """Delimiter by the only one of `,;|` and tab that splits all rows alike, or else the commonest in the header."""
    first = text.lstrip("\n").partition("\n")[0]
    fitting = {delimiter: _width(text, delimiter) for delimiter in ",;\t|"}
    delimiter = max(fitting, key=lambda d: (fitting[d], first.count(d)))
    return _describe_table(text, delimiter) | {"delimiter": delimiter}


def _width(text: str, delimiter: str) -> int:
    """The number of columns if this delimiter gives all rows, of two at least, the same two or more; else 0."""
    try:
        widths = [len(row) for _, row in islice(_rows(text, delimiter), SNIFFED)]
    except ValueError:
        return 0
    return widths[0] if len(widths) > 1 and len(set(widths)) == 1 and widths[0] > 1 else 0


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(max(len(text), 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as e:
        raise ValueError(f"line {reader.line_num}: {e}") from e


def _describe_table(text: str, delimiter: str) -> dict[str, Any]:
    rows = _rows(text, delimiter)
    _, first = next(rows, (0, cast(list[str], [])))
    if not first:
        raise ValueError("line 1: there is no row")
    names = [name.strip() for name in first]
    header = all(names) and len(set(names)) == len(names) and all(_kind(name) == "string" for name in names)
    columns: list[list[str]] = [[] if header else [cell] for cell in names]
    count = 0 if header else 1
    most = max(MAX_CELLS // len(first), 1)
    for line, row in rows:
        if len(row) != len(first):
            raise ValueError(f"line {line}: {len(row)} fields, but the first row has {len(first)}")
        count += 1
        if count <= most:
            for cells, cell in zip(columns, row, strict=True):
                cells.append(cell.strip())
    if not header:
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
    described = [_text_column(name, cells) for name, cells in zip(names[:MAX_COLUMNS], columns, strict=False)]
    found: dict[str, Any] = {"rows": count, "header": header, "columns": described}
    if count > most or len(names) > MAX_COLUMNS:
        found |= {"truncated": True, "rows_read": min(count, most), "columns_found": len(names)}
    return found


def _text_column(name: str, texts: list[str]) -> dict[str, Any]:
    present = [text for text in texts if text]
    kinds = {text: _kind(text) for text in set(present)}
    kind = _type_of(set(kinds.values()))
    # In a column of several kinds the digits of one cell are text as its neighbours are.
    read: Callable[[str], Cell] = lambda text: (kinds[text], _typed(kinds[text], text))  # noqa: E731
    cells = [read(text) if kind not in ("mixed", "string") else ("string", text) for text in present]
    return _column(name, cells, len(texts) - len(present)) | {"type": kind}


def _kind(text: str) -> str:
    if _INTEGER.fullmatch(text):
        return "integer"
    if _NUMBER.fullmatch(text):
        return "number" if math.isfinite(float(text)) else "string"
    if text.lower() in ("true", "false"):
        return "boolean"
    return _time_kind(text)


def _time_kind(text: str) -> str:
    for kind, pattern in (("date", _DATE), ("datetime", _DATETIME)):
        if pattern.fullmatch(text):
            try:
                datetime.datetime.fromisoformat(text)
            except ValueError:  # the 30th of February
                return "string"
            return kind
    return "string"


def _typed(kind: str, text: str) -> Any:
    match kind:
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "boolean":
            return text.lower() == "true"
        case _:
            return text


# Columns of any origin


def _type_of(kinds: set[str]) -> str:
    if len(kinds) < 2:
        return next(iter(kinds), "empty")
    if kinds == {"integer", "number"}:
        return "number"
    return "datetime" if kinds == {"date", "datetime"} else "mixed"


def _column(name: str, cells: list[Cell], missing: int) -> dict[str, Any]:
    """Count, distinct values, range and frequent values of one column."""
    kind = _type_of({kind for kind, _ in cells})
    # True equals 1 in Python, and 1.0 does as well: the former are different data, the latter are not.
    counts = Counter(("boolean" if kind == "boolean" else "", value) for kind, value in cells if kind not in _NESTED)
    found: dict[str, Any] = {"name": name[:SHOWN], "type": kind, "count": len(cells), "missing": missing}
    found["distinct"] = len(counts)
    if kind in ("integer", "number"):
        numbers = [value for _, value in cells]
        total = sum(numbers) if kind == "integer" else math.fsum(numbers)
        found |= {"min": min(numbers), "max": max(numbers), "mean": total / len(numbers)}
    elif kind in ("date", "datetime"):
        found |= _time_range([value for _, value in cells])
    elif kind == "string":
        lengths = [len(value) for _, value in cells]
        found |= {"min_length": min(lengths), "max_length": max(lengths)}
    found["frequent"] = [{"value": _shown(value), "count": count} for (_, value), count in counts.most_common(TOP)]
    return found


def _time_range(texts: list[str]) -> dict[str, str]:
    moments = {text: datetime.datetime.fromisoformat(text) for text in set(texts)}
    if len({moment.tzinfo is None for moment in moments.values()}) > 1:
        return {}  # with and without an offset: there is no order
    return {"min": min(texts, key=moments.__getitem__), "max": max(texts, key=moments.__getitem__)}


def _shown(value: Any) -> Any:
    return value[:SHOWN] if isinstance(value, str) else value


# Documents with structure


def describe_json(text: str) -> dict[str, Any]:
    """An outline: scalars by path, and each array of objects as a table."""
    return _outline(_parse_json(text, 0))


def describe_jsonl(text: str) -> dict[str, Any]:
    """One JSON value per line; lines of objects are one table."""
    values = [_parse_json(line, number) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(values) < 2 and not text.strip():
        raise ValueError("line 1: there is no value")
    return _outline(values) | {"values": len(values)}


def describe_toml(text: str) -> dict[str, Any]:
    """An outline, as for JSON."""
    try:
        return _outline(tomllib.loads(text))
    except RecursionError as e:
        raise ValueError("the document is nested too deeply") from e


def _parse_json(text: str, line: int) -> Any:
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(f"{where}an object names one key twice")
        return found

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{where}{name} is not JSON")

    def number(digits: str) -> float:
        if not math.isfinite(float(digits)):
            raise ValueError(f"{where}{digits[:SHOWN]} is too large for a number")
        return float(digits)

    where = f"line {line}: " if line else ""
    try:
        return json.loads(text, object_pairs_hook=members, parse_constant=constant, parse_float=number)
    except json.JSONDecodeError as e:
        raise ValueError(f"line {line or e.lineno}, column {e.colno}: {e.msg}") from e
    except RecursionError as e:
        raise ValueError(f"{where}nested too deeply") from e


class _Walk:
    """Collects, by path, scalars and tables, until `MAX_CELLS` values were seen."""

    def __init__(self) -> None:
        self.scalars: dict[str, tuple[list[Cell], list[None]]] = {}
        self.tables: dict[str, tuple[dict[str, list[Cell]], list[int]]] = {}
        self.left = MAX_CELLS
        self.truncated = False

    def visit(self, value: Any, path: str, depth: int) -> None:
        if self.left <= 0 or depth > MAX_DEPTH:
            self.truncated = True
            return
        match value:
            case dict():
                for key, member in cast(dict[str, Any], value).items():
                    self.visit(member, f"{path}.{_step(key)}", depth + 1)
            case list() if value and all(isinstance(item, dict) for item in cast(list[Any], value)):
                for item in cast(list[dict[str, Any]], value):
                    self._row(item, path, depth)
            case list():
                for item in cast(list[Any], value):
                    self.visit(item, f"{path}[]", depth + 1)
            case _:
                self.left -= 1
                if path not in self.scalars and len(self.scalars) >= MAX_PATHS:
                    self.truncated = True
                    return
                cells, missing = self.scalars.setdefault(path, ([], []))
                if value is None:
                    missing.append(None)
                else:
                    cells.append(_cell(value))

    def _row(self, row: dict[str, Any], path: str, depth: int) -> None:
        if self.left <= 0 or (path not in self.tables and len(self.tables) >= MAX_PATHS):
            self.truncated = True
            return
        columns, count = self.tables.setdefault(path, ({}, [0]))
        count[0] += 1
        for key, member in row.items():
            self.left -= 1
            if key not in columns and len(columns) >= MAX_COLUMNS:
                self.truncated = True
                continue
            cells = columns.setdefault(key, [])
            if member is None:
                continue
            cells.append(_cell(member))
            if isinstance(member, dict | list):
                self.visit(member, f"{path}[].{_step(key)}", depth + 2)


def _outline(value: Any) -> dict[str, Any]:
    walk = _Walk()
    walk.visit(value, "$", 0)
    tables: list[dict[str, Any]] = []
    for path, (columns, (rows,)) in walk.tables.items():
        described = [_column(name, cells, rows - len(cells)) for name, cells in columns.items()]
        tables.append({"path": path, "rows": rows, "columns": described})
    paths: list[dict[str, Any]] = []
    for path, (cells, missing) in walk.scalars.items():
        described = _column(path, cells, len(missing))
        paths.append({"path": described.pop("name"), **described})
    found: dict[str, Any] = {"type": _cell(value)[0] if value is not None else "null", "tables": tables, "paths": paths}
    if walk.truncated:
        found["truncated"] = True
    return found


_KINDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    datetime.datetime: "datetime",
    datetime.date: "date",
}


def _cell(value: Any) -> Cell:
    kind = _KINDS.get(cast(object, value).__class__, "string")
    if kind in _NESTED:
        return kind, None
    if kind in ("date", "datetime"):
        return kind, value.isoformat()
    if isinstance(value, str):
        return _time_kind(value), value
    # What has no finite double has no mean: infinity and NaN of TOML, and huge integers, are shown as text.
    if (
        kind == "string"
        or (kind == "number" and not math.isfinite(value))
        or (kind == "integer" and value.bit_length() > 1000)
    ):
        return "string", str(value)
    return kind, value


def _step(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,60}", key) else json.dumps(key[:60], ensure_ascii=False)


# Text


def describe_text(text: str) -> dict[str, Any]:
    """Words, characters, the longest line, frequent words."""
    lines = text.split("\n")
    longest = max(range(len(lines)), key=lambda index: len(lines[index]))
    words = re.findall(r"\w+", text[:MAX_CHARACTERS])
    counts = Counter(word.casefold() for word in words)
    return {
        "characters": len(text),
        "truncated": len(text) > MAX_CHARACTERS,
        "words": len(words),
        "distinct_words": len(counts),
        "longest_line": {"line": longest + 1, "characters": len(lines[longest])},
        "frequent_words": [{"value": word[:SHOWN], "count": count} for word, count in counts.most_common(2 * TOP)],
    }


_DESCRIBERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "csv": describe_csv,
    "tsv": lambda text: _describe_table(text, "\t"),
    "json": describe_json,
    "jsonl": describe_jsonl,
    "toml": describe_toml,
    "text": describe_text,
}
