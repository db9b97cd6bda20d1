"""JSON-RPC lines over a child's pipes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import anyio

from gateway.upstream import DEAF, MAX_MESSAGE, Downlink, Json, UpstreamUnavailable, wire
from gateway.upstream.channel import Channel, Failure, Wording
from gateway.upstream.child import READ_SIZE, Child
from gateway.upstream.spawn import Command, spawn

WORDING = Wording(junk="prints to its standard output what is not MCP", cut="it was stopped")


class StdioTransport:
    """A `Transport` over one child, and the `Carrier` of its channel. Made by `open_stdio`."""

    def __init__(self, child: Child, owner: Downlink, max_message: int) -> None:
        self.child = child
        self._alias = child.alias
        self._max = max_message
        self._channel = Channel(child.alias, self, owner, max_message, WORDING)
        self._reading = asyncio.create_task(self._read())

    @property
    def ended(self) -> anyio.Event:
        """Set when no request will succeed any more."""
        return self._channel.ended

    async def request(self, message: Json, *, headers: Mapping[str, str], down: Downlink, deadline: float) -> Json:
        """See `Transport`. Headers have no place on a pipe."""
        return await self._channel.request(message, headers=headers, down=down, deadline=deadline)

    async def notify(self, message: Json, *, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - as above
        """See `Transport`."""
        self._channel.check()
        await self._write(wire.encode({"jsonrpc": "2.0"} | message))

    async def pin(self, *, deadline: float) -> bytes | None:
        """Return the key that the child wrote on its pin descriptor, None if it wrote none before `deadline`."""
        return await self.child.pin(deadline=deadline)

    async def aclose(self) -> None:
        """Fail what is pending, end the child and its whole tree."""
        with anyio.CancelScope(shield=True):
            await self._channel.close()
            await self.child.stop()
            self._reading.cancel()
            await asyncio.wait([self._reading])

    @property
    def unread(self) -> int:
        """See `Carrier`."""
        return self.child.stdin.transport.get_write_buffer_size()

    @asynccontextmanager
    async def sending(
        self,
        data: bytes,
        headers: Mapping[str, str],  # noqa: ARG002 - as above
        failed: Callable[[Failure], None],  # noqa: ARG002 - what fails, fails before anything is awaited
    ) -> AsyncGenerator[None]:
        """See `Carrier`."""
        await self._write(data)
        yield

    def post(self, data: bytes) -> None:
        """See `Carrier`."""
        self.child.stdin.write(data + b"\n")

    async def _write(self, data: bytes) -> None:
        try:
            self.child.stdin.write(data + b"\n")
            await self.child.stdin.drain()
        except OSError as error:
            await self._bury()
            if self._channel.failure:
                raise self._channel.failure() from error

    async def _bury(self) -> None:
        how, words = await self.child.obituary(), self.child.said()
        advice = 'restart it; if it happens at once, check "command", "args" and "env" in the configuration'
        said = f", last saying “{words}”" if words else ""
        self._channel.end(partial(UpstreamUnavailable, self._alias, how, advice, said=said))

    async def _read(self) -> None:
        line = bytearray()
        try:
            while chunk := await self.child.stdout.read(READ_SIZE):
                *ends, rest = chunk.split(b"\n")
                for end in ends:
                    line += end
                    self._channel.take(bytes(line))
                    line.clear()
                line += rest
                if len(line) > self._max:
                    self._channel.overrun()
                if self._channel.failure:
                    break
            else:
                await self._bury()
        finally:
            gone = "its reader ended unexpectedly"
            advice = "this is a fault of the gateway: restart it"
            self._channel.end(partial(UpstreamUnavailable, self._alias, gone, advice))
        await self.child.stop()


async def open_stdio(
    alias: str, command: Command, *, owner: Downlink = DEAF, max_message: int = MAX_MESSAGE
) -> StdioTransport:
    """Start a server and return the connection to it. Raises `UpstreamUnavailable`; `aclose` must be called."""
    return StdioTransport(await spawn(alias, command), owner, max_message)
