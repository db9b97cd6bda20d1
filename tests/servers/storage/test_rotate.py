"""Another master key: everything opens under it, nothing under the old one, and a kill at any line loses nothing."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from servers.storage.__main__ import main
from servers.storage.crypto import master_key
from servers.storage.rotate import current_key, rotate
from servers.storage.sqlite import SqliteStore
from servers.storage.store import Content, Quota, StoreError
from tests.servers.storage.scene import Clock, text

ROOT = Path(__file__).parents[3]
KEPT = {
    ("alice", "notes/ä b"): [text("one"), text("two", "text/markdown")],
    ("alice", "blob"): [Content(bytes(range(256)) * 9, "image/png", is_text=False)],
    ("bøb", "notes/ä b"): [text("his")],
}


def opened(folder: Path, master: bytes | None = None) -> SqliteStore:
    key = current_key(folder / "master.key", folder / "storage.db") if master is None else master
    return SqliteStore(folder / "storage.db", key, Quota(), Clock())


async def fill(folder: Path) -> None:
    with closing(opened(folder)) as store:
        for (user, path), contents in KEPT.items():
            for content in contents:
                await store.put(user, path, content)
        await store.put("carol", "gone", text("x"))
        await store.delete("carol", "gone")  # a user without a version is a user


async def check(folder: Path) -> None:
    """Every version is there, and numbers go on where they were."""
    with closing(opened(folder)) as store:
        for (user, path), contents in KEPT.items():
            versions = (await store.history(user, path, 10))[::-1]
            assert len(versions) == len(contents)
            for version, content in zip(versions, contents, strict=True):
                found, data = await store.get(user, path, version.number)
                assert (data, found.media_type, found.is_text) == (content.data, content.media_type, content.is_text)
        assert (await store.put("carol", "next", text("x")))[0].number > 1
        await store.delete("carol", "next")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a filled store."""
    asyncio.run(fill(tmp_path))
    return tmp_path


def test_everything_opens_under_the_new_key_and_nothing_under_the_old(folder: Path) -> None:
    old = master_key(folder / "master.key")
    with closing(sqlite3.connect(folder / "storage.db")) as connection:
        sealed = b"".join(b"".join(row) for row in connection.execute("SELECT meta, body FROM versions"))
        sealed += b"".join(row[0] for row in connection.execute("SELECT name FROM users"))
    before = [sealed[at : at + 32] for at in range(0, len(sealed), 256)]
    on_disk = (folder / "storage.db").read_bytes()
    assert len([piece for piece in before if piece in on_disk]) > 0.9 * len(before)  # a page may end within a piece
    assert rotate(folder / "master.key", folder / "storage.db") == 4
    asyncio.run(check(folder))
    assert master_key(folder / "master.key") != old
    with pytest.raises(StoreError, match="another master key"):
        opened(folder, old)
    assert {path.name for path in folder.iterdir()} == {"master.key", "storage.db"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    # No piece of an old row is left in the file, not even in its free pages.
    on_disk = (folder / "storage.db").read_bytes()
    assert not [piece for piece in before if piece in on_disk]


def killed_at(folder: Path, line: int) -> bool:
    """Rotate in a process that kills itself when it is about to run so many lines; whether it lived to the end."""
    if (child := os.fork()) == 0:
        left = line

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if "servers/storage" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        rotate(folder / "master.key", folder / "storage.db")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status == 0


def test_a_kill_at_any_line_loses_neither_key_nor_row(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    kills, again = 0, 0
    while True:
        copy = tmp_path_factory.mktemp("killed") / "data"
        shutil.copytree(folder, copy)
        if killed_at(copy, kills + 1):
            break
        kills += 1
        if kills % 2:  # half of the time it is rotated again at once, else the store is used first
            rotate(copy / "master.key", copy / "storage.db")
            again += 1
        asyncio.run(check(copy))
        rotate(copy / "master.key", copy / "storage.db")
        asyncio.run(check(copy))
        assert not (copy / "master.key.new").exists()
        shutil.rmtree(copy)
    print(f"{kills} kills, one at each line; {again} of them rotated again before the store was used")
    assert kills > 100


def test_a_server_that_runs_meanwhile_answers_that_it_cannot(folder: Path) -> None:
    async def go() -> None:
        with closing(opened(folder)) as store:
            rotate(folder / "master.key", folder / "storage.db")
            for doing in (store.get("alice", "blob"), store.put("alice", "blob", text("x"))):
                with pytest.raises(StoreError, match="another master key"):
                    await doing

    asyncio.run(go())
    asyncio.run(check(folder))


def test_a_changed_row_stops_it_and_nothing_is_changed(folder: Path) -> None:
    key, database = folder / "master.key", folder / "storage.db"
    before = master_key(key)
    for sql in ("UPDATE versions SET body = x'00' || body WHERE number = 2", "DELETE FROM users WHERE last = 1"):
        shutil.copy(database, folder / "genuine")
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sqlite3; c=sqlite3.connect({str(database)!r}); c.execute({sql!r}); c.commit()",
            ],
            check=True,
        )
        with pytest.raises(StoreError) as refused:
            rotate(key, database)
        assert refused.value.code == "corrupt"
        assert master_key(key) == before
        shutil.move(folder / "genuine", database)
        asyncio.run(check(folder))


def test_the_command_rotates_and_says_what_it_did(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "servers.storage", "rotate", "--data", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "4 versions sealed under a new" in done.stderr
    assert done.stdout == ""
    asyncio.run(check(folder))
    with pytest.raises(SystemExit) as ended:
        main(["rotate", "--data", str(folder / "none")])
    assert ended.value.code == 2
    assert capfd.readouterr().err.endswith("there is no store; name its folder with --data\n")
