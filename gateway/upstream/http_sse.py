"""HTTP+SSE, the transport of MCP 2024-11-05: one event stream down, a POST up for each message.

The stream's first event names the URL to POST to; answers to all callers come on the stream. The era is legacy.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import anyio
from yarl import URL

from gateway.upstream import (
    DEAF,
    MAX_MESSAGE,
    Downlink,
    Json,
    UpstreamError,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnavailable,
    wire,
)
from gateway.upstream.channel import Channel, Failure, Wording
from gateway.upstream.refusals import check_status, unreachable
from gateway.upstream.sse import Event, EventTooLarge, events

STREAM, PLAIN = "text/event-stream", "application/json"
WORDING = Wording(junk="sends events that are not MCP", cut="it was disconnected")
MAX_ENDPOINT = 8192
"""Bytes of the longest endpoint accepted: it goes with every POST."""
MAX_BODY = 64 * 1024
"""Bytes read of what a server says to a POST, so that its connection can be used again."""
FAREWELL = 2.0
"""Seconds that a POST may still take when nobody waits for it any more."""
NOTIFY = 10.0
"""Seconds that a message without an answer may take."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stream:
    """An open event stream that has named its endpoint."""

    arriving: AsyncGenerator[Event]
    url: URL
    endpoint: URL


class SseTransport:
    """A `Transport` over one event stream, and the `Carrier` of its channel. Made by `open_sse`."""

    def __init__(
        self,
        alias: str,
        pool: aiohttp.ClientSession,
        stream: Stream,
        lease: AsyncExitStack,
        headers: Mapping[str, str],
        owner: Downlink,
        max_message: int,
    ) -> None:
        """`lease` ends the stream."""
        self._alias, self._pool, self._stream, self._headers = alias, pool, stream, headers
        self._lease = lease
        self._posts = set[asyncio.Task[None]]()  # under way; each removes itself
        self._unread = 0  # bytes in `_posts`
        self._channel = Channel(alias, self, owner, max_message, WORDING)
        self._reading = asyncio.create_task(self._read())

    @property
    def ended(self) -> anyio.Event:
        """Set when no request will succeed any more."""
        return self._channel.ended

    async def request(self, message: Json, *, headers: Mapping[str, str], down: Downlink, deadline: float) -> Json:
        """See `Transport`."""
        return await self._channel.request(message, headers=headers, down=down, deadline=deadline)

    async def notify(self, message: Json, *, headers: Mapping[str, str]) -> None:
        """See `Transport`. What the server answers to a notification is only logged."""
        self._channel.check()
        data = wire.encode({"jsonrpc": "2.0"} | message)
        with anyio.move_on_after(NOTIFY):
            await self._inform(data, headers)

    async def aclose(self) -> None:
        """Fail what is pending, end the stream and every POST. The pool stays open."""
        with anyio.CancelScope(shield=True):
            await self._channel.close()
            tasks = [self._reading, *self._posts]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._lease.aclose()

    @property
    def unread(self) -> int:
        """See `Carrier`."""
        return self._unread

    @asynccontextmanager
    async def sending(
        self, data: bytes, headers: Mapping[str, str], failed: Callable[[Failure], None]
    ) -> AsyncGenerator[None]:
        """See `Carrier`. The answer may come before the POST is accepted: some servers work first."""
        scope = anyio.CancelScope()
        self._start(self._deliver(data, headers, scope, failed), len(data))
        try:
            yield
        finally:
            scope.deadline = anyio.current_time() + FAREWELL

    def post(self, data: bytes) -> None:
        """See `Carrier`."""

        async def briefly() -> None:
            with anyio.move_on_after(NOTIFY):
                await self._inform(data, {})

        self._start(briefly(), len(data))

    def _start(self, posting: Coroutine[Any, Any, None], size: int) -> None:
        def over(task: asyncio.Task[None]) -> None:
            self._posts.discard(task)
            self._unread -= size

        task = asyncio.create_task(posting)
        self._posts.add(task)
        self._unread += size
        task.add_done_callback(over)

    async def _deliver(
        self, data: bytes, headers: Mapping[str, str], scope: anyio.CancelScope, failed: Callable[[Failure], None]
    ) -> None:
        with scope:
            try:
                await self._post(data, headers)
            except UpstreamError as error:
                failed(partial(_same, error))

    async def _inform(self, data: bytes, headers: Mapping[str, str]) -> None:
        try:
            await self._post(data, headers)
        except UpstreamError as error:
            logger.info("%s (it did not take a message that has no answer)", error)

    async def _post(self, data: bytes, headers: Mapping[str, str]) -> None:
        """Return when the server has accepted a message; its answer comes on the stream. Raises `UpstreamError`."""
        sent = {"content-type": PLAIN} | dict(self._headers) | dict(headers)
        endpoint = self._stream.endpoint
        try:
            async with self._pool.post(endpoint, data=data, headers=sent, allow_redirects=False) as response:
                try:
                    if response.status == 404:  # the session of this stream: the server lost it, or never had one
                        gone = partial(UpstreamUnavailable, self._alias, "forgot its session (HTTP 404)")
                        self._channel.end(partial(gone, 'try again; if it stays so, check "url" in the configuration'))
                        return
                    check_status(self._alias, response)
                    await _drain(response)
                finally:
                    if not response.content.at_eof():
                        response.close()
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a header that may not be sent
            raise unreachable(self._alias, error) from error

    async def _read(self) -> None:
        advice = "try again, but look first: calls under way may have had effects"
        try:
            async for event in self._stream.arriving:
                self._take(event)
                if self._channel.failure:
                    break
            else:
                self._channel.end(partial(UpstreamUnavailable, self._alias, "ended its event stream", advice))
        except EventTooLarge:
            self._channel.overrun()
        except (aiohttp.ClientError, OSError) as error:
            what = f"its event stream broke off ({type(error).__name__})"
            self._channel.end(partial(UpstreamUnavailable, self._alias, what, advice))
        finally:
            gone = "its reader ended unexpectedly"
            advice = "this is a fault of the gateway: restart it"
            self._channel.end(partial(UpstreamUnavailable, self._alias, gone, advice))
        await self._lease.aclose()

    def _take(self, event: Event) -> None:
        if event.name in (b"", b"message"):
            if event.data:
                self._channel.take(event.data)
        elif event.name == b"endpoint" and event.data:
            again = None
            with suppress(UpstreamGarbled):
                again = resolve(self._alias, self._stream.url, event.data)
            if again != self._stream.endpoint:
                self._channel.refuse("named a second endpoint")


async def open_sse(
    alias: str,
    pool: aiohttp.ClientSession,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    owner: Downlink = DEAF,
    max_message: int = MAX_MESSAGE,
    deadline: float,
) -> SseTransport:
    """Open the stream and wait for its endpoint. Raises `UpstreamError`; `aclose` must be called.

    `headers` (credentials, say) go with every request, never into a message, and never to another origin than `url`'s.
    """
    static = {"accept-encoding": "identity"} | {name.lower(): value for name, value in (headers or {}).items()}
    with anyio.move_on_after(deadline - anyio.current_time()):
        async with AsyncExitStack() as lease:
            stream = await _open(alias, pool, url, static, max_message, lease)
            return SseTransport(alias, pool, stream, lease.pop_all(), static, owner, max_message)
    advice = 'check that "url" is that of its event stream, and that it runs'
    raise UpstreamTimeout(alias, "named no endpoint on its event stream in time", advice)


async def _open(
    alias: str,
    pool: aiohttp.ClientSession,
    url: str,
    headers: Mapping[str, str],
    max_message: int,
    lease: AsyncExitStack,
) -> Stream:
    asked = {"accept": STREAM, "cache-control": "no-store"} | dict(headers)
    try:
        base = URL(url)
        response = await lease.enter_async_context(pool.get(base, headers=asked, allow_redirects=False))
        check_status(alias, response)
        if response.status != 200 or response.content_type != STREAM:
            said = f" and {response.content_type}"
            what, advice = f"answered with HTTP {response.status}", 'check "url" and "type" in the configuration'
            raise UpstreamGarbled(alias, what, f"this is no event stream: {advice}", said=said)
        arriving = await lease.enter_async_context(aclosing(events(response.content.iter_any(), max_message)))
        async for event in arriving:
            if event.name == b"endpoint" and event.data:
                return Stream(arriving, base, resolve(alias, base, event.data))
    except EventTooLarge as error:
        what = f"sent an event of more than {max_message:,} bytes"
        raise UpstreamGarbled(alias, what, "fix or replace the server") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise unreachable(alias, error) from error
    raise UpstreamUnavailable(alias, "ended its event stream without naming an endpoint", "try again; look at its log")


def resolve(alias: str, base: URL, named: bytes) -> URL:
    """Return the URL to POST to, of the same origin as `base`. Raises `UpstreamGarbled`."""
    advice = 'check "url" in the configuration, or fix the server'
    try:
        if len(named) > MAX_ENDPOINT:
            raise ValueError("too long")
        endpoint = base.join(URL(named.decode().strip()))
        origins = [(url.scheme, url.host, url.port) for url in (endpoint, base)]
        endpoint = endpoint.with_user(base.user).with_password(base.password)
    except ValueError as error:
        raise UpstreamGarbled(alias, "named an endpoint that is no usable URL", advice) from error
    if origins[0] != origins[1]:
        scheme, host, port = origins[0]
        what, said = (
            "named an endpoint of another origin, where its credentials must not go",
            f": {scheme}://{host}:{port}",
        )
        raise UpstreamGarbled(alias, what, advice, said=said)
    return endpoint


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, whatever it says: the message has been accepted."""
    with anyio.move_on_after(FAREWELL), suppress(aiohttp.ClientError, OSError):
        read = 0
        async for chunk in response.content.iter_any():
            read += len(chunk)
            if read > MAX_BODY:
                break


def _same(error: UpstreamError) -> UpstreamError:
    return error
