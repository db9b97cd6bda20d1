"""SQL over tables that are passed in: `main(sql, ...)`. Runs in the sandbox, with DuckDB."""

import base64
import datetime
import math
import re
from pathlib import PurePosixPath
from typing import Any, cast

import duckdb

READERS = {
    ".csv": "read_csv_auto",
    ".tsv": "read_csv_auto",
    ".json": "read_json_auto",
    ".jsonl": "read_json_auto",
    ".ndjson": "read_json_auto",
    ".parquet": "read_parquet",
}
_NAME = re.compile(r"[^a-z0-9_]+")
MAX_ROWS = 10_000


def main(sql: str, tables: list[str], max_rows: int = 1000) -> dict[str, Any]:
    """The rows that the statement gives. `tables` are files in the working directory, each a table by its stem.

    Raises `ValueError` for a name that is no table, and what DuckDB raises.
    """
    engine = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "threads": "1",
            "memory_limit": "192MB",
            "temp_directory": "",
        }
    )
    named: dict[str, str] = {}
    for file in tables:
        path = PurePosixPath(file)
        reader = READERS.get(path.suffix.lower())
        name = _NAME.sub("_", path.stem.lower()).strip("_")
        if reader is None or not name:
            raise ValueError(f"{file}: not a table; pass files named .csv, .tsv, .json, .jsonl or .parquet")
        if name in named:
            raise ValueError(f"{file}: the table {name} is {named[name]} already; name it otherwise")
        named[name] = file
        quoted = file.replace("'", "''")
        engine.execute(f"CREATE TABLE \"{name}\" AS SELECT * FROM {reader}('{quoted}')")  # noqa: S608 - its own database
    # Now that the tables are in memory, the statement gets nothing else.
    engine.execute("SET enable_external_access = false; SET lock_configuration = true")
    found = engine.execute(sql)
    columns = [{"name": str(each[0]), "type": str(each[1])} for each in found.description or []]
    most = min(max_rows, MAX_ROWS)
    rows = found.fetchmany(most + 1) if columns else []
    return {
        "columns": columns,
        "rows": [[_json(cell) for cell in row] for row in rows[:most]],
        "truncated": len(rows) > most,
    }


def _json(cell: Any) -> Any:
    if isinstance(cell, list | tuple):
        return [_json(each) for each in cast(list[Any], cell)]
    if isinstance(cell, dict):
        return {str(name): _json(each) for name, each in cast(dict[Any, Any], cell).items()}
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if cell is None or isinstance(cell, bool | int | str) or (isinstance(cell, float) and math.isfinite(cell)):
        return cell
    return str(cell)  # decimals, which JSON's numbers are not, intervals, UUIDs, infinity
