"""Entries in SQLite, the latest version of each searchable (FTS5). When a writing method returns, it is on disk."""

import json
import re
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from registry.catalogue.entry import identify
from registry.catalogue.versions import rank
from registry.database import connect
from registry.errors import NotFound, Refused, RegistryError

Status = Literal["active", "deprecated", "deleted"]
STATUSES: tuple[Status, ...] = get_args(Status)
MAX_VERSIONS = 10_000
MAX_LIMIT = 100

SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL,
    server TEXT NOT NULL, status TEXT NOT NULL, published INTEGER NOT NULL, updated INTEGER NOT NULL,
    latest INTEGER NOT NULL, manifest TEXT, publisher TEXT, leaf INTEGER, message TEXT, changed INTEGER,
    status_leaf INTEGER, UNIQUE (name, version));
CREATE INDEX IF NOT EXISTS versions_latest ON versions (name) WHERE latest;
CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5 (name, title, description, tokenize = 'porter unicode61');
CREATE TABLE IF NOT EXISTS challenges (nonce TEXT PRIMARY KEY, name TEXT NOT NULL, expires INTEGER NOT NULL,
    used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS imports (source TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a publisher signed: the DSSE envelope as JSON text, the publisher's key in hex, the leaf in the log."""

    manifest: str
    publisher: str
    leaf: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The last change of a status: what was said of it, when (milliseconds since 1970), and its leaf in the log."""

    message: str | None
    at: int
    leaf: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One version as kept; times in milliseconds since 1970. `signed` is None for what was only imported, `changed`
    for what has the status that it came with.
    """

    name: str
    version: str
    server: Mapping[str, Any]
    status: Status
    published: int
    updated: int
    latest: bool
    signed: Signed | None
    changed: Changed | None


class Catalogue:
    """Used from one thread. Signed versions never change once they are in; only their status does."""

    def __init__(self, path: Path) -> None:
        try:
            self._connection = connect(path)
            self._connection.row_factory = sqlite3.Row
            self._connection.executescript(SCHEMA)
        except sqlite3.Error as e:
            raise RegistryError("storage", f"{path}: {e}") from e

    def add(
        self, server: Mapping[str, Any], status: Status, published: int, updated: int, signed: Signed | None
    ) -> None:
        """Keep one version. What a publisher signed takes the place of a copy that was only imported.

        Raises `Refused`: as `identify`, `version-exists`, `too-many-versions`.
        """
        name, version = identify(server)
        with self.transaction():
            if signed:
                published = self._drop_copy(name, version, published)
            others = self._rows("SELECT version, published, latest, id FROM versions WHERE name = ?", name)
            if any(row["version"] == version for row in others):
                raise Refused(
                    "version-exists", f"{name} has a version {version}; versions never change: publish another"
                )
            if len(others) >= MAX_VERSIONS:
                raise Refused("too-many-versions", f"{name} has {MAX_VERSIONS} versions")
            mine = rank(version, published)
            latest = all(rank(row["version"], row["published"]) < mine for row in others)
            if latest:
                for row in others:
                    if row["latest"]:
                        self._connection.execute("DELETE FROM search WHERE rowid = ?", (row["id"],))
                self._connection.execute("UPDATE versions SET latest = 0 WHERE name = ? AND latest", (name,))
            text = json.dumps(dict(server), ensure_ascii=False)
            extra = (signed.manifest, signed.publisher, signed.leaf) if signed else (None, None, None)
            added = self._connection.execute(
                "INSERT INTO versions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                (name, version, text, status, published, updated, latest, *extra),
            )
            if latest:
                words = (name, str(server.get("title") or ""), str(server.get("description") or ""))
                self._connection.execute(
                    "INSERT INTO search (rowid, name, title, description) VALUES (?, ?, ?, ?)",
                    (added.lastrowid, *words),
                )

    def set_status(self, name: str, version: str, status: Status, changed: Changed) -> None:
        """Give a version that is there another status."""
        with self.transaction():
            self._connection.execute(
                "UPDATE versions SET status = ?, updated = ?, message = ?, changed = ?, status_leaf = ?"
                " WHERE name = ? AND version = ?",
                (status, changed.at, changed.message, changed.at, changed.leaf, name, version),
            )

    def get(self, name: str, version: str = "latest") -> Entry:
        """One version. Raises `NotFound`: `no-server`, `no-version`."""
        if version == "latest":
            rows = self._rows("SELECT * FROM versions WHERE name = ? AND latest", name)
        else:
            rows = self._rows("SELECT * FROM versions WHERE name = ? AND version = ?", name, version)
        if not rows:
            self.versions(name)
            raise NotFound("no-version", f"{name} has no version {version}")
        return _entry(rows[0])

    def versions(self, name: str) -> list[Entry]:
        """All versions of a server, last published first. Raises `NotFound("no-server")`."""
        rows = self._rows("SELECT * FROM versions WHERE name = ? ORDER BY published DESC, id DESC", name)
        if not rows:
            raise NotFound("no-server", f"there is no server {name}")
        return [_entry(row) for row in rows]

    def page(
        self,
        *,
        after: tuple[str, str] = ("", ""),
        limit: int = 30,
        part: str = "",
        updated_since: int = 0,
        version: str = "",
        deleted: bool = False,
    ) -> list[Entry]:
        """Entries by name and version, those after `after`. `part` is of the name; `version` may be `latest`."""
        pattern = "%" + re.sub(r"([%_\\])", r"\\\1", part) + "%"
        rows = self._rows(
            "SELECT * FROM versions WHERE (name, version) > (?, ?) AND name LIKE ? ESCAPE '\\' AND updated >= ?"
            " AND (? OR status != 'deleted') AND (? = '' OR (? = 'latest' AND latest) OR version = ?)"
            " ORDER BY name, version LIMIT ?",
            *(*after, pattern, updated_since, deleted, version, version, version, min(limit, MAX_LIMIT)),
        )  # fmt: skip
        return [_entry(row) for row in rows]

    def search(self, query: str, limit: int = 10) -> list[Entry]:
        """The latest versions that match best (BM25): first those with every word, then those with any."""
        words = [f'"{word}"' for word in re.findall(r"\w+", query)[:16]]
        found: dict[int, sqlite3.Row] = {}
        for joined in (" AND ".join(words), " OR ".join(words)):
            if words and len(found) < limit:
                rows = self._rows(
                    "SELECT v.* FROM search s JOIN versions v ON v.id = s.rowid WHERE search MATCH ?"
                    " AND v.status != 'deleted' ORDER BY bm25(search, 4, 4, 1), v.name LIMIT ?",
                    *(joined, min(limit, MAX_LIMIT)),
                )
                found |= {row["id"]: row for row in rows if row["id"] not in found}
        return [_entry(row) for row in list(found.values())[:limit]]

    def challenge(self, nonce: str, name: str, expires: int, now: int) -> None:
        """Remember a challenge, and forget those that have expired."""
        with self.transaction():
            self._connection.execute("DELETE FROM challenges WHERE expires < ?", (now - 86_400_000,))
            self._connection.execute("INSERT INTO challenges VALUES (?, ?, ?, 0)", (nonce, name, expires))

    def spend(self, nonce: str, name: str, now: int) -> None:
        """Use a challenge up. Raises `Refused`: `unknown-challenge`, `replayed-challenge`, `expired-challenge`."""
        with self.transaction():
            rows = self._rows("SELECT * FROM challenges WHERE nonce = ? AND name = ?", nonce, name)
            if not rows:
                raise Refused("unknown-challenge", "no such challenge was given for this name; ask for one")
            if rows[0]["used"]:
                raise Refused("replayed-challenge", "the challenge has been used; ask for another")
            if rows[0]["expires"] <= now:
                raise Refused("expired-challenge", "the challenge has expired; ask for another")
            self._connection.execute("UPDATE challenges SET used = 1 WHERE nonce = ?", (nonce,))

    def cursor(self, source: str) -> str:
        """Where an import that was cut short goes on; empty where none was."""
        rows = self._rows("SELECT cursor FROM imports WHERE source = ?", source)
        return str(rows[0]["cursor"]) if rows else ""

    def keep_cursor(self, source: str, cursor: str) -> None:
        """Remember that; an empty cursor forgets it."""
        with self.transaction():
            self._connection.execute("DELETE FROM imports WHERE source = ?", (source,))
            if cursor:
                self._connection.execute("INSERT INTO imports VALUES (?, ?)", (source, cursor))

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing; one inside another belongs to the outer one. Raises `RegistryError("storage")`."""
        if self._connection.in_transaction:
            yield
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:  # whatever ends it, half of it must not stay
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as e:
            raise RegistryError("storage", f"{e}; free or mend the disk") from e

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _drop_copy(self, name: str, version: str, published: int) -> int:
        """Returns when the copy was published, or else `published`, so that the order of versions stays."""
        unsigned = "SELECT id, published FROM versions WHERE name = ? AND version = ? AND manifest IS NULL"
        for row in self._rows(unsigned, name, version):
            self._connection.execute("DELETE FROM search WHERE rowid = ?", (row["id"],))
            self._connection.execute("DELETE FROM versions WHERE id = ?", (row["id"],))
            published = row["published"]
        return published

    def _rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        return self._connection.execute(sql, parameters).fetchall()


def _entry(row: sqlite3.Row) -> Entry:
    signed = Signed(row["manifest"], row["publisher"], row["leaf"]) if row["manifest"] else None
    changed = Changed(row["message"], row["changed"], row["status_leaf"]) if row["changed"] is not None else None
    return Entry(
        row["name"], row["version"], json.loads(row["server"]), row["status"], row["published"], row["updated"],
        bool(row["latest"]), signed, changed
    )  # fmt: skip
