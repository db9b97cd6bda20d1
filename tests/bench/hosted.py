"""What a call of somebody else's stdio server costs hosted, beside the same server without: one client, in turns.

Four ways: direct; in the sandbox of the hosted tier and nothing else; through `etmcp-tee host`, whose relay signs no
receipt for who asks for none; and the same with a receipt, which is verified. Each answer must hold the call's mark.
"""

import asyncio
import itertools
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.config import SOFTWARE
from servers.tee.hosted.fetch import Registries
from servers.tee.hosted.grants import granted
from servers.tee.hosted.install import install
from servers.tee.hosted.naming import read
from servers.tee.hosted.store import Store
from servers.tee.policy import read_unsigned
from servers.tee.process.launcher import Launcher
from tests.bench.caller import Caller, Json
from tests.bench.running import ETMCP_TEE, row
from tests.support.peers import HOSTED, Peer, hosted_servers, peer_command
from tests.support.rawclient import LEGACY

POLICIES = Path(__file__).parents[2] / "servers" / "tee" / "hosted" / "policies"
WARM = 30
LINE_BYTES = 1 << 24


@dataclass(frozen=True)
class Measured:
    """One tool of one server, and the arguments that make it say `mark` back."""

    server: Peer
    name: str
    """As its receipts have it."""
    tool: str
    arguments: Callable[[str], Json]


SERVERS = (
    Measured("everything", "npm:@modelcontextprotocol/server-everything", "echo", lambda mark: {"message": mark}),
    Measured(
        "time",
        "pypi:mcp-server-time",
        "convert_time",
        # A time of day and a zone are all it says back.
        lambda mark: {
            "source_timezone": "UTC",
            "target_timezone": "Asia/Tokyo",
            "time": f"{int(mark, 16) % 24:02}:{int(mark, 16) % 60:02}",
        },
    ),
)


@dataclass
class Pipe:
    """A client of the legacy era, one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def introduce(self) -> None:
        """Shake hands."""
        info = {"name": "bench", "version": "1"}
        await self.request("initialize", "", {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info})
        self._send({"method": "notifications/initialized"})

    async def request(self, method: str, name: str, params: Json) -> Json:  # noqa: ARG002 - see `Post`
        """See `Post`. Ends the run at an error."""
        number = next(self.numbers)
        self._send({"id": number, "method": method, "params": params})
        while line := await self.reader.readline():
            message = json.loads(line)
            if message.get("id") == number and "method" not in message:
                if "result" not in message or message["result"].get("isError"):
                    raise SystemExit(f"void: {method}: {message}")
                return message["result"]
        raise SystemExit(f"void: {method}: the server hung up")

    def _send(self, message: Json) -> None:
        self.writer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


@asynccontextmanager
async def started(*command: str) -> AsyncGenerator[Pipe]:
    """A server as a process, its words for people dropped; it ends with its input."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_BYTES,
    )
    if process.stdin is None or process.stdout is None:
        raise SystemExit("void: no pipes")
    pipe = Pipe(process.stdout, process.stdin)
    try:
        await pipe.introduce()
        yield pipe
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def sandboxed(server: Peer) -> AsyncGenerator[Pipe]:
    """The server in its sandbox, our pipes its only friends: nobody relays, nobody serves its proxy."""
    registries = Registries(os.environ, lambda _: None)
    program = await install(read(hosted_servers()[server]), Store(HOSTED / "etmcp" / "hosted"), registries)
    start = granted(program, read_unsigned((POLICIES / f"{server}.json").read_bytes()), os.environ, {}, None)
    loop = asyncio.get_running_loop()
    (stdin, feed), (out, stdout) = os.pipe(), os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    async with Launcher(uid=start.uid) as launcher, launcher.start(start.spec, stdin, stdout, nowhere):
        for descriptor in (stdin, stdout, nowhere):
            os.close(descriptor)
        reader = asyncio.StreamReader(LINE_BYTES)
        reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0))
        writing, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(feed, "wb", 0))
        pipe = Pipe(reader, asyncio.StreamWriter(writing, protocol, None, loop))
        try:
            await pipe.introduce()
            yield pipe
        finally:
            writing.close()
            reading.close()


async def hosted(calls: int) -> None:
    """A row for each way of each server, and what each adds to the one without."""
    for measured in SERVERS:
        async with AsyncExitStack() as stack:
            ways = await _ways(stack, measured)
            times: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(WARM + calls):
                for name, call in ways.items():  # in turns, so that all meet the same machine
                    begun = time.perf_counter()
                    await call()
                    if number >= WARM:
                        times[name].append((time.perf_counter() - begun) * 1000)
        direct = statistics.median(times["direct"])
        for name, taken in times.items():
            row(f"{measured.server}: {name}", sorted(taken), f"{statistics.median(taken) / direct:.2f} of direct")


async def _ways(stack: AsyncExitStack, measured: Measured) -> Mapping[str, Callable[[], Awaitable[None]]]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    key = Ed25519PrivateKey.generate()
    (folder / "key").write_text(key.private_bytes_raw().hex())
    options = ["--key-file", str(folder / "key"), "--unsigned-policy", str(POLICIES / f"{measured.server}.json")]
    words = [*options, *hosted_servers()[measured.server]]
    host = [ETMCP_TEE, "--cache", str(HOSTED / "etmcp"), "host", *SOFTWARE, *words]
    direct = await stack.enter_async_context(started(*peer_command(measured.server)))
    inside = await stack.enter_async_context(sandboxed(measured.server))
    through = await stack.enter_async_context(started(*host))
    caller = Caller(through.request, key.public_key().public_bytes_raw().hex(), measured.name)

    async def bare(pipe: Pipe) -> None:
        mark = secrets.token_hex(8)
        params = {"name": measured.tool, "arguments": measured.arguments(mark)}
        _check(measured, mark, await pipe.request("tools/call", measured.tool, params))

    async def proven() -> None:
        mark = secrets.token_hex(8)
        _check(measured, mark, await caller.call(measured.tool, measured.arguments(mark), sealed=False))

    return {
        "direct": lambda: bare(direct),
        "sandbox alone": lambda: bare(inside),
        "hosted, no receipt": lambda: bare(through),
        "hosted, receipt": proven,
    }


def _check(measured: Measured, mark: str, result: Json) -> None:
    """End the run if the result is not this call's."""
    said = json.dumps(result["content"])
    arguments = measured.arguments(mark)
    if not any(value in said for name, value in arguments.items() if name in ("message", "time")):
        raise SystemExit(f"void: {measured.server} answered another call: {said}")
