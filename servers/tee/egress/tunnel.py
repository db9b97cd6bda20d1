"""A tunnel that a program asked for (CONNECT, SOCKS5): to one granted host, over https with that host's name alone."""

import asyncio
from contextlib import suppress

from servers.tee.egress import Refused, Unreachable
from servers.tee.egress.exchange import IDLE_SECONDS
from servers.tee.egress.gate import CHUNK, Attempt, Gate
from servers.tee.egress.hello import read_hello
from servers.tee.policy import Granted

HELLO_SECONDS = 20.0


def decide(gate: Gate, attempt: Attempt) -> Granted:
    """As `https` where that is granted, else as `tcp`. Raises `Refused`."""
    attempt.scheme = "https"
    try:
        granted = gate.decide("https", attempt.host, attempt.port, None)
    except Refused as e:
        try:
            granted = gate.decide("tcp", attempt.host, attempt.port, None)
        except Refused:
            raise e from None
        attempt.scheme = "tcp"
    attempt.host = granted.host.name
    return granted


async def checked_hello(reader: asyncio.StreamReader, granted: Granted) -> bytes:
    """What the program sends first, up to a whole ClientHello for the granted host. Raises `Refused`."""
    data = b""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            while (hello := read_hello(data)) is None:
                if not (more := await reader.read(CHUNK)):
                    raise Refused("not-tls", "the connection ended before its ClientHello")
                data += more
    except OSError as e:
        raise Refused("hello", "no whole ClientHello in time") from e
    if hello.encrypted:
        raise Refused("ech", "an encrypted ClientHello hides whom it is for; turn ECH off in the program")
    # A literal address has no SNI (RFC 6066 §3); there the address itself was granted.
    wanted = None if granted.host.address is not None else granted.host.name
    if hello.name != wanted:
        raise Refused("sni", f"the TLS name is not {wanted or 'absent'}")
    return data


class Tunnel:
    """Two pairs of streams and the count between them."""

    def __init__(self, gate: Gate, granted: Granted, attempt: Attempt) -> None:
        self._gate, self._granted, self._attempt = gate, granted, attempt

    async def run(
        self,
        guest: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        host: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        first: bytes,
    ) -> None:
        """Pass bytes both ways until both ends are done. Raises `Refused` for bytes beyond the policy's."""
        self._gate.count(self._granted, self._attempt, sent=len(first))
        host[1].write(first)
        up = asyncio.create_task(self._pump(guest[0], host[1], sent=True))
        down = asyncio.create_task(self._pump(host[0], guest[1], sent=False))
        try:
            done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except TimeoutError as e:
            raise Unreachable("idle", "nothing came for too long") from e
        except OSError as e:
            raise Unreachable("cut", "one end went away") from e
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, sent: bool) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await source.read(CHUNK)
            if not data:
                break
            size = len(data)
            self._gate.count(self._granted, self._attempt, sent=size if sent else 0, received=0 if sent else size)
            target.write(data)
            async with asyncio.timeout(IDLE_SECONDS):
                await target.drain()
        with suppress(OSError):
            target.write_eof()
