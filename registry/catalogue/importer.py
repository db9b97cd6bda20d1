"""Tolerant import: every record ends up in the catalogue or in the report with its reason."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, cast

from attest.canonical import parse
from attest.errors import CanonicalError
from registry.catalogue.entry import MAX_ENTRY, problems
from registry.catalogue.store import Catalogue, Status
from registry.errors import Refused

OFFICIAL = "io.modelcontextprotocol.registry/official"
BATCH = 500
MAX_RECORD = 4 * MAX_ENTRY

Json = dict[str, Any]


@dataclass(slots=True)
class Report:
    """`refused` has a line for each record that is not in the catalogue: its number from 1, a code, a sentence.

    `invalid` counts those imported although they could not be published as they are. `pages` has a line for each page
    that could not be read: the cursor that leads to it, a code, a sentence. `resumed`: an earlier import had begun.
    """

    records: int = 0
    imported: int = 0
    invalid: int = 0
    refused: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    pages: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    resumed: bool = False

    def reasons(self) -> Counter[str]:
        """How many records and pages for each code."""
        return Counter([code for _, code, _ in self.refused] + [code for _, code, _ in self.pages])

    def to_json(self) -> Json:
        """For programs."""
        return {
            "records": self.records,
            "imported": self.imported,
            "invalid": self.invalid,
            "reasons": self.reasons(),
            "refused": [{"record": number, "code": code, "detail": detail} for number, code, detail in self.refused],
            "pages": [{"cursor": cursor, "code": code, "detail": detail} for cursor, code, detail in self.pages],
        }


class Importer:
    """Takes records batch by batch; `progress` is called after each durable one. `now` in milliseconds since 1970."""

    def __init__(self, catalogue: Catalogue, now: int, progress: Callable[[Report], None]) -> None:
        self._catalogue, self._now, self._progress = catalogue, now, progress
        self.report = Report()  # only ever added to

    def take(self, lines: Iterable[bytes], source: str = "", cursor: str = "") -> None:
        """Import one batch, and remember with it that `source` goes on at `cursor`."""
        with self._catalogue.transaction():
            for line in lines:
                self._take(line)
            if source:
                self._catalogue.keep_cursor(source, cursor)
        self._progress(self.report)

    def left_at(self, source: str) -> str:
        """The cursor at which an earlier import of `source` ended early; empty where none did."""
        return self._catalogue.cursor(source)

    def _take(self, line: bytes) -> None:
        self.report.records += 1
        try:
            server, status, published, updated = read(line, self._now)
            self._catalogue.add(server, status, published, updated, None)
        except Refused as e:
            self.report.refused.append((self.report.records, e.code, e.detail))
        else:
            self.report.imported += 1
            self.report.invalid += bool(problems(server))


class Lines:
    """Cuts chunks into lines. Of a line that is too long for a record only so much is kept as shows that it is."""

    def __init__(self) -> None:
        self._rest = b""  # the line that has no end yet

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ended in this chunk."""
        *ended, rest = chunk.split(b"\n")
        lines = [(self._rest + ended[0])[: MAX_RECORD + 1], *ended[1:]] if ended else []
        self._rest = (b"" if ended else self._rest) + rest
        self._rest = self._rest[: MAX_RECORD + 1]
        return lines

    def end(self) -> list[bytes]:
        """The last line, if the text does not end with a line end."""
        return [self._rest] if self._rest else []


def import_chunks(importer: Importer, chunks: Iterable[bytes]) -> None:
    """Import JSON Lines from pieces of any size."""
    lines = Lines()
    pending = chain(chain.from_iterable(map(lines.feed, chunks)), chain.from_iterable(map(Lines.end, [lines])))
    while batch := list(islice(pending, BATCH)):
        importer.take(batch)


def read(line: bytes, now: int) -> tuple[Json, Status, int, int]:
    """The server.json of a record, its status, and when it was published and updated. Raises `Refused`.

    Knows `{server, _meta}` (official API), `{name, version, ...}` (its index and bare server.json) and
    `{version_detail, ...}` (the seed of 2025-05). Entries of other catalogues are refused (`foreign-catalogue`): they
    have no namespace, and one that we made up would let 25 servers called `weather` pass for each other.
    """
    if len(line) > MAX_RECORD:
        raise Refused("oversized", f"a record holds at most {MAX_RECORD} bytes")
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
        raise _unnamed(record, server)
    status = meta.get("status", "active")
    if status not in ("active", "deprecated", "deleted"):
        raise Refused("invalid-status", f"the status is {str(status)[:40]!r}")
    published = _time(meta.get("publishedAt"), now)
    return server, status, published, _time(meta.get("updatedAt"), published)


def _unnamed(record: Json, server: Json) -> Refused:
    if isinstance(record.get("package"), str) and "meta" in record:
        return Refused("foreign-catalogue", "a ToolSDK record names a package, not a server: no namespace, no version")
    if server is not record and "dir" in record:
        return Refused("foreign-catalogue", "a record of Docker's catalogue names an image: no namespace, no version")
    if not isinstance(server.get("name"), str):
        return Refused("not-an-entry", "the record names no server")
    return Refused("no-namespace", "the name is not like com.example/server")


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
