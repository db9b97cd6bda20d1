"""Real servers on loopback addresses that stand for the internet, a policy about them, and a proxy between."""

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from servers.tee.egress import Connection
from servers.tee.egress.gate import Gate
from servers.tee.egress.proxy import Proxy
from servers.tee.policy import Policy

INTERNET = "127.0.0.5"
"""Where every name of the tests leads; granted as a literal too, as a policy must for what is not public."""
TOKEN = "canary-token-7f3a"
NAMES = ("api.test", "a.ok.test", "secret.test", "other.test")
TABLE: dict[str, list[str]] = {
    **{name: [INTERNET] for name in NAMES},
    "rebind.test": ["169.254.169.254"],
    "mapped.test": ["::ffff:169.254.169.254"],
    "nat64.test": ["64:ff9b::a9fe:a9fe"],
    "sixtofour.test": ["2002:a9fe:a9fe::1"],
    "home.test": ["192.168.1.1"],
    "nowhere.test": [],
    "both.test": ["10.0.0.1", INTERNET],
}


@dataclass
class Upstream:
    """An HTTP server, plain and over TLS, that keeps what reached it."""

    plain: int = 0
    tls: int = 0
    raw: int = 0
    seen: list[bytes] = field(default_factory=list[bytes])
    further: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a test when `/slowly` may send the rest of its 60,000 bytes, and when `stream` ends."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of any kind; its head is kept, its body comes back."""
        with suppress(asyncio.IncompleteReadError, OSError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen.append(head)
            body = b""
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    body = await reader.readexactly(int(line.split(b":")[1]))
                if line == b"transfer-encoding: chunked":
                    body = await reader.readuntil(b"0\r\n\r\n")
            path = head.split(b" ")[1]
            told = b"hello " + path + b" " + body
            if path.startswith(b"/size/"):
                told = b"x" * int(path.rpartition(b"/")[2])
            status = b"302 Found\r\nlocation: http://169.254.169.254/" if path == b"/moved" else b"200 OK"
            if path.startswith(b"/to/"):
                code, _, where = path.removeprefix(b"/to/").partition(b"/")
                status = code + b" Moved\r\nlocation: " + where
            if path == b"/slowly":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\nxx")
                await self.further.wait()
                writer.write(b"x" * 59_998)
            else:
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: %d\r\n\r\n" % len(told) + told)
            await writer.drain()
        writer.close()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whatever comes goes back; for `stream`, an x again and again until `further` is set."""
        with suppress(OSError):
            while data := await reader.read(4096):
                self.seen.append(data)
                while data == b"stream" and not self.further.is_set():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if data == b"stream":
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Stage:
    """A proxy on `port`, in front of `upstream`."""

    upstream: Upstream
    gate: Gate
    log: list[Connection]
    grown: asyncio.Event
    port: int
    roots: ssl.SSLContext

    async def raw(self, sent: bytes) -> bytes:
        """All that comes back for these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        with suppress(OSError):
            await writer.drain()
        async with asyncio.timeout(30):
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    async def logged(self, count: int) -> list[Connection]:
        """The log, once it has so many entries."""
        async with asyncio.timeout(30):
            while len(self.log) < count:
                self.grown.clear()
                await self.grown.wait()
        return self.log

    async def tunnel(self, host: str, port: int, name: str | None) -> bytes:
        """GET / over TLS through CONNECT, saying `name` as SNI. What came back, empty if it was cut."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        try:
            async with asyncio.timeout(30):
                status = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in status:
                    return status
                context = self.roots if name else _unnamed(self.roots)
                await writer.start_tls(context, server_hostname=name or "")
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                return await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            return b""
        finally:
            writer.transport.abort()


def _unnamed(_: ssl.SSLContext) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def policy(upstream: Upstream, **network: Any) -> Policy:
    """What the tests grant."""
    both = [INTERNET, "api.test", "*.ok.test", "both.test", "nowhere.test", "rebind.test", "mapped.test", "nat64.test"]
    both += ["sixtofour.test", "home.test"]
    rules: list[dict[str, Any]] = [{"scheme": "http", "host": host, "ports": [upstream.plain]} for host in both]
    rules += [
        {"scheme": "https", "host": host, "ports": [upstream.tls]} for host in (INTERNET, "api.test", "secret.test")
    ]
    rules += [{"scheme": "tcp", "host": host, "ports": [upstream.raw]} for host in (INTERNET, "api.test")]
    rules += [{"scheme": "http", "host": "other.test", "ports": [upstream.plain], "methods": ["GET"]}]
    header = {"host": "secret.test", "port": upstream.tls, "name": "Authorization", "prefix": "Bearer "}
    document = {
        "tier": "process",
        "network": {"rules": rules, "deny": ["banned.ok.test"]} | network,
        "secrets": [{"name": "token", "header": header}],
    }
    return Policy.model_validate_json(json.dumps(document))


@asynccontextmanager
async def stage(folder: Path, **network: Any) -> AsyncGenerator[Stage]:
    """Everything running."""
    async with AsyncExitStack() as stack:
        server, roots = certificates(folder)
        upstream = Upstream()

        async def listening(handler: Any, context: ssl.SSLContext | None) -> int:
            running = await stack.enter_async_context(await asyncio.start_server(handler, INTERNET, 0, ssl=context))
            return running.sockets[0].getsockname()[1]

        upstream.plain = await listening(upstream.handle, None)
        upstream.tls = await listening(upstream.handle, server)
        upstream.raw = await listening(upstream.echo, None)
        log: list[Connection] = []

        async def resolve(name: str, _: int) -> list[str]:
            return TABLE[name]

        grown = asyncio.Event()

        def keep(connection: Connection) -> None:
            log.append(connection)
            grown.set()

        gate = Gate(policy(upstream, **network), keep, resolve, {"token": TOKEN}, roots)
        listener = socket.create_server(("127.0.0.1", 0))
        await stack.enter_async_context(Proxy(gate).serve(listener))
        yield Stage(upstream, gate, log, grown, listener.getsockname()[1], roots)


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for all names, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "egress tests")])
    now = datetime.datetime.now(datetime.UTC)
    names = [*map(x509.DNSName, NAMES), x509.IPAddress(ipaddress.ip_address(INTERNET))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())
