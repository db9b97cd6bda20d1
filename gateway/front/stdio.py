"""MCP over the process's own stdin and stdout, both eras on one pipe.

The SDK's loop commits a connection to one era with the first request and refuses the other from then on, but clients
probe with `server/discover` and then `initialize`. So each era gets a loop of its own, and lines are routed by their
shape. Lines are read strictly: JSON with two meanings is refused by name, never guessed at.
"""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, cast

import anyio
from anyio.abc import ObjectSendStream, TaskGroup
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, PROTOCOL_VERSION_META_KEY, jsonrpc_message_adapter
from pydantic import ValidationError

from attest.canonical import canonical, parse
from attest.errors import CanonicalError
from gateway.upstream import MAX_MESSAGE, Json

Lane = ObjectSendStream[SessionMessage | Exception]


class Wire:
    """The pipe itself: one line a message, written whole. Neither direction blocks the event loop or its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, stdout: BinaryIO) -> None:
        self._reader, self._writer, self._out = reader, writer, stdout
        self._lock = anyio.Lock()

    async def lines(self) -> AsyncGenerator[bytes]:
        """Lines until the client hangs up. A line over the limit ends the connection: its rest cannot be told."""
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:  # longer than the reader's limit
                return
            if not line:
                return
            if line.strip():
                yield line

    async def write(self, message: Json) -> None:
        """Write one message."""
        line = canonical({"jsonrpc": "2.0", **message}) + b"\n"
        async with self._lock:
            if self._writer is None:
                self._out.write(line)
                self._out.flush()
            else:
                self._writer.write(line)
                await self._writer.drain()


@asynccontextmanager
async def claimed() -> AsyncGenerator[Wire]:
    """Own stdin and stdout: anything else that this process or its children print goes to stderr."""
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.flush()
    reader, writer = await _reader(stdin), await _writer(stdout)
    try:
        yield Wire(reader, writer, stdout)
    finally:
        if writer is not None:
            writer.close()


async def _reader(stdin: BinaryIO) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_MESSAGE)
    if _waits(stdin):
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stdin)
    else:
        reader.feed_data(stdin.read())
        reader.feed_eof()
    return reader


async def _writer(stdout: BinaryIO) -> asyncio.StreamWriter | None:
    """None for a file, which is written directly."""
    if not _waits(stdout):
        return None
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, stdout)
    return asyncio.StreamWriter(transport, protocol, None, loop)


def _waits(file: BinaryIO) -> bool:
    """Whether it is a pipe, socket or terminal; a file or /dev/null never blocks, and cannot be polled."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(file.fileno())


async def serve_stdio(server: Server[Any], wire: Wire) -> None:
    """Serve one client until it hangs up."""
    lanes: dict[str, Lane] = {}
    async with anyio.create_task_group() as tasks:
        async for line in wire.lines():
            try:
                value = parse(line)
                message = SessionMessage(jsonrpc_message_adapter.validate_python(value, by_name=False))
            except CanonicalError as e:
                await wire.write(_error(PARSE_ERROR, f"the message has no single meaning [{e.code}]: {e.detail}"))
                continue
            except ValidationError:
                await wire.write(_error(INVALID_REQUEST, "the message is not JSON-RPC 2.0"))
                continue
            for name in _lanes_of(cast(Json, value), lanes):
                if name not in lanes:
                    lanes[name] = _open(server, wire, tasks)
                await lanes[name].send(message)
        for lane in lanes.values():
            await lane.aclose()


def _lanes_of(message: Json, lanes: dict[str, Lane]) -> list[str]:
    """Requests by their envelope; notifications to whoever is there; answers to the era that may ask questions."""
    if "method" in message and "id" in message:
        params = message.get("params")
        meta = cast(Json, params).get("_meta") if isinstance(params, dict) else None
        enveloped = isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta
        return ["modern" if enveloped and message["method"] != "initialize" else "legacy"]
    if "method" in message:
        return list(lanes) or ["legacy"]
    return ["legacy"]


def _open(server: Server[Any], wire: Wire, tasks: TaskGroup) -> Lane:
    inward, reader = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outward, written = anyio.create_memory_object_stream[SessionMessage](0)

    async def run() -> None:
        await server.run(reader, outward, server.create_initialization_options())

    async def drain() -> None:
        async with written:
            async for message in written:
                await wire.write(message.message.model_dump(by_alias=True, exclude_unset=True))

    tasks.start_soon(run)
    tasks.start_soon(drain)
    return inward


def _error(code: int, message: str) -> Json:
    return {"id": None, "error": {"code": code, "message": message}}
