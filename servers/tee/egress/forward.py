"""A program's plain HTTP request to the proxy (RFC 9112 §3.2.2, absolute form): read, decided, made anew, once."""

import asyncio
import re
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import h11

from servers.tee.egress import Refused, Unreachable
from servers.tee.egress.exchange import Exchange, opened, outgoing, passed_on
from servers.tee.egress.gate import CHUNK, Attempt, Gate
from servers.tee.policy import Granted
from servers.tee.policy.hosts import read_host

MAX_HEAD = 64 << 10
_PORTS = {"http": 80, "https": 443}
_STRANGE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SIZE = re.compile(rb"\d{1,15}")


class Guest:
    """A program's end: one request from it, one response to it. `idle` in seconds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, idle: float) -> None:
        self._reader, self._writer, self._idle = reader, writer, idle
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._wire.receive_data(head)

    @property
    def answered(self) -> bool:
        """Whether a response has begun: then the one honest way to say that it failed is to cut it."""
        return self._wire.our_state is not h11.SEND_RESPONSE and self._wire.our_state is not h11.IDLE

    def request(self) -> h11.Request:
        """The head, which must be all there. Raises `Refused`."""
        try:
            event = self._wire.next_event()
        except h11.RemoteProtocolError as e:
            raise Refused("request", f"not a request: {e}") from e
        if not isinstance(event, h11.Request):
            raise Refused("request", "not a request")
        return event

    async def body(self) -> AsyncGenerator[bytes]:
        """The content. Raises `Refused`."""
        if self._wire.they_are_waiting_for_100_continue:
            await self._write(self._wire.send(h11.InformationalResponse(status_code=100, headers=[])))
        try:
            while not isinstance(event := self._wire.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    yield bytes(event.data)
                elif event is h11.NEED_DATA:
                    async with asyncio.timeout(self._idle):
                        self._wire.receive_data(await self._reader.read(CHUNK))
                else:
                    raise Refused("request", "the request ended early")
        except (h11.RemoteProtocolError, OSError) as e:
            raise Refused("request", "the request ended early, or is not HTTP") from e

    async def answer(self, exchange: Exchange) -> None:
        """Pass on the response. Raises `Refused`, `Unreachable`, `OSError`."""
        response = await exchange.response()
        framing = [(n, v) for n, v in response.headers if n in (b"content-length", b"transfer-encoding")]
        headers = [*passed_on(response.headers), *framing, (b"connection", b"close")]
        told = h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)
        await self._write(self._wire.send(told))
        async for chunk in exchange.body():
            await self._write(self._wire.send(h11.Data(data=chunk)))
        await self._write(self._wire.send(h11.EndOfMessage()))

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(self._idle):
                await self._writer.drain()


def check_head(head: bytes) -> None:
    """Raise `Refused` for a head that two readers could read in two ways (RFC 9112 §2.2, §5.2, §6.3)."""
    if _STRANGE.search(head):
        raise Refused("request", "a line that does not end in CR LF, that is folded, or that holds a control character")
    lines = head.split(b"\r\n")[1:-2]
    names = [line.partition(b":")[0].lower() for line in lines]
    if any(name != name.strip() for name in names):
        raise Refused("request", "space around a header's name")
    framing = [name for name in names if name in (b"content-length", b"transfer-encoding")]
    if len(framing) > 1 or names.count(b"host") > 1:
        raise Refused("request", "its length or host is said twice")
    values = {name: line.partition(b":")[2].strip().lower() for name, line in zip(names, lines, strict=True)}
    if values.get(b"transfer-encoding", b"chunked") != b"chunked":
        raise Refused("request", "a transfer coding that is not chunked")
    if not _SIZE.fullmatch(values.get(b"content-length", b"0")):
        raise Refused("request", "a length that is no number")


def _target(request: h11.Request, attempt: Attempt) -> str:
    """The path. Fills in `attempt`. Raises `Refused`."""
    try:
        url = urlsplit(bytes(request.target).decode("ascii"))
        host, port = url.hostname, url.port
    except ValueError as e:
        raise Refused("request", "not an absolute URL in ASCII") from e
    if url.scheme not in _PORTS or not host or "@" in url.netloc or url.fragment or port == 0:
        raise Refused("request", "not an absolute http or https URL with a host and without a user")
    attempt.host, attempt.scheme, attempt.port = host, url.scheme, port or _PORTS[url.scheme]
    for name, value in request.headers:
        if name == b"host" and not _same(bytes(value).decode("latin-1"), url.netloc):
            raise Refused("request", "the Host header names another host than the URL")
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        left, right = urlsplit(f"//{one}"), urlsplit(f"//{other}")
        if left.port != right.port:
            return False
        return read_host(left.hostname or "") == read_host(right.hostname or "")
    except ValueError:
        return False


def _decide(gate: Gate, attempt: Attempt, method: str) -> Granted:
    """The grant. Where only https is granted, the proxy speaks TLS for a program that asked for http."""
    try:
        return gate.decide(attempt.scheme, attempt.host, attempt.port, method)
    except Refused:
        if attempt.scheme == "https":
            raise
        port = 443 if attempt.port == 80 else attempt.port
        try:
            granted = gate.decide("https", attempt.host, port, method)
        except Refused:
            pass
        else:
            attempt.scheme, attempt.port = "https", port
            return granted
        raise


async def forward(gate: Gate, attempt: Attempt, guest: Guest) -> None:
    """One request. Raises `Refused`, `Unreachable`, `OSError`."""
    request = guest.request()
    path = _target(request, attempt)
    method = bytes(request.method).decode("ascii")
    if gate.policy.egress_record == "requests":
        attempt.request = f"{method} {path}"
    granted = _decide(gate, attempt, method)
    attempt.host = granted.host.name
    name = f"[{granted.host.name}]" if ":" in granted.host.name else granted.host.name
    authority = name if attempt.port == _PORTS[attempt.scheme] else f"{name}:{attempt.port}"
    framing = [(n, v) for n, v in request.headers if n in (b"content-length", b"transfer-encoding")]
    secret = gate.headers(granted, attempt.scheme, attempt.port)
    try:
        written = outgoing(bytes(request.method), path.encode(), authority.encode(), request.headers, secret, framing)
    except h11.LocalProtocolError as e:
        raise Refused("request", "a header that cannot be written") from e  # its text may hold the value of one
    async with opened(gate, granted, attempt, method, tls=attempt.scheme == "https") as exchange:
        await exchange.send(written, guest.body())
        try:
            await guest.answer(exchange)
        except (h11.LocalProtocolError, TimeoutError) as e:
            raise Unreachable("response", "the response cannot be passed on") from e
