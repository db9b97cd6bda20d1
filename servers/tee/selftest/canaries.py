"""What must not be reached: listeners on this machine, a file, a secret. Whoever touches one is noted."""

import asyncio
import os
import secrets
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Canaries:
    """The canaries of one run. `hits` grows by what reached one; whoever judges a case takes them out."""

    folder: Path
    secret: str
    known: dict[str, Any]
    """What a case is told, as `ABUSE_CANARY`."""
    hits: list[str] = field(default_factory=list[str])

    @property
    def trap(self) -> Path:
        """A file that nobody makes unless they left the sandbox."""
        return self.folder / "trap"

    def taken(self) -> list[str]:
        """What was reached since the last time."""
        found, self.hits[:] = sorted(set(self.hits)), []
        notes = [f"HOST-CANARY:{name}" for name in found]
        if self.trap.exists():
            self.trap.unlink()
            notes.append("TRAP-TOUCHED")
        return notes

    async def watch_backdoor(self) -> None:
        """Try to reach the port on which a case would listen, until cancelled."""
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.known["backdoor"])
            except OSError:
                await asyncio.sleep(0.05)
            else:
                self.hits.append("backdoor")
                writer.close()
                await asyncio.sleep(0.5)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, hits: list[str]) -> None:
        self._hits = hits

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - asyncio's signature
        self._hits.append("udp")


@asynccontextmanager
async def canaries() -> AsyncGenerator[Canaries]:
    """Set them up. Their file is readable to everybody, so that only isolation keeps a program from it."""
    async with AsyncExitStack() as stack:
        folder, secret = _folder(stack), f"canary-{secrets.token_hex(12)}"
        _write(folder / "secret.txt", secret)
        abstract, path = f"etmcp-canary-{secrets.token_hex(6)}", folder / "sock"
        found = Canaries(folder, secret, {})

        def reached(name: str) -> Any:
            async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                found.hits.append(name)
                writer.close()

            return note

        tcp = await stack.enter_async_context(await asyncio.start_server(reached("tcp"), "127.0.0.1", 0))
        local = socket.socket(socket.AF_UNIX)
        local.bind(f"\0{abstract}")
        await stack.enter_async_context(await asyncio.start_unix_server(reached("abstract"), sock=local))
        await stack.enter_async_context(await asyncio.start_unix_server(reached("unix"), path))
        path.chmod(0o777)
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(found.hits), ("127.0.0.1", 0))
        stack.callback(udp.close)
        found.known |= {
            "file": str(folder / "secret.txt"),
            "tcp": tcp.sockets[0].getsockname()[1],
            "udp": udp.get_extra_info("sockname")[1],
            "abstract": abstract,
            "unix": str(path),
            "trap": str(found.trap),
            "backdoor": _unused_port(),
            "engine_pid": os.getpid(),
            "hostname": socket.gethostname(),
            "udp_dark": True,  # a datagram may be sent into a network of its own, where nobody hears it
        }
        yield found


def _folder(stack: AsyncExitStack) -> Path:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etmcp-canary-")))
    folder.chmod(0o755)
    return folder


def _write(file: Path, secret: str) -> None:
    file.write_text(f"HOSTFILE {secret}\n")
    file.chmod(0o644)


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
