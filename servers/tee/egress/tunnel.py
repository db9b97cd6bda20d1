"""A tunnel that a program asked for (CONNECT, SOCKS5): to one granted host, over https with that host's name alone."""

import asyncio
from contextlib import suppress

from servers.tee.egress import Refused, Unreachable
from servers.tee.egress.gate import CHUNK, Attempt, Gate
from servers.tee.egress.hello import HelloReader
from servers.tee.policy import Granted


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


async def checked_hello(reader: asyncio.StreamReader, granted: Granted, seconds: float) -> bytes:
    """What the program sends first, up to a whole ClientHello for the granted host. Raises `Refused`."""
    data, reading, hello = bytearray(), HelloReader(), None
    try:
        async with asyncio.timeout(seconds):
            while hello is None:
                if not (more := await reader.read(CHUNK)):
                    raise Refused("not-tls", "the connection ended before its ClientHello")
                data += more
                hello = reading.feed(more)
    except OSError as e:
        raise Refused("hello", "no whole ClientHello in time") from e
    if hello.encrypted:
        raise Refused("ech", "an encrypted ClientHello hides whom it is for; turn ECH off in the program")
    # A literal address has no SNI (RFC 6066 §3); there the address itself was granted.
    wanted = None if granted.host.address is not None else granted.host.name
    if hello.name != wanted:
        raise Refused("sni", f"the TLS name is not {wanted or 'absent'}")
    return bytes(data)


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
        """Pass bytes both ways until both ends are done. Raises `Refused` for bytes beyond the policy's.

        It is idle when nothing passes either way: of a long download, only one direction has anything to say.
        """
        self._gate.count(self._granted, self._attempt, sent=len(first))
        host[1].write(first)
        pumps: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self._gate.waits.idle) as quiet:
                pumps.append(asyncio.create_task(self._pump(guest[0], host[1], quiet, sent=True)))
                pumps.append(asyncio.create_task(self._pump(host[0], guest[1], quiet, sent=False)))
                await asyncio.gather(*pumps)
                host[1].close()
                await host[1].wait_closed()  # what it has not taken yet still counts
        except TimeoutError as e:
            raise Unreachable("idle", "nothing came for too long") from e
        except OSError as e:
            raise Unreachable("cut", "one end went away") from e
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, quiet: asyncio.Timeout, *, sent: bool
    ) -> None:
        while data := await source.read(CHUNK):
            size = len(data)
            self._gate.count(self._granted, self._attempt, sent=size if sent else 0, received=0 if sent else size)
            target.write(data)
            await target.drain()
            if not quiet.expired():
                quiet.reschedule(asyncio.get_running_loop().time() + self._gate.waits.idle)
        with suppress(OSError):
            target.write_eof()
