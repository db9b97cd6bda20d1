"""`Store` in one SQLite file, in which nobody reads a user, a path, a type, a size or a content without the master key.

What the file does tell: how many users, objects and versions there are, when objects expire, and sizes within a factor
of two. Rows cannot be changed, moved or passed off as another's; an old copy, or missing rows, cannot be told. Several
processes may use one file.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attest.encoding import sha256_hex
from servers.storage.crypto import SealError, Vault
from servers.storage.index import Index, Indexes, seal_version
from servers.storage.store import Content, Page, Quota, StoreError, Version, check_content, check_path
from servers.storage.worker import Task, Worker

SCHEMA = """
CREATE TABLE IF NOT EXISTS vault (fingerprint BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS users (user BLOB PRIMARY KEY, last INTEGER NOT NULL, name BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (
    user BLOB NOT NULL, path BLOB NOT NULL, number INTEGER NOT NULL, expires INTEGER, meta BLOB NOT NULL,
    body BLOB NOT NULL, UNIQUE (user, path, number));
CREATE INDEX IF NOT EXISTS versions_expires ON versions (expires) WHERE expires IS NOT NULL;
"""
Connection = sqlite3.Connection


class SqliteStore:
    """See `Store`. `clock` returns milliseconds since 1970; used from one event loop. Raises `StoreError`."""

    def __init__(self, path: Path, master: bytes, quota: Quota, clock: Callable[[], int]) -> None:
        self._path, self._vault, self._quota, self._clock = path, Vault(master), quota, clock
        self._indexes = Indexes()  # the worker's thread owns it
        path.touch(0o600)
        try:
            self._worker = Worker(path, SCHEMA, self._begin, (StoreError, SealError))
        except sqlite3.Error as e:
            raise StoreError("unavailable", f"{path}: {e}; move the file away to start a new store") from e

    async def put(
        self, user: str, path: str, content: Content, *, lifetime: int | None = None, if_version: int | None = None
    ) -> tuple[Version, bool]:
        """See `Store`."""
        check_path(path)
        check_content(content, self._quota)
        return await self._run(partial(self._put, user, path, content, lifetime, if_version))

    async def get(self, user: str, path: str, number: int | None = None) -> tuple[Version, bytes]:
        """See `Store`."""
        return await self._run(partial(self._get, user, path, number))

    async def delete(self, user: str, path: str, if_version: int | None = None) -> Version:
        """See `Store`."""
        return await self._run(partial(self._delete, user, path, if_version))

    async def history(self, user: str, path: str, limit: int) -> Sequence[Version]:
        """See `Store`."""
        return await self._run(partial(self._history, user, path, limit))

    async def page(self, user: str, prefix: str = "", after: str = "", limit: int = 100) -> Page:
        """See `Store`."""
        return await self._run(partial(self._page, user, prefix, after, limit))

    async def sweep(self) -> frozenset[bytes]:
        """See `Store`."""
        return await self._run(self._sweep)

    def tag(self, user: str) -> bytes:
        """What `sweep` calls this user."""
        return self._vault.user(user).tag

    def close(self) -> None:
        """Finish what is queued and close the file."""
        self._worker.close()

    async def _run(self, task: Task) -> Any:
        try:
            return await self._worker.run(task)
        except sqlite3.Error as e:
            raise StoreError("unavailable", f"{e}; nothing was stored: free or mend the disk") from e
        except SealError as e:
            raise StoreError("corrupt", f"{e}; somebody changed the database") from e

    def _begin(self, connection: Connection, changed: bool) -> None:
        if not changed:
            return
        self._indexes.clear()
        known = connection.execute("SELECT fingerprint FROM vault").fetchone()
        if known is None:
            connection.execute("INSERT INTO vault VALUES (?)", (self._vault.fingerprint,))
        elif known[0] != self._vault.fingerprint:
            raise StoreError("unavailable", f"{self._path} was written under another master key; name that key's file")

    def _index(self, connection: Connection, user: str) -> Index:
        """What the user has at this moment; what has expired is gone after it."""
        index = self._indexes.open(connection, self._vault.user(user))
        for path in index.expired(self._clock()):
            self._drop(connection, index, path)
        return index

    def _drop(self, connection: Connection, index: Index, path: str) -> None:
        connection.execute(
            "DELETE FROM versions WHERE user = ? AND path = ?", (index.vault.tag, index.vault.path(path))
        )
        index.remove(path)

    def _put(
        self,
        user: str,
        path: str,
        content: Content,
        lifetime: int | None,
        if_version: int | None,
        connection: Connection,
    ) -> tuple[Version, bool]:
        index = self._index(connection, user)
        vault, now, kept = index.vault, self._clock(), index.versions(path)
        _compare(path, kept[-1].number if kept else 0, if_version)
        surplus = kept[: max(0, len(kept) - self._quota.versions + 1)]
        self._afford(index, content, new=not kept, freed=sum(version.size for version in surplus))
        row = connection.execute("SELECT last FROM users WHERE user = ?", (vault.tag,)).fetchone()
        number = (row[0] if row else 0) + 1
        version = content.version(path, number, now, lifetime)
        tag, meta = vault.path(path), seal_version(vault, version)
        body = vault.seal(b"body", tag, number, content.data)
        if row is None:
            connection.execute("INSERT INTO users VALUES (?, ?, ?)", (vault.tag, number, vault.sealed_name()))
        else:
            connection.execute("UPDATE users SET last = ? WHERE user = ?", (number, vault.tag))
        if kept:  # only the newest version says when the object ends
            connection.execute("UPDATE versions SET expires = NULL WHERE user = ? AND path = ?", (vault.tag, tag))
        for old in surplus:
            where = (vault.tag, tag, old.number)
            connection.execute("DELETE FROM versions WHERE user = ? AND path = ? AND number = ?", where)
        values = (vault.tag, tag, number, version.expires_at, meta, body)
        connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)", values)
        index.prune(path, len(surplus))
        index.add(version)
        return version, not kept

    def _afford(self, index: Index, content: Content, *, new: bool, freed: int) -> None:
        if new and len(index.paths) >= self._quota.objects:
            raise StoreError("quota", f"{self._quota.objects} objects are the most; delete some")
        if (total := index.total_bytes - freed + len(content.data)) > self._quota.total_bytes:
            raise StoreError("quota", f"that would be {total} bytes of {self._quota.total_bytes}; delete some objects")

    def _get(self, user: str, path: str, number: int | None, connection: Connection) -> tuple[Version, bytes]:
        index = self._index(connection, user)
        tag, kept = index.vault.path(path), index.versions(path)
        version = next((v for v in reversed(kept) if number in {None, v.number}), None)
        where = (index.vault.tag, tag, version.number if version else 0)
        row = connection.execute(
            "SELECT CAST(body AS BLOB) FROM versions WHERE user = ? AND path = ? AND number = ?", where
        ).fetchone()
        if version is None or row is None:
            raise _not_found()
        data = index.vault.open(b"body", tag, version.number, row[0])
        if sha256_hex(data) != version.sha256:
            raise SealError("content and description are of different versions")
        return version, data

    def _delete(self, user: str, path: str, if_version: int | None, connection: Connection) -> Version:
        index = self._index(connection, user)
        if not (kept := index.versions(path)):
            raise _not_found()
        _compare(path, kept[-1].number, if_version)
        self._drop(connection, index, path)
        return kept[-1]

    def _history(self, user: str, path: str, limit: int, connection: Connection) -> Sequence[Version]:
        if not (kept := self._index(connection, user).versions(path)):
            raise _not_found()
        return kept[::-1][:limit]

    def _page(self, user: str, prefix: str, after: str, limit: int, connection: Connection) -> Page:
        index = self._index(connection, user)
        chosen = [path for path in index.paths if path.startswith(prefix)]
        start = bisect_right(chosen, after)
        entries = [index.versions(path)[-1] for path in chosen[start : start + limit]]
        return Page(entries, start + limit < len(chosen), len(chosen))

    def _sweep(self, connection: Connection) -> frozenset[bytes]:
        now = self._clock()
        found = connection.execute("SELECT DISTINCT user, path FROM versions WHERE expires <= ?", (now,)).fetchall()
        connection.executemany("DELETE FROM versions WHERE user = ? AND path = ?", found)
        users = frozenset(user for user, _ in found)
        for user in users:
            self._indexes.forget(user)
        return users


def _compare(path: str, current: int, expected: int | None) -> None:
    if expected not in {None, current}:
        raise StoreError("conflict", f"{path} is at version {current}, not {expected}; read it and try again")


def _not_found() -> StoreError:
    return StoreError("not-found", "there is no such object or version")
