"""The sessions of one hosted server: started when needed or ahead, checked before each, ended with their client."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from servers.tee.hosted import HostedError
from servers.tee.hosted.grants import Granted
from servers.tee.hosted.lines import Ask, Json, Tell
from servers.tee.hosted.peer import Peer, legacy, modern_or_legacy
from servers.tee.hosted.quota import Quota
from servers.tee.hosted.session import Session
from servers.tee.policy import Policy
from servers.tee.process.launcher import Launcher

MOST = 32
"""Sandboxes at once."""
_LEAST_DELAY, _MOST_DELAY = 0.5, 30.0
_STEADY_SECONDS = 10.0


@dataclass
class Hearer:
    """Who hears and answers one session; set when its client is known."""

    tell: Tell | None = None
    ask: Ask | None = None

    async def told(self, message: Json) -> None:
        """Pass on what is about no call."""
        if self.tell is not None:
            await self.tell(message)

    async def asked(self, message: Json) -> Json:
        """The client's answer to a question of the server."""
        if self.ask is None:
            return {"error": {"code": -32601, "message": "this client answers no questions"}}
        return await self.ask(message)


@dataclass(eq=False)
class _Started:
    session: Session
    hearer: Hearer
    task: asyncio.Task[None]
    since: float


@dataclass
class Sessions:
    """An async context manager; leaving it ends them all. `granted` is what each gets, `check` raises `HostedError`
    unless the program's files are those that were installed, `info` says who we are to the server."""

    policy: Policy
    granted: Granted
    launcher: Launcher
    check: Callable[[], None]
    info: Mapping[str, Any]
    say: Callable[[str], None]
    quota: Quota = field(init=False)
    _open: set[_Started] = field(default_factory=set[_Started])
    _warm: asyncio.Task[_Started] | None = None  # one that is started ahead; taken by `_take`
    _failures: int = 0  # in a row, of sessions that ended early
    _not_before: float = 0.0  # by the event loop's clock
    _last: str = ""  # why the last one failed

    def __post_init__(self) -> None:
        """Nothing is counted yet."""
        files = self.policy.files
        self.quota = Quota(self.granted.written, files.quota_bytes, files.quota_inodes)

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End them."""
        with anyio.CancelScope(shield=True):
            if self._warm is not None:
                self._warm.cancel()
                await asyncio.gather(self._warm, return_exceptions=True)
            await asyncio.gather(*(self._end(each) for each in list(self._open)))

    def prewarm(self) -> None:
        """Start one ahead, for whoever comes first."""
        if self._warm is None:
            self._warm = asyncio.create_task(self._start())
            self._warm.add_done_callback(lambda done: done.cancelled() or done.exception())  # told when it is taken

    async def modern(self, tell: Tell) -> Peer:
        """A new session for clients of the modern era, who share it. Raises `HostedError`."""
        return await self._introduced(lambda session: modern_or_legacy(session, self.info), tell, None)

    async def own(self, params: Mapping[str, Any], tell: Tell, ask: Ask) -> Peer:
        """A new session for the legacy client that sent these `initialize` params. Raises `HostedError`."""
        return await self._introduced(lambda session: legacy(session, params), tell, ask)

    async def check_quota(self, session: Session) -> None:
        """End the session if it wrote more than the policy grants; then none is started either."""
        if why := await self.quota.exceeded():
            session.stop(why)

    async def end(self, peer: Peer) -> None:
        """Its client is gone."""
        for each in list(self._open):
            if each.session is peer.session:
                await self._end(each)

    async def _introduced(self, introduce: Callable[[Session], Awaitable[Peer]], tell: Tell, ask: Ask | None) -> Peer:
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            raise HostedError(f"{self._last}; it is tried again in {self._not_before - now:.0f} s")
        started = await self._take()
        started.hearer.tell, started.hearer.ask = tell, ask
        try:
            peer = await introduce(started.session)
        except HostedError as e:
            self._failed(str(e))
            await self._end(started)
            raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._end(started)
            raise
        return peer

    async def _take(self) -> _Started:
        warm, self._warm = self._warm, None
        if warm is not None:
            started = await asyncio.shield(warm)
            if not started.session.ended:
                return started
        return await self._start()

    async def _start(self) -> _Started:
        if len(self._open) >= MOST:
            raise HostedError(f"{MOST} sandboxes of it are running; end a session, or try again later")
        if why := await self.quota.exceeded(at_once=True):
            raise HostedError(why)
        try:
            await anyio.to_thread.run_sync(self.check)
        except HostedError as e:
            self._failed(str(e))
            raise
        hearer = Hearer()
        session = Session(self.policy, self.granted, hearer.told, hearer.asked, self.say)
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        started = _Started(session, hearer, asyncio.create_task(session.run(self.launcher, ready)), loop.time())
        self._open.add(started)
        started.task.add_done_callback(lambda _: self._over(started))
        try:
            await asyncio.shield(ready)
        except HostedError as e:
            self._failed(str(e))
            raise
        except BaseException:
            started.task.cancel()
            raise
        return started

    def _over(self, started: _Started) -> None:
        self._open.discard(started)
        failure = started.session.lines.failure
        if started.task.cancelled() or failure is None:
            return
        if (error := started.task.exception()) is not None:
            self.say(f"lost its sandbox: {error}")
        if asyncio.get_running_loop().time() - started.since < _STEADY_SECONDS:
            self._failed(str(failure))
        else:
            self._failures = 0
        self.say(f"ended: {failure}")

    def _failed(self, why: str) -> None:
        self._last = why
        delay = min(_MOST_DELAY, _LEAST_DELAY * 2**self._failures) if self._failures else 0.0
        self._failures += 1
        self._not_before = asyncio.get_running_loop().time() + delay

    async def _end(self, started: _Started) -> None:
        started.task.cancel()
        await asyncio.gather(started.task, return_exceptions=True)
