"""JSON-RPC lines over a child's pipes: one connection for all callers, so ids and progress tokens are ours."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

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
from gateway.upstream.child import READ_SIZE, Child
from gateway.upstream.questions import Questions
from gateway.upstream.spawn import Command, spawn

MAX_JUNK = 100
MAX_QUEUED = 1024
logger = logging.getLogger(__name__)

Failure = Callable[[], UpstreamError]


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
        """End the call with an error."""
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


class StdioTransport:
    """A `Transport` over one child. Made by `open_stdio`."""

    def __init__(self, child: Child, owner: Downlink, max_message: int) -> None:
        self.child = child
        self.ended = anyio.Event()  # no request will succeed any more
        self._alias = child.alias
        self._max = max_message
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}  # added and removed by `request`, looked up by the reader
        self._failure: Failure | None = None  # why it ended; set once, by `_end`
        self._junk = 0  # lines in a row that were no message; owned by the reader
        self._last_junk = ""
        self._owner = owner
        self._unowned = asyncio.Queue[Json](MAX_QUEUED)  # notifications on their way to the owner
        self._questions = Questions(self._reply)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._listen())]

    async def request(
        self,
        message: Json,
        *,
        headers: Mapping[str, str],  # noqa: ARG002 - have no place on a pipe
        down: Downlink,
        deadline: float,
    ) -> Json:
        """See `Transport`."""
        call = Call(wire.Numbered(message, next(self._numbers)), down)
        data = wire.encode(call.request.wire)
        self._check()
        self._calls[call.request.number] = call
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                await self._write(data)
                return await call.answer()
        finally:
            del self._calls[call.request.number]
            if not call.over and self._failure is None and call.request.cancellable:
                self._post(call.request.cancelled("the caller went away or its deadline passed"))
        advice = "it may still be starting, or hang: try again, or restart it"
        raise UpstreamTimeout(self._alias, f"no answer to {call.request.method} in time", advice)

    async def notify(self, message: Json, *, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - as above
        """See `Transport`."""
        self._check()
        await self._write(wire.encode({"jsonrpc": "2.0"} | message))

    async def pin(self, *, deadline: float) -> bytes | None:
        """Return the key that the child wrote on its pin descriptor, None if it wrote none before `deadline`."""
        return await self.child.pin(deadline=deadline)

    async def aclose(self) -> None:
        """Fail what is pending, end the child and its whole tree."""
        with anyio.CancelScope(shield=True):
            self._end(partial(UpstreamUnavailable, self._alias, "was stopped", "the gateway stops it on purpose"))
            await self._questions.close()
            await self.child.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _check(self) -> None:
        if self._failure:
            raise self._failure()
        if self.child.stdin.transport.get_write_buffer_size() > self._max:
            raise UpstreamUnavailable(self._alias, "does not read its input", "it hangs: restart it")

    async def _reply(self, answer: Json) -> None:
        try:
            self._post(answer)
        except ValueError:  # an answer that is not JSON
            self._post({k: answer[k] for k in ("jsonrpc", "id")} | {"error": {"code": -32603, "message": "no JSON"}})

    def _post(self, message: Json) -> None:
        """Write without waiting: for the reader and for the cancelled, who must not block on a child that hangs."""
        if self.child.stdin.transport.get_write_buffer_size() <= self._max:
            self.child.stdin.write(wire.encode(message) + b"\n")

    async def _write(self, data: bytes) -> None:
        try:
            self.child.stdin.write(data + b"\n")
            await self.child.stdin.drain()
        except OSError as error:
            await self._bury()
            if self._failure:
                raise self._failure() from error

    async def _bury(self) -> None:
        how, words = await self.child.obituary(), self.child.said()
        advice = 'restart it; if it happens at once, check "command", "args" and "env" in the configuration'
        said = f", last saying “{words}”" if words else ""
        self._end(partial(UpstreamUnavailable, self._alias, how, advice, said=said))

    def _end(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            for call in self._calls.values():
                call.fail(failure)
            self.ended.set()

    async def _read(self) -> None:
        line = bytearray()
        try:
            while chunk := await self.child.stdout.read(READ_SIZE):
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    line += end
                    self._take(bytes(line))
                    line.clear()
                line += rest
                if len(line) > self._max:
                    self._refuse(f"sent a message of more than {self._max:,} bytes")
                if self._failure:
                    break
            else:
                await self._bury()
        finally:
            gone = "its reader ended unexpectedly"
            self._end(partial(UpstreamUnavailable, self._alias, gone, "this is a fault of the gateway: restart it"))
        await self.child.stop()

    def _refuse(self, what: str, said: str = "") -> None:
        self._end(partial(UpstreamGarbled, self._alias, what, "it was stopped: fix or replace the server", said=said))

    def _take(self, line: bytes) -> None:
        if self._failure:
            return
        if len(line) > self._max:
            self._refuse(f"sent a message of more than {self._max:,} bytes")
            return
        try:
            message = wire.decode(line)
        except CanonicalError as error:
            if error.code in wire.JUNK:
                self._count_junk(line)
            else:
                self._ambiguous(line, error)
            return
        if message is None:
            self._count_junk(line)
            return
        self._junk = 0
        if not wire.is_response(message):
            self._incoming(message, len(line))
        elif call := self._call_of(message):
            call.over = True
            call.waiting = 0  # a response is never too much: the line had its own limit
            call.arrived.put_nowait(Arrived(message, len(line)))

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
        """Who a question is for: nothing on a pipe says so. The newest request whose client answers questions is the
        best guess; sessions with servers that may ask are not shared between clients, so it is the right client."""
        calls = (call.down for call in reversed(self._calls.values()) if call.down is not DEAF and not call.over)
        return next(calls, self._owner)

    def _only_call(self, notification: Json) -> Call | None:
        """The call that a log message is about, where it can be only one: on a pipe it does not say."""
        if notification["method"] != "notifications/message":
            return None
        calls = [call for call in self._calls.values() if call.request.method != "subscriptions/listen"]
        wanting = [call for call in calls if call.request.wants_logs]
        likely = wanting or calls
        return likely[0] if len(likely) == 1 else None

    def _count_junk(self, line: bytes) -> None:
        self._junk += 1
        self._last_junk = printable(line[:400].decode("utf-8", "replace"), 80).strip() or self._last_junk
        if self._junk > MAX_JUNK:
            self._refuse("prints to its standard output what is not MCP", f" (such as “{self._last_junk}”)")

    def _ambiguous(self, line: bytes, error: CanonicalError) -> None:
        what = f"sent ambiguous JSON ({error.code}: {error.detail})"
        call = self._calls.get(wire.claimed_id(line) or 0)
        if call and not call.over:
            call.fail(partial(UpstreamGarbled, self._alias, what, "fix or replace the server"))
        elif b'"method"' in line[:1000]:
            self._count_junk(line)  # a notification: nobody waits for it
        elif wire.claimed_id(line) is None:
            self._refuse(what)

    async def _listen(self) -> None:
        while True:
            message = await self._unowned.get()
            try:
                await self._owner.tell(message)
            except Exception:  # a fault of the owner must not cost it the notifications that follow
                logger.exception("%s: the owner failed on %s", self._alias, message["method"])


async def open_stdio(
    alias: str, command: Command, *, owner: Downlink = DEAF, max_message: int = MAX_MESSAGE
) -> StdioTransport:
    """Start a server and return the connection to it. Raises `UpstreamUnavailable`; `aclose` must be called."""
    return StdioTransport(await spawn(alias, command), owner, max_message)
