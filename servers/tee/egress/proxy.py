"""What listens inside a sandbox's network: an HTTP and SOCKS5 proxy that goes where the policy lets it."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from servers.tee.egress import Refused, Unreachable, Verdict, shown
from servers.tee.egress.forward import MAX_HEAD, Guest, check_head, forward
from servers.tee.egress.gate import Attempt, Gate
from servers.tee.egress.socks import NOT_ALLOWED, SUCCEEDED, UNREACHABLE, read_request, reply
from servers.tee.egress.tunnel import Tunnel, checked_hello, decide

MOST_AT_ONCE = 64
_SOCKS5 = b"\x05"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Serves one sandbox through its `gate`. One request or tunnel for each connection, then it is closed."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        # Connections that are being served; each task adds and takes out itself.
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self, listener: socket.socket) -> AsyncGenerator[None]:
        """Accept on `listener`, which may be in any network namespace, until left; then everything is cut."""
        server = await asyncio.start_server(self._accept, sock=listener, limit=MAX_HEAD)
        try:
            yield
        finally:
            server.close()
            for task in list(self._serving):
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  asyncio runs this in one
        self._serving.add(task)
        attempt = Attempt("", 0, "")
        ended: tuple[Verdict, str] = ("failed", "internal")
        try:
            if len(self._serving) > MOST_AT_ONCE:
                raise Refused("connections", f"more than {MOST_AT_ONCE} connections at once")
            await self._serve((reader, writer), attempt)
            ended = ("allowed", "")
        except Refused as e:
            ended = ("denied", e.code)
        except Unreachable as e:
            ended = ("failed", e.code)
        except TimeoutError:
            ended = ("denied", "slow")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            ended = ("denied", "request")
        except OSError:
            ended = ("failed", "cut")
        except asyncio.CancelledError:
            # By `serve`, and this is the whole task: asyncio's own callback on it trips over a cancelled one (3.11).
            ended = ("failed", "ended")
            writer.transport.abort()
        finally:
            self._gate.end(attempt, *ended)
            self._serving.discard(task)
            with suppress(OSError):
                writer.close()

    async def _serve(self, guest: Streams, attempt: Attempt) -> None:
        reader, writer = guest
        async with asyncio.timeout(self._gate.waits.head):
            first = await reader.readexactly(1)
            if first == _SOCKS5:
                attempt.scheme = "tcp"
                attempt.host, attempt.port = await read_request(reader, writer)
        if first == _SOCKS5:
            return await self._tunnel(guest, attempt, reply(SUCCEEDED), reply(NOT_ALLOWED), reply(UNREACHABLE))
        async with asyncio.timeout(self._gate.waits.head):
            head = first + await reader.readuntil(b"\r\n\r\n")
        attempt.scheme = "http"
        try:
            if head.startswith(b"CONNECT "):
                check_head(head)
                attempt.host, attempt.port = _authority(head)
                return await self._tunnel(guest, attempt, _ESTABLISHED, b"", b"")
            check_head(head)
            program = Guest(reader, writer, head, self._gate.waits.idle)
            try:
                await forward(self._gate, attempt, program)
            except (Refused, Unreachable):
                if program.answered:
                    writer.transport.abort()
                raise
        except (Refused, Unreachable) as e:
            if not writer.is_closing():
                writer.write(_told(403 if isinstance(e, Refused) else 502, e.code, e.reason))
            raise
        return None

    async def _tunnel(self, guest: Streams, attempt: Attempt, ok: bytes, no: bytes, lost: bytes) -> None:
        try:
            granted = decide(self._gate, attempt)
            host = await self._gate.dial(granted, attempt, None, tls=False)
        except Refused:
            guest[1].write(no)
            raise
        except Unreachable:
            guest[1].write(lost)
            raise
        try:
            guest[1].write(ok)
            first = b""
            if attempt.scheme == "https":
                first = await checked_hello(guest[0], granted, self._gate.waits.head)
            await Tunnel(self._gate, granted, attempt).run(guest, host, first)
        except (Refused, Unreachable):
            guest[1].transport.abort()  # what it reads now is the host's: there is no place for words of the proxy's
            raise
        finally:
            host[1].transport.abort()


def _authority(head: bytes) -> tuple[str, int]:
    """Host and port of a CONNECT (RFC 9110 §9.3.6). Raises `Refused`."""
    target = head.split(b" ", 2)[1].decode("latin-1")
    host, colon, port = target.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise Refused("request", "CONNECT needs a host and a port")
    return host, int(port)


def _told(status: int, code: str, reason: str) -> bytes:
    """Why not, for the program: one line, in none of its own words but printable ones."""
    body = f"egress: {shown(reason)}\n".encode()
    head = f"HTTP/1.1 {status} {'Forbidden' if status == 403 else 'Bad Gateway'}\r\nx-egress: {code}\r\n"
    return f"{head}content-length: {len(body)}\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n".encode() + body
