"""MCP over this process' own pipes without a thread: what the SDK's transport hands to threads costs as much as a call.

Standard output is the protocol's alone: whatever else prints goes to standard error.
"""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

MOST_BYTES = 64 << 20
"""Of one line; a longer one ends the connection, since its rest cannot be told from the next."""
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


@asynccontextmanager
async def pipes() -> AsyncGenerator[Any]:
    """The two streams of `Server.run`, until standard input ends; the SDK's own where these are no pipes."""
    if not (_is_pipe(0) and _is_pipe(1)):
        async with stdio_server() as streams:
            yield streams
        return
    reader, writer = await _claimed()
    inward, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    writing, outward = anyio.create_memory_object_stream[SessionMessage](0)

    async def take() -> None:
        async with inward:
            with suppress(ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                while line := await reader.readline():
                    try:
                        message: SessionMessage | Exception = SessionMessage(
                            jsonrpc_message_adapter.validate_json(line, by_name=False)
                        )
                    except ValueError as e:  # the server answers it with a parse error
                        message = e
                    await inward.send(message)

    async def give() -> None:
        async with outward:
            async for message in outward:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                writer.write(text.encode() + b"\n")
                with suppress(ConnectionError):
                    await writer.drain()

    tasks = [asyncio.create_task(take()), asyncio.create_task(give())]
    try:
        yield reading, writing
    finally:
        tasks[0].cancel()
        await asyncio.wait(tasks, timeout=2)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in (inward, reading, writing, outward):
            stream.close()
        writer.close()


async def _claimed() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(MOST_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, stdout)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
