"""Where key records are found. A source answers for a namespace such as `com.example.api`, since not every source
speaks for what is below its domain: DNS does, a web server speaks for itself alone.
"""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import aiohttp
import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from aiohttp.abc import AbstractResolver, ResolveResult
from dns.rdtypes.ANY.TXT import TXT

from registry.domains.record import DomainKey, keys_of
from registry.errors import Refused

MOST_DOMAINS = 8
MOST_RECORDS = 64
MAX_DOCUMENT = 4096
SECONDS = 5.0
WELL_KNOWN = "https://{domain}/.well-known/mcp-registry-auth"
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+(?=[0-9-]*[a-z])[a-z0-9-]{2,63}")


def domains(namespace: str) -> list[str]:
    """The domains whose keys may speak for `namespace`: it read backwards, and each that this is below, nearest first.

    At most eight, so that one name cannot ask for a hundred lookups; empty where it is no domain read backwards.
    """
    labels = namespace.lower().split(".")
    found = [".".join(reversed(labels[:count])) for count in range(len(labels), 1, -1)][:MOST_DOMAINS]
    return found if found and _DOMAIN.fullmatch(found[0]) else []


class KeySource(Protocol):
    """One way to ask domains for their keys."""

    async def records(self, namespace: str) -> Sequence[str]:
        """The texts that may be key records for this namespace; empty where there are none.

        Raises `Refused("lookup-failed")` where that cannot be known now.
        """
        ...


class FileRecords:
    """Records that the operator wrote down: domain to list of records. Nothing is asked of the network."""

    def __init__(self, records: Mapping[str, Sequence[str]]) -> None:
        self._records = records

    @classmethod
    def parse(cls, data: bytes) -> "FileRecords":
        """Read the JSON of a key file; raises `Refused("malformed-key-file")`."""
        try:
            value = json.loads(data)
        except ValueError as e:
            raise Refused("malformed-key-file", f"the key file is not JSON: {e}") from e
        members = cast(dict[str, Any], value) if isinstance(value, dict) else {}
        read = {name: [text for text in list_of(texts) if isinstance(text, str)] for name, texts in members.items()}
        if not read or any(len(read[name]) != len(list_of(texts)) or not read[name] for name, texts in members.items()):
            raise Refused("malformed-key-file", 'the key file is like {"example.com": ["v=MCPv1; k=ed25519; p=..."]}')
        return cls(read)

    async def records(self, namespace: str) -> Sequence[str]:
        """See `KeySource`."""
        return [record for domain in domains(namespace) for record in self._records.get(domain, ())]


class DnsRecords:
    """TXT records of the domain and of each domain above it. Without `nameservers` the machine's own are asked."""

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53, seconds: float = SECONDS) -> None:
        self._nameservers, self._port, self._seconds = nameservers, port, seconds

    async def records(self, namespace: str) -> Sequence[str]:
        """See `KeySource`."""
        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                resolver.nameservers, resolver.port = list(self._nameservers), self._port
        except dns.exception.DNSException as e:
            raise Refused("lookup-failed", "this machine names no DNS server: give key records with --keys") from e
        found = await asyncio.gather(*(self._ask(resolver, domain) for domain in domains(namespace)))
        return [text for texts in found for text in texts]

    async def _ask(self, resolver: dns.asyncresolver.Resolver, domain: str) -> list[str]:
        try:
            answer = await resolver.resolve(f"{domain}.", dns.rdatatype.TXT, lifetime=self._seconds, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as e:
            raise Refused("lookup-failed", f"no DNS answer about {domain} ({type(e).__name__}); try again") from e
        texts = [data for data in answer if isinstance(data, TXT)][:MOST_RECORDS]
        return [b"".join(text.strings).decode("utf-8", "replace") for text in texts]


class WellKnownRecords:
    """One record at `https://DOMAIN/.well-known/mcp-registry-auth`, for names directly under the domain.

    Redirects are not followed: a page elsewhere is not the domain's word. `pool` decides which addresses are reached.
    """

    def __init__(self, pool: aiohttp.ClientSession, url: str = WELL_KNOWN, *, seconds: float = SECONDS) -> None:
        self._pool, self._url, self._seconds = pool, url, seconds

    async def records(self, namespace: str) -> Sequence[str]:
        """See `KeySource`."""
        nearest = domains(namespace)[:1]
        return await self._ask(nearest[0]) if nearest else []

    async def _ask(self, domain: str) -> list[str]:
        url, limit = self._url.format(domain=domain), aiohttp.ClientTimeout(total=self._seconds)
        try:
            async with self._pool.get(url, allow_redirects=False, timeout=limit) as answer:
                if answer.status >= 500:
                    raise Refused("lookup-failed", f"{domain} answered with HTTP status {answer.status}; try again")
                body = await answer.content.read(MAX_DOCUMENT + 1) if answer.status == 200 else b""
                while 0 < len(body) <= MAX_DOCUMENT and (more := await answer.content.read(MAX_DOCUMENT)):
                    body += more
        except (aiohttp.ClientError, OSError) as e:  # a TimeoutError is an OSError
            raise Refused("lookup-failed", f"{domain} cannot be reached ({type(e).__name__}); try again") from e
        return [body.decode("utf-8", "replace")] if len(body) <= MAX_DOCUMENT else []


class PublicAddresses(AbstractResolver):
    """Resolves to addresses of the public internet only, so that a name cannot send us into the operator's network."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public ones of the host's addresses; raises OSError where there are none."""
        found = await self._resolver.resolve(host, port, family)
        if public := [item for item in found if ipaddress.ip_address(item["host"].partition("%")[0]).is_global]:
            return public
        raise OSError(f"{host} has no public address")

    async def close(self) -> None:
        """Nothing is held."""


class Keys:
    """The keys of a namespace, from all sources together."""

    def __init__(self, *sources: KeySource) -> None:
        self._sources = sources

    async def of(self, namespace: str) -> list[DomainKey]:
        """Raises `Refused`: `unknown-namespace` (no source states a key), `lookup-failed` (that is not known, as one
        could not be asked), `malformed-key-record`.
        """
        answers = await asyncio.gather(*(source.records(namespace) for source in self._sources), return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        for failure in failed:
            if not isinstance(failure, Refused):
                raise failure
        if keys := keys_of(text for answer in answers if not isinstance(answer, BaseException) for text in answer):
            return keys
        if failed:
            raise failed[0]
        stated = " or ".join(domains(namespace)) or namespace[:80]
        raise Refused("unknown-namespace", f"no key is known for {stated}; state one in DNS or under /.well-known")


def list_of(value: object) -> list[Any]:
    """A JSON array as it is, anything else as an empty one."""
    return cast(list[Any], value) if isinstance(value, list) else []
