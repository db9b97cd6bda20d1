"""What users have, without the bytes: kept in memory so that quotas, lists and look-ups decrypt nothing twice."""

import sqlite3
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from attest.canonical import canonical, parse
from servers.storage.crypto import UserVault
from servers.storage.store import Version

MAX_CACHED = 1024


def seal_version(vault: UserVault, version: Version) -> bytes:
    """The `meta` of a row."""
    document = asdict(version)
    del document["number"]
    return vault.seal(b"meta", vault.path(version.path), version.number, canonical(document))


def open_version(vault: UserVault, path: bytes, number: int, meta: bytes) -> Version:
    """The version that a row holds; raises `SealError` where it stands in another's place."""
    return Version(number=number, **parse(vault.open(b"meta", path, number, meta)))


class Index:
    """What one user has: versions by path, oldest first."""

    def __init__(self, vault: UserVault) -> None:
        self.vault = vault
        self.paths: list[str] = []  # sorted
        self.total_bytes = 0
        self._versions: dict[str, list[Version]] = {}
        self._ends: dict[str, int] = {}

    def versions(self, path: str) -> Sequence[Version]:
        """The versions of an object; empty where there is none."""
        return tuple(self._versions.get(path, ()))

    def add(self, version: Version) -> None:
        """One more version of an old or new object."""
        if version.path not in self._versions:
            self._versions[version.path] = []
            insort(self.paths, version.path)
        self._versions[version.path].append(version)
        self.total_bytes += version.size
        self._ends.pop(version.path, None)
        if version.expires_at is not None:
            self._ends[version.path] = version.expires_at

    def prune(self, path: str, count: int) -> None:
        """Forget the oldest `count` versions."""
        if count:
            self.total_bytes -= sum(version.size for version in self._versions[path][:count])
            del self._versions[path][:count]

    def remove(self, path: str) -> None:
        """Forget an object."""
        self.total_bytes -= sum(version.size for version in self._versions.pop(path))
        del self.paths[bisect_left(self.paths, path)]
        self._ends.pop(path, None)

    def expired(self, now: int) -> list[str]:
        """Paths of the objects whose time is over."""
        return [path for path, end in self._ends.items() if end <= now]


class Indexes:
    """The indexes of the users who were here last. Owned by the thread of the store."""

    def __init__(self) -> None:
        self._by_user: OrderedDict[bytes, Index] = OrderedDict()  # least recently used first

    def open(self, connection: sqlite3.Connection, vault: UserVault) -> Index:
        """The index of one user, read from the database where it is not at hand; raises `SealError`."""
        index = self._by_user.pop(vault.tag, None) or _load(connection, vault)
        self._by_user[vault.tag] = index
        if len(self._by_user) > MAX_CACHED:
            self._by_user.popitem(last=False)
        return index

    def forget(self, user: bytes) -> None:
        """Read that user anew next time."""
        self._by_user.pop(user, None)

    def clear(self) -> None:
        """Read everybody anew next time."""
        self._by_user.clear()


def _load(connection: sqlite3.Connection, vault: UserVault) -> Index:
    index = Index(vault)
    chosen = (
        "SELECT CAST(path AS BLOB), CAST(number AS INTEGER), CAST(meta AS BLOB) FROM versions WHERE user = ? "
        "ORDER BY number"
    )
    with closing(connection.execute(chosen, (vault.tag,))) as rows:
        for path, number, meta in rows:
            index.add(open_version(vault, path, number, meta))
    return index
