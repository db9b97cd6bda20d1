"""Keeps results with their receipts in a storage server, by policy, behind the calls that they came from.

The gateway's own store already has the receipt when `keep` is called; this is a second copy, for its user to read by
receipt id. So it never delays or fails a call: what cannot be kept is counted and said.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from attest.bundle import Bundle
from attest.canonical import parse
from attest.errors import AttestError

Keep = Literal["all", "failed", "none"]
Json = dict[str, Any]

MAX_WAITING = 1000
MAX_WAITING_BYTES = 64 << 20
CALL_SECONDS = 30.0
DRAIN_SECONDS = 5.0


class Storage(Protocol):
    """A storage server that believes this gateway."""

    async def call(self, tool: str, arguments: Json, user: str) -> Json:
        """The result of one tool call for this user; raises whatever kept it from being made."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    server: str
    bundle: bytes
    user: str
    only_failed: bool


class Results:
    """`policies`: what to keep of each server by its alias; nothing of one that is not named.

    The storage server's own alias must not be among them, since its results would then be kept for ever anew. `say`
    takes one line for the operator. Owned by one event loop.
    """

    def __init__(self, storage: Storage, policies: Mapping[str, Keep], say: Callable[[str], None]) -> None:
        self._storage, self._policies, self._say = storage, dict(policies), say
        # What was not stored yet, in order, and its size in bytes; the task that stores it, from the first one on.
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        # Whether the last one failed, so that a storage server that is down is said once.
        self._failing = False
        self.kept = 0
        self.failed = 0

    def wants(self, server: str, outcome: str) -> bool:
        """Whether a result with this outcome may be kept: if not, no bundle need be made for `keep`."""
        policy = self._policies.get(server, "none")
        return policy == "all" or (policy == "failed" and outcome != "input-required")

    async def keep(self, server: str, bundle: bytes, outcome: str, user: str) -> None:
        """Take note and return at once. `bundle` is that of `Records.bundle`, `outcome` the receipt's.

        `failed` keeps errors, and results of tools that say `isError`.
        """
        if not self.wants(server, outcome):
            return None
        only_failed = self._policies[server] == "failed" and outcome != "error"
        if self._closed or self._queue.full() or self._bytes + len(bundle) > MAX_WAITING_BYTES:
            return self._fail(server, "too many results wait for the storage server")
        self._queue.put_nowait(_Waiting(server, bundle, user, only_failed))
        self._bytes += len(bundle)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="results")
        return None

    async def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """Store what waits for at most so long, and give up the rest; says how many were not kept, if any."""
        self._closed = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), seconds)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        while not self._queue.empty():
            left = self._queue.get_nowait()
            self._bytes -= len(left.bundle)
            self.failed += 1
        if self.failed:
            self._say(f"{self.failed} results were not kept in the storage server; their receipts are in this gateway")

    async def _run(self) -> None:
        while True:
            waiting = await self._queue.get()
            try:
                await self._store(waiting)
            except asyncio.CancelledError:
                self.failed += 1
                raise
            except Exception as e:  # noqa: BLE001 - whatever the storage server does, it is no call's fault
                self._fail(waiting.server, _line(e) or type(e).__name__)
            finally:
                self._bytes -= len(waiting.bundle)
                self._queue.task_done()

    async def _store(self, waiting: _Waiting) -> None:
        bundle = Bundle.decode(waiting.bundle)
        if waiting.only_failed and not _is_error(bundle.result):
            return
        arguments: Json = {
            "path": f"results/{bundle.receipt.receipt_id}.json",
            "text": waiting.bundle.decode(),
            "media_type": "application/json",
            "if_version": 0,  # what is there already was not put there by us
        }
        async with asyncio.timeout(CALL_SECONDS):
            result = await self._storage.call("storage_put", arguments, waiting.user)
        if result.get("isError") is not False:
            raise RuntimeError(_reason(result))
        self.kept += 1
        self._failing = False

    def _fail(self, server: str, why: str) -> None:
        self.failed += 1
        if not self._failing:
            self._say(f"a result of {server} was not kept in the storage server: {why}; its receipt is in this gateway")
        self._failing = True


def _is_error(result: bytes) -> bool:
    try:
        value = parse(result)
    except AttestError:
        return False
    return isinstance(value, dict) and cast(Json, value).get("isError") is True


def _reason(result: Json) -> str:
    """The code and message of a tool error, as the storage server gives them."""
    told = result.get("structuredContent")
    error = cast(Json, told).get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict):
        return "it answered something else than a result"
    known = cast(Json, error)
    return _line(f"{known.get('code')}: {known.get('message')}")


def _line(said: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(said))[:300]
