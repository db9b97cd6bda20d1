"""Deciding, resolving once, dialling what was decided, and counting it."""

import asyncio
import hashlib
import re
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from servers.tee.egress import Connection, Record, Refused, Unreachable, Verdict, shown
from servers.tee.policy import Denied, Granted, Policy
from servers.tee.policy.hosts import special

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name, best first. Raises `OSError`."""

CHUNK = 64 << 10
MOST_ADDRESSES = 4
"""Of one name that are tried, in their order."""

_ECHOING = frozenset(("TRACE", "TRACK", "CONNECT"))
"""RFC 9110 §9.3.8: the server sends back the request as it came, secrets and all. And a tunnel is no request."""

_VALUE = re.compile(r"[!-~\x80-\xff]([ -~\t\x80-\xff]*[!-~\x80-\xff])?")
"""What a header can hold (RFC 9110 §5.5)."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds until the proxy gives up."""

    head: float = 20.0
    """From the first moment of a connection to all that is decided on: a request's head, a ClientHello."""
    connect: float = 10.0
    """Looking a name up; and each address that is tried, TLS included."""
    idle: float = 60.0
    """While nothing passes."""


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
    rule: str = ""
    sent: int = 0
    received: int = 0
    started: float = field(default_factory=time.monotonic)


@dataclass
class Gate:
    """What one sandbox may reach. `values` are the policy's secrets by name, `roots` what proves a server over TLS:
    None is the system's, loaded when first needed (some 20 ms; give one to share it).

    Counts are of this gate: one for a call, or for a session where the server is long-lived. Raises `ValueError` that
    names the secret, never its value, where a header has none or one that no header can hold.
    """

    policy: Policy
    record: Record
    resolve: Resolve = system_resolver
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    roots: ssl.SSLContext | None = None
    waits: Waits = Waits()
    started: float = field(default_factory=time.monotonic)
    # Connections and bytes so far, by host and port; None is everything together. Grown by `dial` and `count` alone.
    _connections: Counter[tuple[str, int] | None] = field(default_factory=Counter[tuple[str, int] | None])
    _bytes: Counter[tuple[str, int] | None] = field(default_factory=Counter[tuple[str, int] | None])

    def __post_init__(self) -> None:
        """Raise `ValueError` as said above."""
        for secret in self.policy.secrets:
            if secret.header and not _VALUE.fullmatch(secret.header.prefix + self.values.get(secret.name, "\0")):
                raise ValueError(
                    f"the secret {secret.name} has no value, or one that a header cannot hold; set another"
                )

    def end(self, attempt: Attempt, verdict: Verdict, reason: str = "") -> None:
        """Record how it ended."""
        now = time.monotonic()
        self.record(
            Connection(
                shown(attempt.host),
                attempt.port,
                attempt.scheme,
                verdict,
                reason,
                address=attempt.address,
                leaf=attempt.leaf,
                sent=attempt.sent,
                received=attempt.received,
                request=shown(attempt.request),
                rule=attempt.rule,
                at_ms=round((attempt.started - self.started) * 1000),
                took_ms=round((now - attempt.started) * 1000),
            )
        )

    def decide(self, scheme: str, host: str, port: int, method: str | None) -> Granted:
        """Whether to go on. `method` None for a tunnel. Raises `Refused`."""
        if method and method.upper() in _ECHOING:
            raise Refused("method", f"{method} is not passed on: its answer would show what the engine added")
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

        Of several addresses those that may be dialled are tried in their order, until one answers. Raises `Refused`
        where none may be dialled or there were too many connections, `Unreachable` where none answers.
        """
        where = (granted.host.name, attempt.port)
        limits = ((where, granted.max_connections), (None, self.policy.network.max_connections))
        for counted, most in limits:
            if self._connections[counted] >= most:
                raise Refused("connections", f"there were {most} connections already, which is what the policy grants")
        self._connections.update((where, None))
        rules = self.policy.network.rules
        wanted = (attempt.scheme, granted.host.name, attempt.port, method)
        attempt.rule = " ".join(rule.host for rule in rules if rule.grants(*wanted))[:255]
        failed = Unreachable("connect", f"{where[0]} port {where[1]} does not answer")
        for address in (await self._addresses(granted, attempt, method))[:MOST_ADDRESSES]:
            attempt.address = special(ip_address(address)) or "public"
            try:
                async with asyncio.timeout(self.waits.connect):
                    reader, writer = await asyncio.open_connection(
                        address,
                        attempt.port,
                        ssl=self._context() if tls else None,
                        server_hostname=granted.host.name if tls else None,
                    )
            except ssl.SSLError as e:
                raise Unreachable("tls", f"{where[0]} port {where[1]} proves nothing over TLS: {e.reason}") from e
            except OSError as e:
                failed.__cause__ = e
                continue
            if tls:
                attempt.leaf = _leaf(writer)
            return reader, writer
        raise failed

    def _context(self) -> ssl.SSLContext:
        if self.roots is None:
            self.roots = ssl.create_default_context()
        return self.roots

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

    async def _addresses(self, granted: Granted, attempt: Attempt, method: str | None) -> list[str]:
        """All of one look-up that may be dialled, at least one. Raises `Refused`, `Unreachable`."""
        if granted.host.address is not None:
            found = [str(granted.host.address)]
        else:
            try:
                async with asyncio.timeout(self.waits.connect):
                    found = await self.resolve(granted.host.name, attempt.port)
            except (OSError, UnicodeError) as e:
                raise Unreachable("resolve", f"{granted.host.name} has no address") from e
        if not found:
            raise Unreachable("resolve", f"{granted.host.name} has no address")
        denials: list[Denied] = []
        allowed: list[str] = []
        for address in found:
            denied = self.policy.network.decide_address(attempt.scheme, address, attempt.port, method)
            if denied is None:
                allowed.append(address)
            else:
                denials.append(denied)
        if not allowed:
            raise Refused(denials[0].code, denials[0].reason)
        return allowed


def _leaf(writer: asyncio.StreamWriter) -> str:
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hashlib.sha256(certificate).hexdigest()
