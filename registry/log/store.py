"""Where the log is kept: SQLite. When a method returns, what it did is on disk."""

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attest.tlog import Checkpoint
from registry.database import connect
from registry.errors import LogFailure

SCHEMA = """
CREATE TABLE entries (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE INDEX entries_data ON entries (data);
CREATE TABLE tiles (level INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (level, number));
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, verifier TEXT NOT NULL,
    size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL);
CREATE TABLE staged (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL);
"""


class Conflict(Exception):
    """Another sequencer was faster: look again."""


class LogStore:
    """One connection, for one thread at a time. Tiles and entries may run ahead of the head by what is staged.

    There is at most one staged tree and it is never dropped, only swapped in. So one tree only can follow the head,
    whoever signs it and however often. The file is trusted: who can roll it back can make the log sign a fork.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LogFailure(
                "no-log", f"{path}: there is no log; bring it back, as a new one under the old key is a fork"
            )
        self._connection = _connect(path)

    @staticmethod
    def create(path: Path, verifier: str, head: Checkpoint, note: bytes) -> None:
        """Make the log with its first, empty checkpoint. Raises `LogFailure("conflict")` where there is one."""
        connection = _connect(path)
        try:
            with _transaction(connection):
                if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise LogFailure("conflict", f"{path}: there is a log already")
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                values = (head.origin, verifier, head.size, head.root, note)
                connection.execute("INSERT INTO head VALUES (1, ?, ?, ?, ?, ?)", values)
        finally:
            connection.close()

    def verifier(self) -> str:
        """The note key that the log was made with."""
        return str(self._row("SELECT verifier FROM head")[0])

    def state(self) -> tuple[Checkpoint, bytes, Checkpoint | None]:
        """As one reading: the last checkpoint swapped in, its note, and the one tree that may follow it, if staged."""
        origin, size, root, note, next_size, next_root = self._row(
            "SELECT h.origin, h.size, h.root, h.note, s.size, s.root FROM head h LEFT JOIN staged s ON TRUE"
        )
        staged = None if next_root is None else Checkpoint(origin, next_size, next_root)
        return Checkpoint(origin, size, root), note, staged

    def tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile so far; empty where there is none."""
        row = self._one("SELECT data FROM tiles WHERE level = ? AND number = ?", level, number)
        return row[0] if row else b""

    def entries(self, low: int, high: int) -> list[bytes]:
        """The entries of [low, high)."""
        with _as_failure():
            rows = self._connection.execute(
                "SELECT data FROM entries WHERE number >= ? AND number < ? ORDER BY number", (low, high)
            ).fetchall()
        return [row[0] for row in rows]

    def find(self, entry: bytes) -> int | None:
        """The number of the first such entry under the head."""
        row = self._one("SELECT MIN(number) FROM entries WHERE data = ? AND number < (SELECT size FROM head)", entry)
        return row[0] if row else None

    def stage(
        self, head: Checkpoint, entries: list[bytes], tiles: Mapping[tuple[int, int], bytes], tree: Checkpoint
    ) -> None:
        """Keep entries and tiles, and that `tree` follows `head`. Raises `Conflict` where something else does."""
        with _transaction(self._connection) as connection:
            current, _, staged = self.state()
            if current != head or staged:
                raise Conflict
            connection.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(entries, head.size))
            connection.executemany(
                "INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", ((*place, data) for place, data in tiles.items())
            )
            connection.execute("INSERT INTO staged VALUES (1, ?, ?)", (tree.size, tree.root))

    def swap(self, head: Checkpoint, tree: Checkpoint, note: bytes) -> None:
        """Make the staged `tree` the head if `head` still is. Raises `Conflict` where it is not."""
        with _transaction(self._connection) as connection:
            if self.state()[2] != tree:
                raise Conflict
            changed = connection.execute(
                "UPDATE head SET size = ?, root = ?, note = ? WHERE size = ? AND root = ?",
                (tree.size, tree.root, note, head.size, head.root),
            )
            if changed.rowcount != 1:
                raise Conflict
            connection.execute("DELETE FROM staged")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _one(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        with _as_failure():
            return self._connection.execute(sql, parameters).fetchone()

    def _row(self, sql: str) -> tuple[Any, ...]:
        if (row := self._one(sql)) is None:
            raise LogFailure("corrupt", "the log has no head")
        return row


def _connect(path: Path) -> sqlite3.Connection:
    with _as_failure():
        return connect(path)


@contextmanager
def _as_failure() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise LogFailure("storage", f"{e}; free or mend the disk") from e


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    with _as_failure():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:  # whatever ends it, half of it must not stay
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
