"""What the files tell to whoever steals them, and what happens to whoever changes them."""

import base64
import secrets
import sqlite3
import stat
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest

from servers.attesters.choice import KeyFileError
from servers.storage.crypto import SealError, Vault, master_key
from servers.storage.sqlite import SqliteStore
from servers.storage.store import Content, StoreError
from tests.servers.storage.scene import MASTER, Clock, open_store, text

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    with closing(open_store(tmp_path, Clock())) as store:
        yield store


def raw(folder: Path) -> bytes:
    """Every byte of the database and its log."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def change(folder: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "storage.db")) as connection, connection:
        assert connection.execute(sql, values).rowcount > 0


async def test_nothing_readable_is_on_disk(store: SqliteStore, tmp_path: Path) -> None:
    user, path, said, media = ("canary" + secrets.token_hex(8) for _ in range(4))
    blob = secrets.token_bytes(64)
    await store.put(user, path, text(said, f"{media}/x"), lifetime=10_000)
    await store.put(user, f"{path}/2", Content(blob, f"{media}/y", is_text=False))
    sizes = {b"12345": 12_345, b"76543": 76_543}
    for size in sizes.values():
        await store.put(user, f"{path}/{size}", Content(b"q" * size, "a/b", is_text=False))
    on_disk = raw(tmp_path)
    assert (tmp_path / "storage.db-wal").stat().st_size > 0
    for canary in (user, path, said, media, "canary", "mediatype", "media_type"):
        for spelling in (canary.encode(), canary.encode("utf-16-le"), base64.b64encode(canary.encode())[:-4]):
            assert spelling not in on_disk
    assert blob not in on_disk
    assert b"qqqqqqqq" not in on_disk


async def test_sizes_are_told_within_a_factor_of_two(store: SqliteStore, tmp_path: Path) -> None:
    for size in (0, 1, 500, 1023):
        await store.put("alice", str(size), Content(b"x" * size, "a/b", is_text=False))
    for size in (1024, 1500, 2047):
        await store.put("bob", str(size), Content(b"x" * size, "a/b", is_text=False))
    with closing(sqlite3.connect(tmp_path / "storage.db")) as connection:
        bodies = connection.execute("SELECT user, length(body) FROM versions").fetchall()
        metas = {row[0] for row in connection.execute("SELECT length(meta) FROM versions")}
    assert len(bodies) == 7
    assert len(set(bodies)) == 2
    assert len(metas) == 1


async def test_swapped_and_changed_rows_are_refused(store: SqliteStore, tmp_path: Path) -> None:
    await store.put("alice", "a", text("first"))
    await store.put("alice", "a", text("second"))
    await store.put("alice", "b", text("other"))
    await store.put("bob", "a", text("bob's"))
    store.close()
    tag = Vault(MASTER).user("alice").tag
    path_a, path_b = (Vault(MASTER).user("alice").path(path) for path in "ab")
    bob = Vault(MASTER).user("bob").tag
    body, where = "UPDATE versions SET body = ", " WHERE user = ? AND path = ? AND number = ?"
    row = "UPDATE versions SET "
    other = "(SELECT body FROM versions WHERE user = ? AND number = ?)"
    head = (tag, path_a, 2)
    swaps: dict[str, tuple[str, tuple[object, ...]]] = {
        "a body from another version": (body + other + where, (tag, 1, *head)),
        "a body from another path": (body + other + where, (tag, 3, *head)),
        "a body from another user": (body + other + where, (bob, 1, *head)),
        "the meta in place of the body": (body + "meta" + where, head),
        "a whole row under another number": (row + "number = 9" + where, (tag, path_a, 1)),
        "a whole row under a negative number": (row + "number = -1" + where, head),
        "text for a number": (row + "number = 'x'" + where, head),
        "a whole row under another path": (row + "path = ?" + where, (b"x" * 32, *head)),
        "a whole row in the place of another": (row + "path = ?" + where, (path_a, tag, path_b, 3)),
        "a whole row under another user": (row + "user = ? WHERE user = ?", (tag, bob)),
        "one byte": (body + "? || substr(body, 2)" + where, (b"\0", *head)),
        "nothing": (body + "x''" + where, head),
    }
    genuine = (tmp_path / "storage.db").read_bytes()
    for name, (sql, values) in swaps.items():
        assert names(tmp_path) == ["storage.db"]  # whoever closes leaves no log behind
        (tmp_path / "storage.db").write_bytes(genuine)
        change(tmp_path, sql, *values)
        with closing(open_store(tmp_path, Clock())) as changed:
            with pytest.raises(StoreError) as refused:
                await changed.get("alice", "a")
            assert refused.value.code == "corrupt", name
            await changed.put("carol", "a", text("neighbours go on"))


async def test_another_master_key_opens_nothing(store: SqliteStore, tmp_path: Path) -> None:
    await store.put("alice", "a", text("x"))
    store.close()
    with pytest.raises(StoreError, match="another master key"):
        open_store(tmp_path, Clock(), master=bytes(32))


def test_a_row_opens_only_where_it_was_sealed() -> None:
    vault = Vault(MASTER).user("alice")
    for size in (0, 1, 1022, 1023, 1024, 5000):
        assert vault.open(b"body", b"p", 1, vault.seal(b"body", b"p", 1, b"\0" * size)) == b"\0" * size
    sealed = vault.seal(b"body", b"p", 1, b"x")
    for part, path, version in ((b"meta", b"p", 1), (b"body", b"q", 1), (b"body", b"p", 2)):
        with pytest.raises(SealError):
            vault.open(part, path, version, sealed)
    for other in (Vault(MASTER).user("bob"), Vault(bytes(32)).user("alice")):
        with pytest.raises(SealError):
            other.open(b"body", b"p", 1, sealed)


def test_each_user_has_a_key_and_is_bound_into_each_row() -> None:
    alice, renamed, bob = (Vault(MASTER).user(user) for user in ("alice", "alice", "bob"))
    sealed = alice.seal(b"body", b"p", 1, b"x")
    renamed.tag = bob.tag  # alice's key, bob's name
    bob.tag = alice.tag  # bob's key, alice's name
    for other in (renamed, bob):
        with pytest.raises(SealError):
            other.open(b"body", b"p", 1, sealed)


def test_the_master_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = master_key(path)
    assert master_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        master_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(KeyFileError, match="32 bytes"):
        master_key(path)


async def test_the_database_is_for_its_owner_alone(store: SqliteStore, tmp_path: Path) -> None:
    await store.put("alice", "a", text("x"))
    assert modes(tmp_path) == {0o600}
