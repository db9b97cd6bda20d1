"""A man in the middle on a pipe: `stdio.py CONTROL SEEN ELSEWHERE -- COMMAND...`, started in the server's place.

The server inherits the descriptor that its key is told on, so what stands here is on the wire only.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from attacks import ATTACKS
from scene import Json, Machine, Messages

LIMIT = 1 << 26


class Pipe:
    """The real server."""

    def __init__(self, process: asyncio.subprocess.Process, machine: Machine) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out, self._machine = process.stdin, process.stdout, machine
        self._waiting: dict[Any, tuple[Messages, asyncio.Future[Messages]]] = {}

    async def forward(self, message: Json) -> Messages:
        """See `Scene.forward`."""
        if "id" not in message or "method" not in message:
            self._in.write(json.dumps(message).encode() + b"\n")
            return []
        future: asyncio.Future[Messages] = asyncio.get_running_loop().create_future()
        self._waiting[message["id"]] = [], future
        self._in.write(json.dumps(message).encode() + b"\n")
        return await future

    async def read(self) -> None:
        """Hand out what the server says."""
        async for line in self._out:
            self._machine.saw(line)
            message: Json = json.loads(line)
            if "method" in message:
                for messages, _ in self._waiting.values():
                    messages.append(message)
            elif message["id"] in self._waiting:
                messages, future = self._waiting.pop(message["id"])
                future.set_result([*messages, message])


async def main() -> None:
    control, seen, elsewhere, _, *command = sys.argv[1:]
    machine = Machine(Path(control), Path(seen), ATTACKS, elsewhere)
    pin = int(os.environ.get("ETMCP_PIN_FD", "-1"))
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[pin] if pin >= 0 else [],
        limit=LIMIT,
    )
    if pin >= 0:
        os.close(pin)
    server = Pipe(process, machine)
    reading = asyncio.create_task(server.read())
    stdin = asyncio.StreamReader(LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def one(message: Json) -> None:
        for answer in await machine.handle(message, server.forward):
            raw = answer.pop("raw", None)
            sys.stdout.write((raw or json.dumps(answer)) + "\n")
        sys.stdout.flush()

    async for line in stdin:
        machine.saw(line)
        message: Json = json.loads(line)
        if "id" not in message or "method" not in message:
            await server.forward(message)
            continue
        task = asyncio.create_task(one(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if process.stdin is not None:
        process.stdin.close()
    await process.wait()
    reading.cancel()


asyncio.run(main())
