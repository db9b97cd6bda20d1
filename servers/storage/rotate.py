"""Another master key for all that is kept, and the key that counts after a rotation was interrupted.

The new key is on disk beside the old one before a row is sealed under it, every row changes in one transaction, and
only then does the key take the old one's name. Whoever comes next finishes that last step, so a kill at any moment
loses neither key nor row. A server that runs meanwhile answers `unavailable` from then on: start it again.
"""

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from servers.storage.crypto import SealError, UserVault, Vault, master_key, sync_folder
from servers.storage.index import open_version, seal_version
from servers.storage.store import StoreError


def current_key(key: Path, database: Path) -> bytes:
    """The master key, after finishing what an interrupted rotation left; made where there is none.

    Raises `KeyFileError`, `OSError`, `StoreError`.
    """
    with _alone(key.parent):
        return _settled(key, database)


def rotate(key: Path, database: Path) -> int:
    """Make a new master key, seal everything under it, and forget the old one; how many versions there were.

    Raises `KeyFileError`, `OSError` and `StoreError`; nothing is changed then, and it may be tried again.
    """
    if not database.exists():
        raise StoreError("unavailable", f"{database}: there is no store; name its folder with --data")
    with _alone(key.parent):
        old, fresh = _settled(key, database), _fresh(key)
        try:
            count = _reseal(database, Vault(old), Vault(master_key(fresh)))
        except sqlite3.Error as e:
            raise StoreError("unavailable", f"{database}: {e}; nothing was changed: free or mend the disk") from e
        except SealError as e:
            raise StoreError("corrupt", f"{database}: {e}; nothing was changed") from e
        _take(fresh, key)
    return count


def _fresh(key: Path) -> Path:
    return key.with_name(f"{key.name}.new")


def _take(fresh: Path, key: Path) -> None:
    fresh.replace(key)
    sync_folder(key.parent)


def _settled(key: Path, database: Path) -> bytes:
    fresh = _fresh(key)
    if fresh.exists() and database.exists() and Vault(master_key(fresh)).fingerprint == _fingerprint(database):
        _take(fresh, key)
    return master_key(key)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One at a time: two rotations must not take each other's half-done key."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fingerprint(database: Path) -> bytes | None:
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'vault'").fetchone() is None:
                return None
            return (connection.execute("SELECT fingerprint FROM vault").fetchone() or (None,))[0]
    except sqlite3.Error as e:
        raise StoreError("unavailable", f"{database}: {e}; mend the disk or name another folder") from e


def _reseal(database: Path, old: Vault, new: Vault) -> int:
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what stays in free pages must not open under the old key
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT fingerprint FROM vault").fetchone() != (old.fingerprint,):
            raise StoreError("unavailable", f"{database} was written under another master key; name that key's file")
        users = connection.execute("SELECT user, CAST(name AS BLOB) FROM users").fetchall()
        owners = [old.owner(*row) for row in users]
        count = sum(_reseal_user(connection, owner, owner.under(new)) for owner in owners)
        if (count,) != connection.execute("SELECT count(*) FROM versions").fetchone():
            raise SealError("there are rows of nobody")
        connection.execute("UPDATE vault SET fingerprint = ?", (new.fingerprint,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return count


def _reseal_user(connection: sqlite3.Connection, old: UserVault, new: UserVault) -> int:
    where = "UPDATE users SET user = ?, name = ? WHERE user = ?"
    connection.execute(where, (new.tag, new.sealed_name(), old.tag))
    chosen = "SELECT rowid, CAST(path AS BLOB), CAST(number AS INTEGER) FROM versions WHERE user = ?"
    rows = connection.execute(chosen, (old.tag,)).fetchall()
    for row, path, number in rows:  # one body in memory at a time
        parts = "SELECT CAST(meta AS BLOB), CAST(body AS BLOB) FROM versions WHERE rowid = ?"
        meta, body = connection.execute(parts, (row,)).fetchone()
        version = open_version(old, path, number, meta)
        data, tag = old.open(b"body", path, number, body), new.path(version.path)
        values = (new.tag, tag, seal_version(new, version), new.seal(b"body", tag, number, data), row)
        connection.execute("UPDATE versions SET user = ?, path = ?, meta = ?, body = ? WHERE rowid = ?", values)
    return len(rows)
