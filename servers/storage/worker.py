"""One thread that owns a SQLite connection and commits everything that queued up while it was busy as one transaction.

Concurrent callers share an fsync, and nobody gets an answer, or sees another's, before it is on disk.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

MAX_BATCH = 256

Task = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class _Job:
    task: Task
    future: "Future[Any]"


class Worker:
    """Runs tasks in the order in which they came, each all or nothing.

    `begin(connection, changed)` starts each transaction; `changed` where what tasks remember of the database may be
    wrong, as another connection wrote to it or something failed. After one of `refusals`, which a task raises instead
    of its own work, the housekeeping that it did before stands.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        begin: Callable[[sqlite3.Connection, bool], None],
        refusals: tuple[type[Exception], ...],
    ) -> None:
        self._begin, self._refusals = begin, refusals
        # Jobs on their way to the thread; None ends it.
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # The thread's own from when it starts: the connection, and the version of the database that tasks remember.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._version: int | None = None
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(schema)
            self._start()
            self._connection.execute("COMMIT")
        except BaseException:  # whatever it is, the file must not stay open
            self._connection.close()
            raise
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()

    async def run(self, task: Task) -> Any:
        """Return what `task` returns once that is durable; raises what it raises, or `sqlite3.Error`."""
        future: Future[Any] = Future()
        self._queue.put(_Job(task, future))
        return await asyncio.shield(asyncio.wrap_future(future))

    def close(self) -> None:
        """Finish what is queued and close."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        last = False
        while not last and (job := self._queue.get()) is not None:
            jobs = [job]
            while len(jobs) < MAX_BATCH and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    last = True
                    break
                jobs.append(more)
            self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            self._start()
            answers = [self._attempt(job) for job in jobs]
            self._connection.execute("COMMIT")
        except BaseException as e:  # noqa: BLE001 - whatever it is, every caller is told and the thread lives on
            self._version = None
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            answers = [partial(job.future.set_exception, e) for job in jobs]
        for answer in answers:
            answer()

    def _start(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        self._begin(self._connection, version != self._version)
        self._version = version

    def _attempt(self, job: _Job) -> Callable[[], None]:
        """Run one task; how its caller will be told once the transaction is on disk."""
        self._connection.execute("SAVEPOINT task")
        try:
            result = job.task(self._connection)
        except self._refusals as e:
            answer = partial(job.future.set_exception, e)
        except sqlite3.Error:
            raise
        except Exception as e:  # noqa: BLE001 - a fault of one task is not its neighbours'
            self._connection.execute("ROLLBACK TO task")
            self._begin(self._connection, True)
            answer = partial(job.future.set_exception, e)
        else:
            answer = partial(job.future.set_result, result)
        self._connection.execute("RELEASE task")
        return answer
