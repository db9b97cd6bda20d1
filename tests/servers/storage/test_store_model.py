"""The store against a dictionary: whatever is done to it in whatever order, reopened in between."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from servers.storage.rotate import current_key, rotate
from servers.storage.sqlite import SqliteStore
from servers.storage.store import Content, Quota, StoreError
from tests.servers.storage.scene import Clock, open_store

QUOTA = Quota(total_bytes=120, objects=4, versions=3, object_bytes=60)
USERS = st.sampled_from(["alice", "bob"])
PATHS = st.sampled_from(["a", "a/b", "ä b", "a/c", "z"])
DATA = st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 45, b"y" * 60, b"z" * 61]))
T = TypeVar("T")


@dataclass
class Kept:
    """One object of the model."""

    versions: list[tuple[int, bytes]]
    ends: int | None


class Model(RuleBasedStateMachine):
    """What the store must say, by the simplest means."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.key = self.folder / "master.key"
        self.store = self.opened()
        self.model: dict[str, dict[str, Kept]] = {"alice": {}, "bob": {}}
        self.last = {"alice": 0, "bob": 0}

    def opened(self) -> SqliteStore:
        """The store under the key that counts at this moment."""
        key = current_key(self.key, self.folder / "storage.db")
        return open_store(self.folder, self.clock, QUOTA, key)

    def teardown(self) -> None:
        self.store.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T | str:
        """What the store answers, or the code of its refusal."""
        try:
            return self.runner.run(coroutine)
        except StoreError as e:
            return e.code

    def live(self, user: str) -> dict[str, Kept]:
        """What of the model has not expired."""
        now = self.clock.now
        live = {path: kept for path, kept in self.model[user].items() if kept.ends is None or kept.ends > now}
        self.model[user] = live
        return live

    @rule(
        user=USERS,
        path=PATHS,
        data=DATA,
        lifetime=st.one_of(st.none(), st.integers(1, 20)),
        guess=st.sampled_from(["none", "right", "wrong", "new"]),
        times=st.integers(1, 4),
    )
    def put(self, user: str, path: str, data: bytes, lifetime: int | None, guess: str, times: int) -> None:
        for _ in range(times):
            self.put_once(user, path, data, lifetime, guess)

    def put_once(self, user: str, path: str, data: bytes, lifetime: int | None, guess: str) -> None:
        live = self.live(user)
        kept = live.get(path)
        current = kept.versions[-1][0] if kept else 0
        expected = {"none": None, "right": current, "wrong": current + 1, "new": 0}[guess]
        answer = self.run(
            self.store.put(user, path, Content(data, "a/b", is_text=False), lifetime=lifetime, if_version=expected)
        )
        versions = kept.versions if kept else []
        after = [*versions, (0, data)][-QUOTA.versions :]
        crowded = kept is None and len(live) == QUOTA.objects
        others = sum(len(d) for p, k in live.items() if p != path for _, d in k.versions)
        if len(data) > QUOTA.object_bytes:
            assert answer == "too-large"
        elif expected not in {None, current}:
            assert answer == "conflict"
        elif crowded or others + sum(len(d) for _, d in after) > QUOTA.total_bytes:
            assert answer == "quota"
        else:
            assert isinstance(answer, tuple)
            version, new = answer
            self.last[user] += 1
            assert (version.number, new, version.size) == (self.last[user], kept is None, len(data))
            ends = None if lifetime is None else self.clock.now + lifetime
            live[path] = Kept([*after[:-1], (version.number, data)], ends)

    @rule(user=USERS, path=PATHS, guess=st.sampled_from(["none", "right", "wrong"]))
    def delete(self, user: str, path: str, guess: str) -> None:
        kept = self.live(user).get(path)
        current = kept.versions[-1][0] if kept else 0
        expected = {"none": None, "right": current, "wrong": current + 1}[guess]
        answer = self.run(self.store.delete(user, path, expected))
        if kept is None:
            assert answer == "not-found"
        elif expected not in {None, current}:
            assert answer == "conflict"
        else:
            assert not isinstance(answer, str)
            assert answer.number == current
            del self.live(user)[path]

    @rule(user=USERS, path=PATHS, back=st.integers(0, 4))
    def read(self, user: str, path: str, back: int) -> None:
        kept = self.live(user).get(path)
        number = None if back == 0 else self.last[user] - back + 1
        answer = self.run(self.store.get(user, path, number))
        wanted = [d for n, d in kept.versions if number in {None, n}] if kept else []
        assert (answer if isinstance(answer, str) else answer[1]) == (wanted[-1] if wanted else "not-found")

    @rule(user=USERS, path=PATHS, limit=st.integers(1, 5))
    def history(self, user: str, path: str, limit: int) -> None:
        self.check_history(user, path, limit)

    def check_history(self, user: str, path: str, limit: int) -> None:
        kept = self.live(user).get(path)
        answer = self.run(self.store.history(user, path, limit))
        wanted = [n for n, _ in kept.versions][::-1][:limit] if kept else "not-found"
        assert (answer if isinstance(answer, str) else [version.number for version in answer]) == wanted

    @rule(user=USERS, prefix=st.sampled_from(["", "a", "a/", "q"]), limit=st.integers(1, 3))
    def pages(self, user: str, prefix: str, limit: int) -> None:
        found: list[str] = []
        more = True
        while more:
            page = self.run(self.store.page(user, prefix, found[-1] if found else "", limit))
            assert not isinstance(page, str)
            found += [entry.path for entry in page.entries]
            more = page.more
        assert found == sorted(path for path in self.live(user) if path.startswith(prefix))

    @rule(milliseconds=st.integers(1, 15))
    def wait(self, milliseconds: int) -> None:
        self.clock.now += milliseconds

    @rule()
    def sweep(self) -> None:
        swept = self.run(self.store.sweep())
        assert not isinstance(swept, str)

    @rule()
    @precondition(lambda self: any(self.model.values()))
    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule()
    @precondition(lambda self: any(self.model.values()))
    def rotate(self) -> None:
        self.store.close()
        rotate(self.key, self.folder / "storage.db")
        self.store = self.opened()

    @rule(user=USERS, path=PATHS)
    def another_process_writes(self, user: str, path: str) -> None:
        """What this one remembers must not hide what another one wrote."""
        kept = self.live(user).get(path)
        other = self.opened()
        answer = self.run(other.delete(user, path))
        other.close()
        assert (answer == "not-found") == (kept is None)
        self.live(user).pop(path, None)

    @invariant()
    def everybody_has_what_is_theirs(self) -> None:
        for user in self.model:
            page = self.run(self.store.page(user))
            assert not isinstance(page, str)
            told = {entry.path: (entry.number, entry.size, entry.expires_at) for entry in page.entries}
            kept = self.live(user)
            assert told == {p: (k.versions[-1][0], len(k.versions[-1][1]), k.ends) for p, k in kept.items()}
            for path in kept:
                self.check_history(user, path, 5)


class TestModel(Model.TestCase):
    """The machine as a test."""

    settings = settings(
        max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
