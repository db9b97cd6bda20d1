"""One connection that all callers share: ids and progress tokens are ours, and each message goes to whom it is for."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio

from attest.errors import CanonicalError
from gateway.upstream import (
    DEAF,
    MAX_MESSAGE,
    Downlink,
    Json,
    UpstreamError,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnavailable,
    printable,
    wire,
)
from gateway.upstream.questions import Questions

MAX_JUNK = 100
MAX_QUEUED = 1024
logger = logging.getLogger(__name__)

Failure = Callable[[], UpstreamError]


class Carrier(Protocol):
    """The way to the server: a pipe, or POSTs. What comes back is given to `Channel.take`, message by message."""

    @property
    def unread(self) -> int:
        """Bytes on their way that the server has not taken yet."""
        ...

    def sending(
        self, data: bytes, headers: Mapping[str, str], failed: Callable[[Failure], None]
    ) -> AbstractAsyncContextManager[None]:
        """Send a request while its answer is awaited inside. Raises `UpstreamError`, or tells `failed` later."""
        ...

    def post(self, data: bytes) -> None:
        """Send without waiting; what fails is lost."""
        ...


@dataclass(frozen=True)
class Wording:
    """How errors speak of this kind of connection: sending `junk`, and what was done to a server for it."""

    junk: str
    cut: str


@dataclass(frozen=True)
class Arrived:
    """A message for one request, and its length on the wire."""

    message: Json
    size: int


class Call:
    """A request in flight: what arrived for it and its caller has not taken yet."""

    def __init__(self, request: wire.Numbered, down: Downlink) -> None:
        self.request, self.down = request, down
        self.arrived = asyncio.Queue[Arrived | Failure]()  # filled by the reader, emptied by the caller
        self.waiting = 0  # bytes in `arrived`
        self.over = False  # its response, or a failure, is in `arrived`: nothing follows

    def put(self, message: Json, size: int) -> bool:
        """Take a message. Returns False when the caller is too far behind."""
        if self.arrived.qsize() >= MAX_QUEUED or self.waiting > MAX_MESSAGE:
            return False
        self.waiting += size
        self.arrived.put_nowait(Arrived(message, size))
        return True

    def fail(self, failure: Failure) -> None:
        """End the call with an error, unless it is over."""
        if not self.over:
            self.over = True
            self.arrived.put_nowait(failure)

    async def answer(self) -> Json:
        """Pass notifications on until the response is here. Raises `UpstreamError`."""
        while True:
            item = await self.arrived.get()
            if not isinstance(item, Arrived):
                raise item()
            self.waiting -= item.size
            restored = self.request.restore(item.message)
            if wire.is_response(item.message):
                return restored
            await self.down.tell(restored)


class Channel:
    """What a `Transport` over one shared connection is made of. Owned by its event loop; `close` must be called."""

    def __init__(self, alias: str, carrier: Carrier, owner: Downlink, max_message: int, wording: Wording) -> None:
        self.ended = anyio.Event()  # no request will succeed any more
        self.failure: Failure | None = None  # why it ended; set once, by `end`
        self._alias, self._carrier, self._owner = alias, carrier, owner
        self._max, self._wording = max_message, wording
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}  # added and removed by `request`, looked up by `take`
        self._junk = 0  # messages in a row that were none; owned by `take`
        self._last_junk = ""
        self._unowned = asyncio.Queue[Json](MAX_QUEUED)  # notifications on their way to the owner
        self._questions = Questions(self._reply)
        self._listening = asyncio.create_task(self._listen())

    async def request(self, message: Json, *, headers: Mapping[str, str], down: Downlink, deadline: float) -> Json:
        """See `Transport`."""
        call = Call(wire.Numbered(message, next(self._numbers)), down)
        data = wire.encode(call.request.wire)
        self.check()
        self._calls[call.request.number] = call
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                async with self._carrier.sending(data, headers, call.fail):
                    return await call.answer()
        finally:
            del self._calls[call.request.number]
            if not call.over and self.failure is None and call.request.cancellable:
                self._post(call.request.cancelled("the caller went away or its deadline passed"))
        advice = "it may still be starting, or hang: try again, or restart it"
        raise UpstreamTimeout(self._alias, f"no answer to {call.request.method} in time", advice)

    def check(self) -> None:
        """Raise `UpstreamError` if nothing can be sent now."""
        if self.failure:
            raise self.failure()
        if self._carrier.unread > self._max:
            raise UpstreamUnavailable(self._alias, "does not read its input", "it hangs: restart it")

    def take(self, data: bytes) -> None:
        """Sort one message in. Never raises: a message that may concern anybody ends the connection."""
        if self.failure:
            return
        if len(data) > self._max:
            self.overrun()
            return
        try:
            message = wire.decode(data)
        except CanonicalError as error:
            if error.code in wire.JUNK:
                self._count_junk(data)
            else:
                self._ambiguous(data, error)
            return
        if message is None:
            self._count_junk(data)
            return
        self._junk = 0
        if not wire.is_response(message):
            self._incoming(message, len(data))
        elif call := self._call_of(message):
            call.over = True
            call.waiting = 0  # a response is never too much: the message had its own limit
            call.arrived.put_nowait(Arrived(message, len(data)))

    def overrun(self) -> None:
        """End the connection: a message is larger than the limit."""
        self.refuse(f"sent a message of more than {self._max:,} bytes")

    def refuse(self, what: str, said: str = "") -> None:
        """End the connection with a server that cannot be understood."""
        advice = f"{self._wording.cut}: fix or replace the server"
        self.end(partial(UpstreamGarbled, self._alias, what, advice, said=said))

    def end(self, failure: Failure) -> None:
        """Fail what is pending and all that follows. Only the first failure counts."""
        if self.failure is None:
            self.failure = failure
            for call in self._calls.values():
                call.fail(failure)
            self.ended.set()

    async def close(self) -> None:
        """Fail what is pending, ask and tell nothing any more. Safe to call twice."""
        self.end(partial(UpstreamUnavailable, self._alias, "was stopped", "the gateway stops it on purpose"))
        await self._questions.close()
        self._listening.cancel()
        await asyncio.wait([self._listening])

    async def _reply(self, answer: Json) -> None:
        try:
            self._post(answer)
        except ValueError:  # an answer that is not JSON
            self._post({k: answer[k] for k in ("jsonrpc", "id")} | {"error": {"code": -32603, "message": "no JSON"}})

    def _post(self, message: Json) -> None:
        """Send without waiting: for the reader and for the cancelled, who must not block on a server that hangs."""
        data = wire.encode(message)
        if self._carrier.unread <= self._max:
            self._carrier.post(data)

    def _call_of(self, response: Json) -> Call | None:
        """Return the call that a response answers; an error without an id can only mean the one call there is."""
        call = self._calls.get(wire.number(response.get("id")) or 0)
        if call is None and response.get("id") is None and "error" in response and len(self._calls) == 1:
            call = next(iter(self._calls.values()))
        return call if call and not call.over else None

    def _incoming(self, message: Json, size: int) -> None:
        if "id" in message:
            self._questions.take(message, self._concerned())
        elif self._questions.withdraw(message):
            return
        elif call := self._calls.get(wire.owner(message) or 0) or self._only_call(message):
            if not call.over and not call.put(message, size):
                what = f"sent notifications for {call.request.method} faster than they could be passed on"
                call.fail(partial(UpstreamGarbled, self._alias, what, "fix or replace the server"))
        elif message["method"] not in ("notifications/progress", "notifications/cancelled"):  # those came too late
            try:
                self._unowned.put_nowait(message)
            except asyncio.QueueFull:
                logger.warning("%s: dropped %s, too many notifications at once", self._alias, message["method"])

    def _concerned(self) -> Downlink:
        """Who a question is for: nothing on a shared connection says so. The newest request whose client answers
        questions is the best guess; sessions with servers that may ask are not shared between clients, so it is the
        right client."""
        calls = (call.down for call in reversed(self._calls.values()) if call.down is not DEAF and not call.over)
        return next(calls, self._owner)

    def _only_call(self, notification: Json) -> Call | None:
        """The call that a log message is about, where it can be only one: it does not say."""
        if notification["method"] != "notifications/message":
            return None
        calls = [call for call in self._calls.values() if call.request.method != "subscriptions/listen"]
        wanting = [call for call in calls if call.request.wants_logs]
        likely = wanting or calls
        return likely[0] if len(likely) == 1 else None

    def _count_junk(self, data: bytes) -> None:
        self._junk += 1
        self._last_junk = printable(data[:400].decode("utf-8", "replace"), 80).strip() or self._last_junk
        if self._junk > MAX_JUNK:
            self.refuse(self._wording.junk, f" (such as “{self._last_junk}”)")

    def _ambiguous(self, data: bytes, error: CanonicalError) -> None:
        what = f"sent ambiguous JSON ({error.code}: {error.detail})"
        call = self._calls.get(wire.claimed_id(data) or 0)
        if call and not call.over:
            call.fail(partial(UpstreamGarbled, self._alias, what, "fix or replace the server"))
        elif b'"method"' in data[:1000]:
            self._count_junk(data)  # a notification: nobody waits for it
        elif wire.claimed_id(data) is None:
            self.refuse(what)

    async def _listen(self) -> None:
        while True:
            message = await self._unowned.get()
            try:
                await self._owner.tell(message)
            except Exception:  # a fault of the owner must not cost it the notifications that follow
                logger.exception("%s: the owner failed on %s", self._alias, message["method"])
