"""JSON-RPC with a program that nobody trusts: bounded lines in, each given to the call that it is about."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from attest.canonical import MAX_DEPTH, parse
from attest.errors import CanonicalError
from servers.tee.hosted import HostedError

Json = dict[str, Any]
Tell = Callable[[Json], Awaitable[None]]
Ask = Callable[[Json], Awaitable[Json]]

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
_READ = 256 << 10
_WAITING = 1024
"""Notifications of one call that its client did not take yet; what comes beyond is dropped and counted."""
_QUESTIONS = 16
_JUNK = 1000
_ENVELOPE_BYTES = 64 << 10
_ENVELOPE_DEPTH = 8


class Input(Protocol):
    """Where lines are written to."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


@dataclass
class Counts:
    """What of a program's words was not passed on."""

    junk: int = 0
    """Lines that are no JSON-RPC."""
    strays: int = 0
    """Answers to what nobody asked, or asked no more."""
    dropped: int = 0
    """Notifications that came faster than they were taken."""
    refused: int = 0
    """Questions beyond what may be open at once."""


@dataclass(eq=False)
class _Call:
    method: str
    token: Any
    caller_id: Any
    arrived: deque[Json] = field(default_factory=deque[Json])
    there: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Json | HostedError | None = None


class Lines:
    """One program. `tell` takes what it says of no call, `ask` answers its questions.

    `result_bytes` and `depth` bound what is read at all; a longer or deeper line fails its call if that is known, else
    it ends the connection. `ended` is set then, with `failure`.
    """

    def __init__(self, stdin: Input, tell: Tell, ask: Ask, *, result_bytes: int, depth: int) -> None:
        self._stdin, self._tell, self._ask = stdin, tell, ask
        self._most, self._depth = result_bytes + _ENVELOPE_BYTES, min(MAX_DEPTH, depth + _ENVELOPE_DEPTH)
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Call] = {}  # by the number that is their id and progress token here
        self._questions: dict[str, asyncio.Task[None]] = {}  # of the program that wait for an answer, by their id
        self._outside: asyncio.Queue[Json] = asyncio.Queue(_WAITING)
        self.counts = Counts()
        self.ended = asyncio.Event()
        self.failure: HostedError | None = None  # set once, by `end`

    @property
    def busy(self) -> int:
        """Calls under way."""
        return len(self._calls)

    async def request(self, method: str, params: Json | None, tell: Tell, *, caller_id: Any = None) -> Json:
        """The raw answer, with `result` or `error`. Raises `HostedError` where there is none any more.

        `tell` gets the notifications about it, as its caller knows it. When the caller is cancelled the program hears
        of it.
        """
        if self.failure is not None:
            raise self.failure
        number = next(self._numbers)
        meta = _object(_object(params).get("_meta"))
        call = _Call(method, meta.get("progressToken"), caller_id)
        if call.token is not None:
            params = {**_object(params), "_meta": {**meta, "progressToken": number}}
        self._calls[number] = call
        try:
            await self.send({"id": number, "method": method} | ({} if params is None else {"params": params}))
            while True:
                while call.arrived:
                    await tell(_restored(call.arrived.popleft(), number, call))
                if call.answer is not None:
                    break
                call.there.clear()
                await call.there.wait()
        finally:
            del self._calls[number]
            if call.answer is None and self.failure is None and method != "initialize":
                told = {"requestId": number, "reason": "the caller went away or its time was over"}
                self._write({"method": "notifications/cancelled", "params": told})
        match call.answer:
            case dict():
                return _restored(call.answer, number, call)
            case HostedError() as failure:
                raise failure
            case None:
                raise HostedError("the server was stopped")

    async def send(self, message: Json) -> None:
        """Send one message. Raises `HostedError` if the program is gone."""
        self._write(message)
        try:
            await self._stdin.drain()
        except OSError as e:
            await self.ended.wait()
            raise self.failure or HostedError("the server closed its input") from e

    async def deliver(self) -> None:
        """Pass on what is about no call, until cancelled."""
        while True:
            await self._tell(await self._outside.get())

    async def read(self, stdout: asyncio.StreamReader) -> None:
        """Read until the program's output ends or cannot be read any more."""
        line, skipping = bytearray(), False
        while self.failure is None and (block := await stdout.read(_READ)):
            *whole, rest = block.split(b"\n")
            for part in whole:
                if not skipping:
                    self._take(bytes(line + part))
                line.clear()
                skipping = False
            line += rest
            if len(line) > self._most:
                if not skipping:
                    self._unreadable(f"a line of more than {self._most:,} bytes")
                line.clear()
                skipping = True

    def end(self, failure: HostedError) -> None:
        """Fail what is under way and all that follows. Only the first failure counts."""
        if self.failure is None:
            self.failure = failure
            for call in self._calls.values():
                call.answer = call.answer or failure
                call.there.set()
            for question in self._questions.values():
                question.cancel()
            self.ended.set()

    def _write(self, message: Json) -> None:
        try:
            line = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        except ValueError as e:
            raise HostedError("what was asked is not JSON") from e
        self._stdin.write(line.encode("ascii") + b"\n")

    def _take(self, line: bytes) -> None:
        if self.failure is not None or not line.strip():
            return
        if len(line) > self._most:
            self._unreadable(f"a line of more than {self._most:,} bytes")
            return
        try:
            value = parse(line, max_depth=self._depth)
        except CanonicalError as e:
            if e.code in ("not-json", "not-utf8"):
                self._junk()
            else:
                self._unreadable(f"JSON without one meaning, or nested too deeply ({e.code})")
            return
        message = cast(Json, value) if isinstance(value, dict) else {}
        if isinstance(message.get("method"), str):
            self._said(message)
        elif "result" in message or "error" in message:
            self._answered(message)
        else:
            self._junk()

    def _answered(self, message: Json) -> None:
        call = self._calls.get(_number(message.get("id")))
        if call is None or call.answer is not None:
            self.counts.strays += 1
            return
        part = message.get("result" if "result" in message else "error")
        call.answer = message if isinstance(part, dict) else HostedError(f"the answer to {call.method} is no object")
        call.there.set()

    def _said(self, message: Json) -> None:
        if "id" in message:
            self._asked(message)
            return
        if message["method"] == "notifications/cancelled":
            question = self._questions.get(json.dumps(_object(message.get("params")).get("requestId")))
            if question is not None:
                question.cancel()
            return
        call = self._calls.get(_about(message))
        if call is not None:
            if len(call.arrived) < _WAITING:
                call.arrived.append(message)
                call.there.set()
            else:
                self.counts.dropped += 1
        elif message["method"] == "notifications/progress":
            self.counts.strays += 1
        elif self._outside.full():
            self.counts.dropped += 1
        else:
            self._outside.put_nowait(message)

    def _asked(self, message: Json) -> None:
        key = json.dumps(message["id"])
        if key in self._questions or len(self._questions) >= _QUESTIONS or len(key) > 200:
            self.counts.refused += 1
            self._reply(message["id"], {"error": {"code": -32000, "message": "too many questions at once"}})
            return
        task = asyncio.create_task(self._answer(message))
        self._questions[key] = task
        task.add_done_callback(lambda _: self._questions.pop(key, None))

    async def _answer(self, message: Json) -> None:
        if message["method"] == "ping":
            self._reply(message["id"], {"result": {}})
            return
        self._reply(message["id"], await self._ask(message))

    def _reply(self, asked: Any, answer: Mapping[str, Any]) -> None:
        if self.failure is None:
            self._write({"id": asked, **answer})

    def _junk(self) -> None:
        self.counts.junk += 1
        if self.counts.junk > _JUNK:
            self.end(HostedError("the server prints to its standard output what is not MCP"))

    def _unreadable(self, what: str) -> None:
        """Whose answer it is cannot be told but where one call only waits."""
        waiting = [call for call in self._calls.values() if call.answer is None]
        if len(waiting) == 1:
            waiting[0].answer = HostedError(f"the server sent {what}")
            waiting[0].there.set()
        else:
            self.end(HostedError(f"the server sent {what}"))


def _number(value: object) -> int:
    """An id of ours, as which some servers send text; 0 for none."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 16:
        return int(value)
    return value if type(value) is int else 0


def _about(message: Json) -> int:
    params = _object(message.get("params"))
    if message["method"] == "notifications/progress":
        return _number(params.get("progressToken"))
    return _number(_object(params.get("_meta")).get(SUBSCRIPTION_ID))


def _restored(message: Json, number: int, call: _Call) -> Json:
    """With the caller's own progress token and subscription in place of ours."""
    part = "params" if "method" in message else "result"
    inner = _object(message.get(part))
    if message.get("method") == "notifications/progress":
        return {**message, "params": {**inner, "progressToken": call.token}}
    meta = _object(inner.get("_meta"))
    if _number(meta.get(SUBSCRIPTION_ID)) == number:
        return {**message, part: {**inner, "_meta": {**meta, SUBSCRIPTION_ID: call.caller_id}}}
    return message


def _object(value: Any) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}
