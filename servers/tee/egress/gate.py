"""Deciding, resolving once, dialling what was decided, and counting it."""

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from servers.tee.egress import Connection, Record, Refused, Unreachable, Verdict, shown
from servers.tee.policy import Denied, Granted, Policy
from servers.tee.policy.hosts import special

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name, best first. Raises `OSError`."""

CONNECT_SECONDS = 10.0
CHUNK = 64 << 10


async def system_resolver(name: str, port: int) -> list[str]:
    """What the system's resolver says. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=1)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass
class Attempt:
    """One connection in the making; becomes a `Connection` in the log when it ends."""

    host: str
    port: int
    scheme: str
    request: str = ""
    address: str = ""
    leaf: str = ""
    sent: int = 0
    received: int = 0

    def record(self, verdict: Verdict, reason: str) -> Connection:
        """How it ended."""
        counted = (self.sent, self.received, shown(self.request))
        return Connection(shown(self.host), self.port, self.scheme, verdict, reason, self.address, self.leaf, *counted)


@dataclass
class Gate:
    """What one sandbox may reach. `values` are the policy's secrets by name, `roots` what proves a server over TLS.

    Counts are of this gate: one for a call, or for a session where the server is long-lived.
    """

    policy: Policy
    record: Record
    resolve: Resolve = system_resolver
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    roots: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    # Connections and bytes so far, by host and port; None is everything together. Grown by `dial` and `count` alone.
    _connections: Counter[tuple[str, int] | None] = field(default_factory=Counter[tuple[str, int] | None])
    _bytes: Counter[tuple[str, int] | None] = field(default_factory=Counter[tuple[str, int] | None])

    def decide(self, scheme: str, host: str, port: int, method: str | None) -> Granted:
        """Whether to go on. `method` None for a tunnel. Raises `Refused`."""
        decision = self.policy.network.decide(scheme, host, port, method)
        if isinstance(decision, Denied):
            raise Refused(decision.code, decision.reason)
        return decision

    def headers(self, granted: Granted, scheme: str, port: int) -> list[tuple[str, str]]:
        """The secret headers for a request that the engine itself makes to this host."""
        return [
            (header.name, header.prefix + self.values[name])
            for name, header in self.policy.headers(scheme, granted.host.name, port)
        ]

    async def dial(
        self, granted: Granted, attempt: Attempt, method: str | None, *, tls: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what was granted, at an address that was looked up once and then decided.

        Raises `Refused` where no address may be dialled or there were too many, `Unreachable` where none answers.
        """
        where = (granted.host.name, attempt.port)
        limits = ((where, granted.max_connections), (None, self.policy.network.max_connections))
        for counted, most in limits:
            if self._connections[counted] >= most:
                raise Refused("connections", f"there were {most} connections already, which is what the policy grants")
        self._connections.update((where, None))
        address = await self._address(granted, attempt, method)
        attempt.address = special(ip_address(address)) or "public"
        name = granted.host.name if tls else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    address, attempt.port, ssl=self.roots if tls else None, server_hostname=name
                )
        except ssl.SSLError as e:
            raise Unreachable("tls", f"{where[0]} port {where[1]} proves nothing over TLS: {e.reason}") from e
        except OSError as e:
            raise Unreachable("connect", f"{where[0]} port {where[1]} does not answer") from e
        if tls:
            attempt.leaf = _leaf(writer)
        return reader, writer

    def count(self, granted: Granted, attempt: Attempt, *, sent: int = 0, received: int = 0) -> None:
        """Bytes that are about to pass. Raises `Refused` where they are more than the policy grants."""
        where = (granted.host.name, attempt.port)
        size = sent + received
        for counted, most in ((where, granted.max_bytes), (None, self.policy.network.max_bytes)):
            if self._bytes[counted] + size > most:
                raise Refused("bytes", f"more than the {most} bytes that the policy grants")
        self._bytes.update({where: size, None: size})
        attempt.sent += sent
        attempt.received += received

    async def _address(self, granted: Granted, attempt: Attempt, method: str | None) -> str:
        if granted.host.address is not None:
            found = [str(granted.host.address)]
        else:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    found = await self.resolve(granted.host.name, attempt.port)
            except (OSError, UnicodeError) as e:
                raise Unreachable("resolve", f"{granted.host.name} has no address") from e
        denied = Denied("resolve", f"{granted.host.name} has no address")
        for address in found:
            decision = self.policy.network.decide_address(attempt.scheme, address, attempt.port, method)
            if decision is None:
                return address
            denied = decision
        raise Refused(denied.code, denied.reason)


def _leaf(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hashlib.sha256(certificate).hexdigest()
