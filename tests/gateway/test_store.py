"""The store: what `write` returned from is on disk, whole, whoever else writes and whatever they write."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import UserError
from gateway.store import Statement, Store

ROOT = Path(__file__).parents[2]


def refusal(code: str) -> Statement:
    return ("INSERT INTO refusals (at,server,method,code) VALUES (1,'s','m',?)", (code,))


def kept(path: Path) -> list[str]:
    """As another process sees it."""
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT code FROM refusals ORDER BY number")]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


@pytest.mark.anyio
async def test_write_returns_after_the_commit(store: Store, path: Path) -> None:
    for n in range(20):
        await store.write(refusal(str(n)))
        assert kept(path)[-1] == str(n)


@pytest.mark.anyio
async def test_what_is_written_together_is_there_whole_or_not_at_all(store: Store, path: Path) -> None:
    with pytest.raises(UserError, match="no such table: nowhere"):
        await store.write(refusal("first"), ("INSERT INTO nowhere VALUES (1)", ()))
    assert kept(path) == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        ("INSERT INTO nowhere VALUES (1)", ()),
        ("INSERT INTO refusals (at) VALUES (?)", (2**70,)),
        ("INSERT INTO refusals (at) VALUES (?)", ("\ud800",)),
        ("INSERT INTO refusals (at) VALUES (?)", (object(),)),
    ],
    ids=["no-table", "integer-too-long", "half-a-surrogate", "no-value"],
)
async def test_one_bad_statement_fails_alone_and_ends_nothing(store: Store, path: Path, bad: Statement) -> None:
    writes = [store.write(bad if n == 5 else refusal(str(n))) for n in range(10)]
    results = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 10)
    assert [n for n, result in enumerate(results) if result is not None] == [5]
    assert sorted(kept(path)) == [str(n) for n in range(10) if n != 5]
    await asyncio.wait_for(store.write(refusal("after")), 10)


@pytest.mark.anyio
async def test_a_writer_that_goes_away_takes_nobody_with_it(store: Store, path: Path) -> None:
    writes = [asyncio.create_task(store.write(refusal(str(n)))) for n in range(5)]
    await asyncio.sleep(0)
    writes[2].cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.write(refusal("after"))
    assert set(kept(path)) >= {"0", "1", "3", "4", "after"}


@pytest.mark.anyio
async def test_close_finishes_what_is_queued(path: Path) -> None:
    store = Store(path)
    writes = [asyncio.create_task(store.write(refusal(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    store.close()
    assert len(kept(path)) == 50
    await asyncio.gather(*writes)


OTHER = """
import asyncio, sys
from pathlib import Path
from gateway.store import Store
async def main():
    store = Store(Path(sys.argv[1]))
    sql = "INSERT INTO refusals (at,server,method,code) VALUES (1,'s','m',?)"
    for n in range(100):
        await asyncio.gather(*(store.write((sql, (f"{sys.argv[2]}.{n}.{m}",))) for m in range(3)))
    store.close()
asyncio.run(main())
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """The first of them makes the file, and they race for that too."""
    command = [sys.executable, "-c", OTHER, str(path)]
    others = [subprocess.Popen([*command, str(n)], cwd=ROOT, stderr=subprocess.PIPE) for n in range(3)]
    said = [other.communicate(timeout=60)[1] for other in others]
    assert [other.returncode for other in others] == [0, 0, 0], said
    assert len(set(kept(path))) == 900
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.parametrize("content", [b"junk" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_named_with_what_to_do(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as e:
        Store(path)
    assert str(e.value).startswith(f"{path}: ")
    assert "move the file away" in str(e.value)
    assert path.read_bytes() == content


@pytest.fixture
def damaged(path: Path) -> Path:
    """A database whose first page alone is whole."""
    store = Store(path)
    store.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    return path


@pytest.mark.anyio
async def test_a_file_that_is_damaged_inside_is_named_when_it_is_used(damaged: Path) -> None:
    store = Store(damaged)
    try:
        with pytest.raises(UserError, match="move the file away") as e:
            store.read("SELECT code FROM refusals")
        assert str(e.value).startswith(f"{damaged}: ")
        with pytest.raises(UserError, match="malformed"):
            await asyncio.wait_for(store.write(refusal("new")), 10)
    finally:
        store.close()
