"""Opening a SQLite file whose commits are durable, and that several processes may open at once."""

import sqlite3
import time
from pathlib import Path

BUSY_SECONDS = 30.0
_PAUSE_SECONDS = 0.01


def connect(path: Path) -> sqlite3.Connection:
    """A connection in write-ahead mode, made or joined, that waits for others; any thread may use it, one at a time.

    Raises `sqlite3.Error`.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    # Two processes that both find a new file would each wait for the other: SQLite then fails at once, without the
    # timeout (sqlite.org/c3ref/busy_handler.html), and it is the change of mode alone that must be tried again.
    for _ in range(int(BUSY_SECONDS / _PAUSE_SECONDS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")
