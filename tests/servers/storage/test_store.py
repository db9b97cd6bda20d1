"""The store where calls meet: in one process, in several, and at the end of the disk."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from servers.storage.sqlite import SqliteStore
from servers.storage.store import Content, Quota, StoreError
from tests.servers.storage.scene import Clock, open_store, text

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    with closing(open_store(tmp_path, Clock())) as store:
        yield store


async def count(store: SqliteStore, increments: int) -> int:
    """Add one, again and again, by compare and swap; how often somebody else was faster."""
    lost = 0
    while increments:
        version, data = await store.get("alice", "n")
        try:
            await store.put("alice", "n", text(str(int(data) + 1)), if_version=version.number)
            increments -= 1
        except StoreError as e:
            if e.code != "conflict":
                raise
            lost += 1
    return lost


async def test_no_increment_is_lost_in_one_process_or_several(store: SqliteStore, tmp_path: Path) -> None:
    await store.put("alice", "n", text("0"), if_version=0)
    with ExitStack() as others:
        stores = [store, *(others.enter_context(closing(open_store(tmp_path, Clock()))) for _ in range(2))]
        lost = await asyncio.gather(*(count(each, 10) for each in stores for _ in range(4)))
        for each in stores:
            version, data = await each.get("alice", "n")
            assert (data, version.number) == (b"120", 121)
    assert sum(lost) > 0


async def test_of_many_who_create_one_wins(store: SqliteStore) -> None:
    puts = (store.put("alice", "a", text(str(number)), if_version=0) for number in range(50))
    answers = await asyncio.gather(*puts, return_exceptions=True)
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(won) == 1
    assert {answer.code for answer in answers if isinstance(answer, StoreError)} == {"conflict"}


async def test_concurrent_puts_share_a_commit(store: SqliteStore) -> None:
    commits: list[str] = []
    connection = store._worker._connection  # pyright: ignore[reportPrivateUsage]
    connection.set_trace_callback(lambda line: commits.append(line) if line == "COMMIT" else None)
    await asyncio.gather(*(store.put("alice", str(number), text("x")) for number in range(200)))
    connection.set_trace_callback(None)
    assert len(commits) < 100


async def test_a_version_that_makes_room_pays_for_its_successor(tmp_path: Path) -> None:
    with closing(open_store(tmp_path, Clock(), Quota(total_bytes=100, versions=2))) as store:
        for number in range(1, 5):
            version, _ = await store.put("alice", "a", text("x" * 50))
            assert version.number == number
        assert [version.number for version in await store.history("alice", "a", 9)] == [4, 3]
        with pytest.raises(StoreError, match="quota: that would be 101 bytes of 100"):
            await store.put("alice", "a", text("x" * 51))


async def test_a_full_disk_is_said_and_forgotten_when_it_is_free_again(store: SqliteStore) -> None:
    await store.put("alice", "a", text("kept"))
    connection = store._worker._connection  # pyright: ignore[reportPrivateUsage]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError) as refused:
        await store.put("alice", "a", Content(b"x" * 100_000, "a/b", is_text=False))
    assert refused.value.code == "unavailable"
    version, data = await store.get("alice", "a")
    assert (version.number, data) == (1, b"kept")
    connection.execute("PRAGMA max_page_count = 1000000")
    version, _ = await store.put("alice", "a", Content(b"x" * 100_000, "a/b", is_text=False), if_version=1)
    assert version.number == 2


async def test_a_fault_of_one_call_is_not_its_neighbours(store: SqliteStore) -> None:
    never = store.put("alice", "a", text("x"), lifetime=2**70)  # more than a column takes
    answers = await asyncio.gather(never, store.put("alice", "b", text("y")), return_exceptions=True)
    assert isinstance(answers[0], OverflowError)
    page = await store.page("alice")
    assert [entry.path for entry in page.entries] == ["b"]


async def test_a_caller_who_leaves_does_not_stop_the_store(store: SqliteStore) -> None:
    leaving = asyncio.create_task(store.put("alice", "a", text("x")))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await store.get("alice", "a"))[1] == b"x"


async def test_what_expired_is_swept_from_the_file_and_its_users_are_named(store: SqliteStore, tmp_path: Path) -> None:
    clock = Clock()
    with closing(open_store(tmp_path, clock)) as other:
        await other.put("alice", "a", text("x"), lifetime=10)
        await other.put("alice", "kept", text("x"), lifetime=10)
        await other.put("alice", "kept", text("x"))
        await other.put("bob", "a", text("x"), lifetime=11)
        clock.now += 10
        assert await other.sweep() == {other.tag("alice")}
        assert await other.sweep() == frozenset()
        clock.now += 1
        assert await other.sweep() == {other.tag("bob")}
        assert len(await other.history("alice", "kept", 10)) == 2


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for opened in [pool.submit(open_store, tmp_path, Clock()) for _ in range(8)]:
            opened.result().close()
