"""`describe_data` against figures computed here by other means, natively and inside the sandbox."""

import csv
import datetime
import io
import json
import random
import statistics
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.tee.library.shipped.describe_data import main as describe_data
from servers.tee.sandbox import Job
from servers.tee.sandbox.wasm import WasmSandbox

SOURCE = Path(describe_data.__file__)
LOCK = Path(__file__).parents[3] / "uv.lock"


def _table(rng: random.Random, rows: int) -> tuple[list[str], list[list[str]]]:
    def cells() -> list[str]:
        return [
            str(rng.randint(-50, 50)),
            f"{rng.uniform(-1e6, 1e6):.3f}" if rng.random() < 0.9 else "",
            rng.choice(["true", "FALSE"]),
            str(datetime.date(2020, 1, 1) + datetime.timedelta(rng.randint(0, 900))),
            rng.choice(["plain", 'quo"te', "com,ma", "semi;colon", "two\nlines", "ünï", ""]),
            rng.choice(["7", "x7"]) if rng.random() < 0.5 else "007",
            "",
        ]

    return ["id", "price", "on", "day", "note", "code", "nothing"], [cells() for _ in range(rows)]


def _write(names: list[str], rows: list[list[str]], delimiter: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([names, *rows])
    return out.getvalue()


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("seed", range(5))
def test_tables(delimiter: str, seed: int) -> None:
    rng = random.Random(seed)
    names, rows = _table(rng, rng.randint(30, 300))
    text = _write(names, rows, delimiter)
    found = describe_data.main(text)
    assert found["format"] == ("tsv" if delimiter == "\t" else "csv")
    assert (found["rows"], found["header"], found["truncated"]) == (len(rows), True, False)
    assert found["bytes"] == len(text.encode())
    columns = {column["name"]: column for column in found["columns"]}
    assert [*columns] == names
    kinds = ["integer", "number", "boolean", "date", "string", "mixed", "empty"]
    assert [column["type"] for column in found["columns"]] == kinds
    for index, name in enumerate(names):
        present = [row[index] for row in rows if row[index]]
        assert columns[name]["count"] == len(present)
        assert columns[name]["missing"] == len(rows) - len(present)
        top = Counter(text.lower() if name == "on" else text for text in present).most_common(5)
        assert [f["count"] for f in columns[name]["frequent"]] == [count for _, count in top]
        assert columns[name]["distinct"] == len({text.lower() if name == "on" else text for text in present})
    for index, name, read in ((0, "id", int), (1, "price", float)):
        numbers: list[float] = [read(row[index]) for row in rows if row[index]]
        assert (columns[name]["min"], columns[name]["max"]) == (min(numbers), max(numbers))
        assert columns[name]["mean"] == pytest.approx(statistics.fmean(numbers), rel=1e-12)
    days = [row[3] for row in rows]
    assert (columns["day"]["min"], columns["day"]["max"]) == (min(days), max(days))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.fixed_dictionaries({"a": st.integers() | st.none(), "b": st.text(max_size=5)}), min_size=1))
def test_arrays_of_objects_are_tables(rows: list[dict[str, Any]]) -> None:
    (table,) = describe_data.main(json.dumps({"deep": {"rows": rows}}))["tables"]
    assert (table["path"], table["rows"]) == ("$.deep.rows", len(rows))
    numbers = [row["a"] for row in rows if row["a"] is not None]
    a, b = sorted(table["columns"], key=lambda column: column["name"])
    assert (a["count"], a["missing"], a["distinct"]) == (len(numbers), len(rows) - len(numbers), len(set(numbers)))
    if numbers:
        assert (a["min"], a["max"], a["mean"]) == (min(numbers), max(numbers), sum(numbers) / len(numbers))
    assert b["distinct"] == len({row["b"] for row in rows})


@settings(deadline=None)
@given(st.text())
def test_auto_takes_any_text(text: str) -> None:
    found = describe_data.main(text)
    assert found["format"] in describe_data.FORMATS
    json.dumps(found, allow_nan=False)


def test_a_lock_file_is_a_table_of_packages() -> None:
    text = LOCK.read_text("utf-8")
    packages = tomllib.loads(text)["package"]
    found = describe_data.main(text)
    assert found["format"] == "toml"
    table = next(table for table in found["tables"] if table["path"] == "$.package")
    columns = {column["name"]: column for column in table["columns"]}
    assert table["rows"] == len(packages)
    assert columns["name"]["distinct"] == len({package["name"] for package in packages})
    assert columns["version"]["count"] == sum("version" in package for package in packages)
    assert columns["dependencies"]["type"] == "array"


def test_lines_of_json() -> None:
    found = describe_data.main('{"a": 1}\n{"a": 2.5, "b": null}\n')
    assert (found["format"], found["values"], found["tables"][0]["rows"]) == ("jsonl", 2, 2)
    assert found["tables"][0]["columns"][0]["mean"] == 1.75


def test_prose() -> None:
    text = "The cat saw\nthe other cat.\n\nEnd"
    found = describe_data.main(text)
    assert found == {
        "format": "text", "bytes": len(text), "lines": 4, "truncated": False, "characters": len(text), "words": 7,
        "distinct_words": 5, "longest_line": {"line": 2, "characters": 14}, "frequent_words": found["frequent_words"],
    }  # fmt: skip
    assert found["frequent_words"][:2] == [{"value": "the", "count": 2}, {"value": "cat", "count": 2}]


MALFORMED = [
    ("csv", "a,b\n1,2\n3\n", "line 3: 1 fields, but the first row has 2"),
    ("csv", 'a,b\n1,"2\n', "line 2: unexpected end of data"),
    ("csv", "", "line 1: there is no row"),
    ("tsv", "a\tb\n1\n", "line 2: 1 fields"),
    ("json", '{"a": 1,\n "b": }', "line 2, column 7"),
    ("json", '{"a": 1, "a": 2}', "an object names one key twice"),
    ("json", "[NaN]", "NaN is not JSON"),
    ("json", "[1e999]", "too large"),
    ("json", "[" * 100_000, "nested too deeply"),
    ("jsonl", '{"a": 1}\n{"a": \n', "line 2, column"),
    ("jsonl", "", "there is no value"),
    ("toml", "a = 1\nb = \n", "line 2"),
    ("xml", "<a/>", "format must be one of auto, csv"),
]


@pytest.mark.parametrize(("format_", "text", "message"), MALFORMED)
def test_malformed_data_is_refused_by_line_and_taken_as_text(format_: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe_data.main(text, format_)
    assert describe_data.main(text)["format"] == "text"


def test_work_is_bounded_and_the_result_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe_data, "MAX_CELLS", 100)
    found = describe_data.main("a,b\n" + "1,2\n" * 1000)
    assert (found["rows"], found["rows_read"], found["truncated"]) == (1000, 50, True)
    assert found["columns"][0]["count"] == 50
    assert describe_data.main(json.dumps([{"a": 1}] * 1000))["truncated"] is True


@pytest.mark.anyio
async def test_the_sandbox_gives_the_same(sandbox: WasmSandbox) -> None:
    code = SOURCE.read_text("utf-8")  # noqa: ASYNC240
    names, rows = _table(random.Random(1), 2000)
    for text in (_write(names, rows, ";"), LOCK.read_text("utf-8"), "some words, and more\n"):
        outcome = await sandbox.run(Job(code, {"data": text}))
        assert outcome.error is None
        assert outcome.value == describe_data.main(text)
    failed = await sandbox.run(Job(code, {"data": "a,b\n1\n", "format": "csv"}))
    assert failed.error is not None
    assert failed.error.message == "line 2: 1 fields, but the first row has 2"
