"""Tolerant import of JSON Lines: every record ends up in the catalogue or in the report with its reason."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

from attest.canonical import parse
from attest.errors import CanonicalError
from registry.catalogue.entry import MAX_ENTRY, problems
from registry.catalogue.store import Catalogue, Status
from registry.errors import Refused

OFFICIAL = "io.modelcontextprotocol.registry/official"
BATCH = 500

Json = dict[str, Any]


@dataclass(slots=True)
class Report:
    """`refused` has a line for each record that is not in the catalogue: its number from 1, a code, a sentence.

    `invalid` counts those imported although they could not be published as they are.
    """

    records: int = 0
    imported: int = 0
    invalid: int = 0
    refused: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])

    def reasons(self) -> Counter[str]:
        """How many records for each code."""
        return Counter(code for _, code, _ in self.refused)


def import_lines(catalogue: Catalogue, lines: Iterable[bytes], now: int, progress: Callable[[Report], None]) -> Report:
    """Import until the lines end; `progress` is called after each durable batch. `now` in milliseconds since 1970."""
    report, numbered = Report(), iter(lines)
    while batch := list(islice(numbered, BATCH)):
        with catalogue.transaction():
            for line in batch:
                report.records += 1
                try:
                    server, status, published, updated = read(line, now)
                    catalogue.add(server, status, published, updated, None)
                except Refused as e:
                    report.refused.append((report.records, e.code, e.detail))
                else:
                    report.imported += 1
                    report.invalid += bool(problems(server))
        progress(report)
    return report


def read(line: bytes, now: int) -> tuple[Json, Status, int, int]:
    """The server.json of a record, its status, and when it was published and updated. Raises `Refused`.

    Knows `{server, _meta}` (official API), `{name, version, ...}` (its index and bare server.json) and
    `{version_detail, ...}` (the seed of 2025-05). Other catalogues name no namespace: `no-namespace`.
    """
    if len(line) > 4 * MAX_ENTRY:
        raise Refused("oversized", f"a record holds at most {4 * MAX_ENTRY} bytes")
    try:
        value = parse(line)
    except CanonicalError as e:
        raise Refused("ambiguous-json" if e.code != "not-json" else "not-json", e.detail) from e
    if not isinstance(value, dict):
        raise Refused("not-an-entry", "the record is not an object")
    record = cast(Json, value)
    inner = record.get("server")
    server = cast(Json, inner) if isinstance(inner, dict) else record
    meta = record if server is record else _object(_object(record.get("_meta")).get(OFFICIAL))
    if server is record:
        server = _legacy(record) if "version_detail" in record else _flat(record)
    if "/" not in str(server.get("name", "")):
        raise Refused("no-namespace", "the record names no server like com.example/server")
    status = meta.get("status", "active")
    if status not in ("active", "deprecated", "deleted"):
        raise Refused("invalid-status", f"the status is {str(status)[:40]!r}")
    published = _time(meta.get("publishedAt"), now)
    return server, status, published, _time(meta.get("updatedAt"), published)


def _object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _flat(record: Json) -> Json:
    ours = {"status", "publishedAt", "updatedAt", "kind"}
    return {name: value for name, value in record.items() if name not in ours and value is not None}


def _legacy(record: Json) -> Json:
    server = {name: value for name, value in record.items() if name not in ("version_detail", "id", "packages")}
    if isinstance(detail := record["version_detail"], dict):
        server["version"] = cast(Json, detail).get("version")
    if isinstance(packages := record.get("packages"), list):
        server["packages"] = [_package(cast(Json, p)) for p in cast(list[Any], packages) if isinstance(p, dict)]
    return server


def _package(old: Json) -> Json:
    renamed = {"registry_name": "registryType", "name": "identifier"}
    package = {renamed.get(name, _camel(name)): value for name, value in old.items()}
    return package | {"transport": {"type": "stdio"}}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _time(text: object, otherwise: int) -> int:
    if isinstance(text, str):
        with contextlib.suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(text)
            return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    return otherwise
