"""Streamable HTTP: a POST for each message, answered by JSON or by an event stream; both eras."""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import anyio
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_PROTOCOL_VERSION_HEADER

from attest.errors import CanonicalError
from gateway.upstream import (
    DEAF,
    MAX_MESSAGE,
    Downlink,
    Json,
    UpstreamError,
    UpstreamGarbled,
    UpstreamSessionLost,
    UpstreamTimeout,
    UpstreamUnavailable,
    printable,
    wire,
)
from gateway.upstream.credentials import Challenge, Credentials
from gateway.upstream.questions import Questions
from gateway.upstream.refusals import check_status, unreachable
from gateway.upstream.sse import Event, EventTooLarge, events

SESSION = "mcp-session-id"
STREAM, PLAIN = "text/event-stream", "application/json"
FIRST_RETRY, LEAST_RETRY, MOST_RETRY = 1.0, 0.05, 30.0
RENEWALS = 2
"""How often one request is sent again with new credentials: for a token that ran out, and for one that grants more."""
MAX_CHALLENGE = 8192
OFFER = 2.0
"""Seconds in which a legacy server should say whether it offers a standalone stream."""
FAREWELL = 2.0
"""Seconds for the messages that nobody waits for: cancellation, the end of a session."""
logger = logging.getLogger(__name__)


def new_pool() -> aiohttp.ClientSession:
    """Return the connection pool that all HTTP upstreams share. The caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),  # uvicorn closes an idle socket after 5 s
        cookie_jar=aiohttp.DummyCookieJar(),  # what one upstream sets is no business of another
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
    )


@dataclass(frozen=True)
class Reading:
    """A request whose answer is being read, maybe from several streams one after the other."""

    request: wire.Numbered
    down: Downlink
    questions: Questions
    last: Event = field(default_factory=Event)  # what a resumption needs: the newest id, the newest delay


class HttpTransport:
    """A `Transport` to one URL. `headers` go with every request, never into a message; `auth` keeps bearer tokens."""

    def __init__(
        self,
        alias: str,
        pool: aiohttp.ClientSession,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Credentials | None = None,
        owner: Downlink = DEAF,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._alias, self._pool, self._url, self._max = alias, pool, url, max_message
        self._static = {"content-type": PLAIN, "accept": f"{PLAIN}, {STREAM}", "accept-encoding": "identity"}
        self._static |= {name.lower(): value for name, value in (headers or {}).items()}
        self._auth, self._owner = auth, owner
        self._listening: asyncio.Task[None] | None = None  # the GET stream; replaced at each `initialized`
        self._session: dict[str, str] = {}  # session and version headers of the legacy era; from `initialize` on
        self._numbers = itertools.count(1)

    async def request(self, message: Json, *, headers: Mapping[str, str], down: Downlink, deadline: float) -> Json:
        """See `Transport`."""
        request = wire.Numbered(message, next(self._numbers))
        answered = False
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                answer = await self._exchange(request, headers, down)
                answered = True
                return answer
        except UpstreamError:
            answered = True
            raise
        finally:
            # In the modern era the closed response was the cancellation.
            if not answered and request.cancellable and MCP_METHOD_HEADER not in headers:
                await self._farewell(request.cancelled("the caller went away or its deadline passed"), headers)
        advice = "it may be busy, or hang: try again, or restart it"
        raise UpstreamTimeout(self._alias, f"no answer to {request.method} in time", advice)

    async def notify(self, message: Json, *, headers: Mapping[str, str]) -> None:
        """See `Transport`. What the server answers to a notification is not looked at: some reset the connection."""
        starts = message["method"] == "notifications/initialized"
        if starts and MCP_PROTOCOL_VERSION_HEADER in headers:
            self._session[MCP_PROTOCOL_VERSION_HEADER] = headers[MCP_PROTOCOL_VERSION_HEADER]
        await self._farewell(message, headers, seconds=10)
        if starts and self._owner is not DEAF:
            await self._stop_listening()
            offered = asyncio.Event()
            self._listening = asyncio.create_task(self._listen(offered))
            with anyio.move_on_after(OFFER):  # what a server asks before there is this stream would be lost
                await offered.wait()

    async def aclose(self) -> None:
        """Stop listening and end the legacy session, if there is one. The pool stays open."""
        with anyio.CancelScope(shield=True):
            await self._stop_listening()
            if SESSION in self._session:
                with anyio.move_on_after(FAREWELL), suppress(UpstreamError):
                    async with self._open("DELETE", None, {}):
                        pass
            self._session.clear()

    async def _stop_listening(self) -> None:
        if self._listening:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None

    async def _farewell(self, message: Json, headers: Mapping[str, str], seconds: float = FAREWELL) -> None:
        """Deliver a message that has no answer, even for a caller who is being cancelled; failure is only logged."""
        data = wire.encode({"jsonrpc": "2.0"} | message)
        try:
            with anyio.move_on_after(seconds, shield=True):
                async with self._open("POST", data, headers):
                    pass
        except UpstreamError as error:
            logger.info("%s (it did not take %s)", error, message.get("method", "an answer"))

    @asynccontextmanager
    async def _open(
        self, verb: str, data: bytes | None, headers: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send, with credentials that were just renewed if need be, and yield the response."""
        sent = self._static | self._session | dict(headers)
        renewals = RENEWALS if self._auth else 0
        while True:
            token = self._auth.token() if self._auth else None
            async with self._send(verb, data, sent if token is None else sent | _bearer(token)) as response:
                challenge = _challenge(response, sent) if renewals and response.status in (401, 403) else None
                if self._auth is None or challenge is None or not challenge.answerable:
                    yield response
                    return
            await self._auth.renew(token, challenge)
            renewals -= 1

    @asynccontextmanager
    async def _send(
        self, verb: str, data: bytes | None, sent: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send and yield the response; whatever of it is unread at the end is dropped with its connection."""
        try:
            async with self._pool.request(verb, self._url, data=data, headers=sent, allow_redirects=False) as response:
                try:
                    yield response
                finally:
                    if not response.content.at_eof():
                        response.close()
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a header that may not be sent
            raise unreachable(self._alias, error) from error

    async def _exchange(self, request: wire.Numbered, headers: Mapping[str, str], down: Downlink) -> Json:
        used = None if request.method == "initialize" else self._session.get(SESSION)
        if request.method == "initialize":
            self._session = {}
        async with self._questioned() as questions:
            reading = Reading(request, down, questions)
            try:
                async with self._open("POST", wire.encode(request.wire), headers) as response:
                    if request.method == "initialize" and (given := response.headers.get(SESSION)):
                        self._session[SESSION] = given
                    if response.status == 404 and used:
                        advice = "it was probably restarted: try again"
                        raise UpstreamSessionLost(self._alias, "forgot its session", advice)
                    if response.content_type != STREAM or response.status != 200:
                        return request.restore(await self._document(response, request))
                    if answer := await self._follow(response, reading):
                        return answer
            except UpstreamUnavailable:
                if reading.last.id is None or not used:
                    raise  # nothing to resume from
            if answer := await self._resumed(reading, used):
                return answer
        what = f"ended its stream without an answer to {request.method}"
        raise UpstreamUnavailable(self._alias, what, "the call may have had effects: look before you repeat it")

    async def _resumed(self, reading: Reading, used: str | None) -> Json | None:
        """Ask again for what follows the last event, as long as the session lives and the server goes along."""
        last = reading.last
        while last.id is not None and used and self._session.get(SESSION) == used:
            await anyio.sleep(min(MOST_RETRY, max(LEAST_RETRY, FIRST_RETRY if last.retry is None else last.retry)))
            async with self._open("GET", None, {"last-event-id": last.id, "accept": STREAM}) as response:
                if response.status != 200 or response.content_type != STREAM:
                    break
                if answer := await self._follow(response, reading):
                    return answer
        return None

    async def _follow(self, response: aiohttp.ClientResponse, reading: Reading) -> Json | None:
        """Read a stream up to the response, None if it ends before. Keeps `reading.last` up to date."""
        request = reading.request
        async with aclosing(self._messages(response, reading.last)) as messages:
            async for message in messages:
                if wire.is_response(message):
                    if self._answers(message, request):
                        return request.restore(message)
                elif "id" in message:
                    reading.questions.take(message, reading.down)
                elif not reading.questions.withdraw(message):
                    await reading.down.tell(request.restore(message))
        return None

    @asynccontextmanager
    async def _questioned(self) -> AsyncGenerator[Questions]:
        """What the server asks for one request, or on the standalone stream; with that the questions end."""
        questions = Questions(self._reply)
        try:
            yield questions
        finally:
            await questions.close()

    async def _reply(self, answer: Json) -> None:
        try:
            await self._farewell(answer, {})
        except ValueError:  # an answer that is not JSON
            error = {"code": -32603, "message": "the client answered with what is not JSON"}
            await self._farewell({"id": answer["id"], "error": error}, {})

    async def _messages(self, response: aiohttp.ClientResponse, last: Event) -> AsyncGenerator[Json]:
        """Yield the messages of an event stream. Raises `UpstreamGarbled`."""
        try:
            async with aclosing(events(response.content.iter_any(), self._max)) as arriving:
                async for event in arriving:
                    last.id = event.id if event.id is not None else last.id
                    last.retry = event.retry if event.retry is not None else last.retry
                    if event.data:
                        yield self._message(event.data)
        except EventTooLarge as error:
            raise self._too_large() from error

    async def _document(self, response: aiohttp.ClientResponse, request: wire.Numbered) -> Json:
        """Return the one response in a JSON body. Raises `UpstreamError` for everything else."""
        check_status(self._alias, response, json_is_answer=response.content_type == PLAIN)
        if (response.content_length or 0) > self._max:
            raise self._too_large()
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max:
                raise self._too_large()
        if response.content_type != PLAIN:
            what, advice = f"answered {request.method} with HTTP {response.status}", 'check "url" in the configuration'
            said = f" and {printable(response.content_type, 40)}, not JSON"
            raise UpstreamGarbled(self._alias, what, advice, said=said)
        try:
            message = self._message(bytes(body))
        except UpstreamGarbled:
            check_status(self._alias, response)
            raise
        if wire.is_response(message) and self._answers(message, request):
            return message
        check_status(self._alias, response)
        raise UpstreamGarbled(
            self._alias, f"answered {request.method} with another message", "fix or replace the server"
        )

    def _answers(self, message: Json, request: wire.Numbered) -> bool:
        given = message.get("id")
        return wire.number(given) == request.number or (given is None and "error" in message)

    def _message(self, data: bytes) -> Json:
        try:
            message = wire.decode(data)
        except CanonicalError as error:
            what = f"sent what is not one unambiguous JSON value ({error.code}: {error.detail})"
            raise UpstreamGarbled(self._alias, what, "fix or replace the server") from error
        if message is None:
            raise UpstreamGarbled(self._alias, "sent JSON that is no MCP message", 'check "url" in the configuration')
        return message

    def _too_large(self) -> UpstreamGarbled:
        return UpstreamGarbled(self._alias, f"sent a message of more than {self._max:,} bytes", "fix or replace it")

    async def _listen(self, offered: asyncio.Event) -> None:
        """Hold the standalone stream of a legacy session open while there is one; sets `offered` once that is known."""
        last, session = Event(), self._session.get(SESSION)
        pause = FIRST_RETRY
        while self._session.get(SESSION) == session:
            try:
                resume = {} if last.id is None else {"last-event-id": last.id}
                async with self._open("GET", None, {"accept": STREAM} | resume) as response:
                    offered.set()
                    if response.status != 200 or response.content_type != STREAM:
                        return  # 405: it offers none
                    async with aclosing(self._messages(response, last)) as messages, self._questioned() as questions:
                        async for message in messages:
                            pause = FIRST_RETRY
                            if "id" in message and "method" in message:
                                questions.take(message, self._owner)
                            elif "method" in message and not questions.withdraw(message):
                                await self._tell(message)
            except UpstreamError as error:
                offered.set()
                logger.info("%s (its notification stream)", error)
            await anyio.sleep(max(pause, LEAST_RETRY if last.retry is None else min(last.retry, MOST_RETRY)))
            pause = min(MOST_RETRY, pause * 2)

    async def _tell(self, message: Json) -> None:
        try:
            await self._owner.tell(message)
        except Exception:  # a fault of the owner must not cost it the notifications that follow
            logger.exception("%s: the owner failed on %s", self._alias, message["method"])


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _challenge(response: aiohttp.ClientResponse, sent: Mapping[str, str]) -> Challenge:
    authenticate = ", ".join(response.headers.getall("www-authenticate", []))
    return Challenge(response.status, authenticate[:MAX_CHALLENGE], sent.get(MCP_PROTOCOL_VERSION_HEADER, ""))
