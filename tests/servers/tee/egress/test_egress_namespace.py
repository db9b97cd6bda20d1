"""A program with a network of its own: the kernel refuses all but the proxy, whose listener the program made itself."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.tee.egress import Log
from servers.tee.egress.gate import Gate
from servers.tee.egress.proxy import Proxy
from tests.servers.tee.egress.inside import REFUSED
from tests.servers.tee.egress.scene import INTERNET, TABLE, Upstream, policy

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")]

INSIDE = Path(__file__).with_name("inside.py")
REACHED = "reached"


class Answering(asyncio.DatagramProtocol):
    """Answers each datagram."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Kept to answer with."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002
        """Say that it came."""
        self._transport.sendto(REACHED.encode(), addr)


@dataclass
class Outside:
    """What listens on the host: TCP, UDP, an abstract socket, and a web server that is granted."""

    upstream: Upstream
    tcp: int
    udp: int
    name: str

    async def run(self, namespace: str, uid: int, log: Log | None) -> dict[str, str]:
        """What the program inside found."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        url = f"http://api.test:{self.upstream.plain}/inside"
        reach = (INTERNET, str(self.tcp), str(self.udp), self.name, url)
        with ours:
            with theirs:
                program = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", str(INSIDE), str(theirs.fileno()), namespace, str(uid), *reach),
                    pass_fds=[theirs.fileno()],
                    stdout=asyncio.subprocess.PIPE,
                )
            async with AsyncExitStack() as stack:
                if log is not None and (listener := await _received(ours)) is not None:
                    await stack.enter_async_context(
                        Proxy(Gate(policy(self.upstream), log, _resolve, VALUES)).serve(listener)
                    )
                    ours.send(b"!")
                told, _ = await program.communicate()
        if program.returncode == REFUSED:
            pytest.skip(f"this system refuses network namespaces to uid {uid}: {told.decode().strip()}")
        assert program.returncode == 0
        return json.loads(told)


VALUES = {"token": "unused"}


async def _resolve(name: str, _: int) -> list[str]:
    return TABLE[name]


async def _received(channel: socket.socket) -> socket.socket | None:
    """The listener from inside; None if the program ended without one."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(channel, readable.set)
    try:
        async with asyncio.timeout(60):
            await readable.wait()
    finally:
        loop.remove_reader(channel)
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if not descriptors:
        return None
    listener = socket.socket(fileno=descriptors[0])
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def outside() -> AsyncGenerator[Outside]:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REACHED.encode())
        await writer.drain()
        writer.close()

    async with AsyncExitStack() as stack:
        upstream = Upstream()
        web = await stack.enter_async_context(await asyncio.start_server(upstream.handle, INTERNET, 0))
        upstream.plain = web.sockets[0].getsockname()[1]
        upstream.tls = upstream.raw = upstream.plain
        plain = await stack.enter_async_context(await asyncio.start_server(greet, INTERNET, 0))
        name = f"egress-tests-{os.getpid()}"
        hidden = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        hidden.bind("\0" + name)
        await stack.enter_async_context(await asyncio.start_unix_server(greet, sock=hidden))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Answering, (INTERNET, 0))
        stack.callback(transport.abort)
        yield Outside(upstream, plain.sockets[0].getsockname()[1], transport.get_extra_info("sockname")[1], name)


@pytest.mark.parametrize("uid", [os.getuid(), 65534], ids=["whoever runs the tests", "nobody"])
async def test_what_is_not_granted_is_out_of_reach_of_every_kind_of_socket(uid: int) -> None:
    if uid != os.getuid() != 0:
        pytest.skip("only root can become nobody")
    async with outside() as host:
        control = await host.run("shared", uid, None)
        assert [control[way] for way in ("tcp", "udp", "abstract")] == [REACHED] * 3  # the servers are really there
        log = Log()
        found = await host.run("alone", uid, log)
    assert found["granted"] == "hello /inside "
    assert found["not granted"] == "403 no-rule"
    for way in ("tcp", "udp", "abstract", "internet", "past the proxy"):
        assert REACHED not in found[way]
        assert "Error" in found[way] or "timed out" in found[way], (way, found[way])
    assert [(each.host, each.verdict) for each in log.listed] == [("api.test", "allowed"), ("evil.test", "denied")]
