"""HTTP requests that programs ask the engine for: a connection each, as the policy grants it, without redirects."""

import base64
import binascii
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
import anyio
from aiohttp.abc import AbstractResolver, ResolveResult

from servers.tee.policy import Denied, Granted, Policy
from servers.tee.sandbox import HostCallError

NAME = "fetch"
MAX_HEADERS = 64
_OURS = {"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"}
"""Headers that say how a message travels, which is not the program's business."""


class PolicyFetch:
    """A `servers.tee.functions.Fetch` over the network rules of the policy."""

    def refusal(self, policy: Policy) -> str | None:
        """Why this policy lets a program make no request at all, in one line; None if it may make some."""
        if NAME not in policy.host_calls:
            return f'the policy grants no requests; add "hostCalls": ["{NAME}"] and a rule for the host to "network"'
        if not policy.network.rules:
            return 'the policy grants no host; add a rule for it to "network": {"rules": [...]}'
        return None

    def opened(self, policy: Policy) -> "Requests":
        """For the requests of one call."""
        return Requests(policy)


class Requests:
    """The requests of one call, within the bounds that the policy sets for all of them together.

    `log` says of each what came of it: what a receipt shows.
    """

    def __init__(self, policy: Policy) -> None:
        self._network = policy.network
        # Connections and bytes by host and port, grown by each request; and what the receipt says of them.
        self._connections: Counter[tuple[str, int]] = Counter()
        self._bytes: Counter[tuple[str, int]] = Counter()
        self.log: list[dict[str, Any]] = []

    async def __call__(self, request: dict[str, Any]) -> Any:
        """Status, headers and base64 body of the response to `method`, `url`, `headers` and a base64 `body`.

        Raises `HostCallError` for the program to see.
        """
        method, url, headers, body = _read(request)
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname or ""
        port = parts.port or (443 if scheme == "https" else 80)
        told: dict[str, Any] = {"scheme": scheme, "host": host, "port": port, "method": method, "verdict": "denied"}
        self.log.append(told)
        granted = self._network.decide(scheme, host, port, method)
        if isinstance(granted, Denied):
            raise HostCallError(f"{granted.reason}; the operator's policy can grant it in network.rules")
        place = (granted.host.name, port)
        most = min(granted.max_bytes - self._bytes[place], self._network.max_bytes - self._bytes.total()) - len(
            body or b""
        )
        self._connections[place] += 1
        if (
            self._connections[place] > granted.max_connections
            or self._connections.total() > self._network.max_connections
        ):
            raise HostCallError("these are more connections than the policy grants to one call")
        addresses = await _addresses(granted, port)
        for address in addresses:
            if (denied := self._network.decide_address(scheme, address, port, method)) is not None:
                raise HostCallError(denied.reason)
        told["verdict"] = "granted"
        connector = aiohttp.TCPConnector(resolver=_Checked(addresses), force_close=True, limit=1)
        data = b""
        try:
            async with (
                aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(
                    method, url, headers=headers, data=body, allow_redirects=False, auto_decompress=False
                ) as response,
            ):
                data = await _body(response, most)
                found = {name.lower(): response.headers[name] for name in response.headers}
                told["status"] = response.status
                return {"status": response.status, "headers": found, "body": base64.b64encode(data).decode()}
        except (aiohttp.ClientError, OSError, ValueError) as e:
            raise HostCallError(f"{host} port {port}: {_shown(e)}") from e
        finally:
            told["bytes"] = len(body or b"") + len(data)
            self._bytes[place] += told["bytes"]


class _Checked(AbstractResolver):
    """Answers with the addresses that were checked, so that what is dialled is what was granted."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - there is one answer
    ) -> list[ResolveResult]:
        """The same for every name: there is one connection, to one host."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _read(request: dict[str, Any]) -> tuple[str, str, dict[str, str], bytes | None]:
    """A request that is one. Raises `HostCallError`."""
    method, url, given = request.get("method"), request.get("url"), request.get("headers", {})
    if not isinstance(method, str) or not method.isascii() or not method.isalpha() or len(method) > 20:
        raise HostCallError("method must be a word, as GET")
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or len(url) > 8192:
        raise HostCallError("url must be ASCII, at most 8192 characters")
    try:
        parts = urlsplit(url)
        sound = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as e:
        raise HostCallError(f"url: {e}") from e
    if not sound or parts.username is not None or parts.password is not None or " " in url or "\\" in url:
        raise HostCallError("url must be http://HOST/… or https://HOST/…, without user and password")
    headers = cast(Mapping[Any, Any], given) if isinstance(given, dict) else {1: 1}
    for name, value in headers.items():
        if (
            not isinstance(name, str)
            or not isinstance(value, str)
            or not value.isprintable()
            or len(headers) > MAX_HEADERS
        ):
            raise HostCallError("headers must be at most 64 texts by name, each on one line")
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise HostCallError(f"{name[:40]!a} is not a header's name")
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise HostCallError(f"the header {name[:40]} is not for programs to set")
    body = request.get("body")
    try:
        data = None if body is None else base64.b64decode(body, validate=True)
    except (binascii.Error, TypeError, ValueError) as e:
        raise HostCallError("body must be base64") from e
    return method.upper(), url, {"Accept-Encoding": "identity", "User-Agent": "etmcp"} | dict(headers), data


async def _addresses(granted: Granted, port: int) -> list[str]:
    """What the name means now; looked up once. Raises `HostCallError`."""
    if granted.host.address is not None:
        return [str(granted.host.address)]
    try:
        found = await anyio.getaddrinfo(granted.host.name, port, type=socket.SOCK_STREAM)
    except OSError as e:
        raise HostCallError(f"{granted.host.name}: no address is known for this name") from e
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            raise HostCallError(f"the response is more than the {most} bytes that the policy grants")
    return bytes(data)


def _shown(error: Exception) -> str:
    return "".join(c if c.isprintable() else " " for c in str(error) or type(error).__name__)[:200]
