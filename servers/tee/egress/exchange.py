"""One HTTP/1.1 request to one host and its response, made and read by h11: no byte of a guest's goes on as it came."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import asynccontextmanager

import h11

from servers.tee.egress import Unreachable
from servers.tee.egress.gate import CHUNK, Attempt, Gate
from servers.tee.policy import Granted

_MAX_HEAD = 64 << 10
_HOP = frozenset(b"connection keep-alive te trailer upgrade host expect content-length transfer-encoding".split())
"""Headers that speak of one connection only (RFC 9110 §7.6.1), or that are written anew."""

Headers = Iterable[tuple[bytes, bytes]]


def passed_on(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that travel from end to end."""
    found = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in found if name == b"connection" for part in value.split(b",")}
    return [
        (name, value)
        for name, value in found
        if name not in _HOP and name not in named and not name.startswith(b"proxy-")
    ]


class Exchange:
    """Made by `opened`."""

    def __init__(
        self, gate: Gate, granted: Granted, attempt: Attempt, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._gate, self._granted, self._attempt = gate, granted, attempt
        self._reader, self._writer = reader, writer
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)

    async def send(self, request: h11.Request, body: AsyncIterable[bytes]) -> None:
        """Raises `Refused` for bytes beyond the policy's, `Unreachable`."""
        try:
            await self._write(self._wire.send(request))
            async for chunk in body:
                await self._write(self._wire.send(h11.Data(data=chunk)))
            await self._write(self._wire.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as e:
            raise Unreachable("request", "the request cannot be written") from e

    async def response(self) -> h11.Response:
        """The final response's head. Raises `Refused`, `Unreachable`."""
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise Unreachable("response", f"{self._attempt.host} answers what is not HTTP")
        return event

    async def body(self) -> AsyncGenerator[bytes]:
        """Its content. Raises `Refused`, `Unreachable`."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise Unreachable("response", f"{self._attempt.host} ended its answer early")

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._wire.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(self._gate.waits.idle):
                    data = await self._reader.read(CHUNK)
                self._gate.count(self._granted, self._attempt, received=len(data))
                self._wire.receive_data(data)
        except (h11.RemoteProtocolError, OSError) as e:
            raise Unreachable("response", f"{self._attempt.host} answers what is not HTTP, or not in time") from e
        return event

    async def _write(self, data: bytes | None) -> None:
        if not data:
            return
        self._gate.count(self._granted, self._attempt, sent=len(data))
        try:
            self._writer.write(data)
            async with asyncio.timeout(self._gate.waits.idle):
                await self._writer.drain()
        except OSError as e:
            raise Unreachable("connect", f"{self._attempt.host} takes no more") from e


@asynccontextmanager
async def opened(gate: Gate, granted: Granted, attempt: Attempt, method: str, *, tls: bool) -> AsyncGenerator[Exchange]:
    """A connection for one exchange. Raises as `Gate.dial`."""
    reader, writer = await gate.dial(granted, attempt, method, tls=tls)
    try:
        yield Exchange(gate, granted, attempt, reader, writer)
    finally:
        writer.transport.abort()


def outgoing(
    method: bytes,
    target: bytes,
    authority: bytes,
    headers: Headers,
    secret: Iterable[tuple[str, str]],
    framing: Headers,
) -> h11.Request:
    """The request as it is written: one Host, the framing of the body, and the secrets instead of what had their names.

    Raises `h11.LocalProtocolError` for what cannot be written.
    """
    added = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in secret]
    taken = {name for name, _ in added}
    kept = [(name, value) for name, value in passed_on(headers) if name not in taken]
    told = [(b"host", authority), *kept, *added, *framing, (b"connection", b"close")]
    return h11.Request(method=method, target=target, headers=told)
