"""Receipts, the evidence behind them, and pins, in SQLite. What is acknowledged has been fsynced.

One thread owns the connection and commits everything that queued up while it was busy as one transaction, so that
concurrent calls share an fsync.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import UserError
from registry.database import connect

SCHEMA = """
CREATE TABLE IF NOT EXISTS evidence (id TEXT PRIMARY KEY, text TEXT NOT NULL, documents TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, server TEXT NOT NULL,
    method TEXT NOT NULL, target TEXT, kind TEXT NOT NULL, assurance TEXT NOT NULL, outcome TEXT NOT NULL,
    receipt TEXT NOT NULL, params_salt BLOB NOT NULL, params BLOB NOT NULL, result BLOB NOT NULL,
    speaker TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refusals (
    number INTEGER PRIMARY KEY, at INTEGER NOT NULL, server TEXT NOT NULL, method TEXT NOT NULL, target TEXT,
    code TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tested (id TEXT PRIMARY KEY) WITHOUT ROWID; -- receipts accepted under a root for tests
CREATE TABLE IF NOT EXISTS logged (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, hashes TEXT NOT NULL, checkpoint TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (log TEXT PRIMARY KEY, size INTEGER NOT NULL, checkpoint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS definitions (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS proofs (id TEXT PRIMARY KEY, definition TEXT NOT NULL, proof TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (server TEXT PRIMARY KEY, manifest TEXT NOT NULL, basis TEXT, at INTEGER NOT NULL);
"""

Statement = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Batch:
    statements: list[Statement]
    done: Callable[[BaseException | None], None]


class Store:
    """Reads are immediate; `write` returns once its statements are on disk, all or none. Used from one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = _connect(path)
            self._reader.executescript(SCHEMA)
            self._connection = _connect(path)  # of the writer thread
        except sqlite3.Error as e:
            raise UserError(f"{path}: {e}; mend the disk, or move the file away to start a new store") from e
        # Batches on their way to the writer thread; None ends it.
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="store", daemon=True)
        self._writer.start()

    async def write(self, *statements: Statement) -> None:
        """Execute SQL statements in one durable transaction. Raises `UserError` where that cannot be done."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(None)

        def done(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(settle, error)

        self._queue.put(_Batch(list(statements), done))
        try:
            await future
        except sqlite3.Error as e:
            raise UserError(
                f"{self._path}: {e}; nothing is passed on until it can be kept: free or mend the disk"
            ) from e

    def read(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """All rows of one query. Raises `UserError` where the file cannot be read."""
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as e:
            raise UserError(f"{self._path}: {e}; mend the disk, or move the file away to start a new store") from e

    def close(self) -> None:
        """Finish what is queued and close."""
        self._queue.put(None)
        self._writer.join()
        self._reader.close()

    def _run(self) -> None:
        connection = self._connection
        while (batch := self._queue.get()) is not None:
            batches, last = [batch], False
            while not self._queue.empty():
                if (more := self._queue.get()) is None:
                    last = True
                    break
                batches.append(more)
            self._commit(connection, batches)
            if last:
                break
        connection.close()

    def _commit(self, connection: sqlite3.Connection, batches: list[_Batch]) -> None:
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for batch in batches:
                    for sql, parameters in batch.statements:
                        connection.execute(sql, parameters)
        except Exception as e:  # noqa: BLE001 - whatever it is, it must not end the thread that all writers wait for
            if len(batches) == 1:
                return batches[0].done(e)
            for batch in batches:  # one bad statement must not fail its neighbours
                self._commit(connection, [batch])
            return None
        for batch in batches:
            batch.done(None)
        return None


def _connect(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.row_factory = sqlite3.Row
    return connection
