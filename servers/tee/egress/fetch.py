"""One request for a program that has no sockets: the engine makes it, as the policy grants."""

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import h11

from servers.tee.egress import Refused, Unreachable, Verdict
from servers.tee.egress.exchange import opened, outgoing, passed_on
from servers.tee.egress.gate import Attempt, Gate
from servers.tee.policy import Granted

MAX_URL = 8192
PORTS = {"http": 80, "https": 443}
_MOVED = frozenset((301, 302, 303, 307, 308))
_OF_ONE_ORIGIN = frozenset((b"authorization", b"cookie"))


class BadRequest(Exception):
    """What the program asked for is no request. One line."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    scheme: str
    host: str
    port: int
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def fetch(
    gate: Gate, request: dict[str, Any], max_bytes: int, *, redirects: int = 0, seconds: float = 60.0
) -> dict[str, Any]:
    """`{method, url, headers, body}` to `{status, headers, body}`, bodies in base64.

    Up to `redirects` of them are followed, each decided and logged as a request of its own, without the program's
    credentials where it leads to another origin; at 0 the redirect itself is the answer. `seconds` is for all together.
    Raises `BadRequest`, `Refused` where the policy does not grant it, `Unreachable` where it failed.
    """
    asked = _read(request)
    try:
        async with asyncio.timeout(seconds):
            for left in range(redirects, -1, -1):
                response = await _exchange(gate, asked, max_bytes)
                moved = _moved(asked, response) if redirects else None
                if moved is None:
                    return _told(response)
                if left:
                    asked = moved
    except TimeoutError as e:
        raise Unreachable("slow", f"{asked.host} did not answer within {seconds:g} s") from e
    raise Refused("redirects", f"more than {redirects} redirects")


async def _exchange(gate: Gate, asked: _Request, max_bytes: int) -> _Response:
    attempt = Attempt(asked.host, asked.port, asked.scheme)
    if gate.policy.egress_record == "requests":
        attempt.request = f"{asked.method} {asked.target}"
    ended: tuple[Verdict, str] = ("failed", "ended")
    try:
        granted = gate.decide(asked.scheme, asked.host, asked.port, asked.method)
        attempt.host = granted.host.name
        written = _written(gate, granted, asked)
        async with opened(gate, granted, attempt, asked.method, tls=asked.scheme == "https") as exchange:
            await exchange.send(written, _once(asked.body))
            response = await exchange.response()
            content = bytearray()
            async for chunk in exchange.body():
                content += chunk
                if len(content) > max_bytes:
                    raise Refused("bytes", f"the response is longer than {max_bytes} bytes")
        ended = ("allowed", "")
    except Refused as e:
        ended = ("denied", e.code)
        raise
    except Unreachable as e:
        ended = ("failed", e.code)
        raise
    except BadRequest:
        ended = ("denied", "request")
        raise
    finally:
        gate.end(attempt, *ended)
    return _Response(response.status_code, passed_on(response.headers), bytes(content))


def _written(gate: Gate, granted: Granted, asked: _Request) -> h11.Request:
    secret = gate.headers(granted, asked.scheme, asked.port)
    authority = _authority(granted.host.name, asked.scheme, asked.port).encode()
    sized = asked.body or asked.method in ("POST", "PUT", "PATCH")
    framing = [(b"content-length", str(len(asked.body)).encode())] if sized else []
    try:
        return outgoing(asked.method.encode(), asked.target.encode(), authority, asked.headers, secret, framing)
    except h11.LocalProtocolError as e:
        raise BadRequest("headers: not what HTTP can carry") from e


def _moved(asked: _Request, response: _Response) -> _Request | None:
    """The request that a redirect leads to (RFC 9110 §15.4), None where it is none. Raises `Refused`."""
    where = next((value for name, value in response.headers if name == b"location"), None)
    if response.status not in _MOVED or where is None:
        return None
    method, body = asked.method, asked.body
    if response.status == 303 or (response.status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
    try:
        url = urljoin(asked.url, where.decode("ascii"))
        encoded = base64.b64encode(body).decode()
        there = _read({"method": method, "url": url, "body": encoded})
    except (BadRequest, ValueError) as e:
        raise Refused("redirects", "it redirects to what is no http or https URL") from e
    same = (there.scheme, there.host, there.port) == (asked.scheme, asked.host, asked.port)
    return replace(there, headers=tuple(h for h in asked.headers if same or h[0].lower() not in _OF_ONE_ORIGIN))


def _told(response: _Response) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for name, value in response.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return {"status": response.status, "headers": headers, "body": base64.b64encode(response.body).decode()}


def _read(request: dict[str, Any]) -> _Request:
    url, method, encoded = request.get("url"), request.get("method", "GET"), request.get("body", "")
    if not isinstance(url, str) or len(url) > MAX_URL or not all("!" <= c <= "~" for c in url):
        raise BadRequest(f"url: not a URL in ASCII of at most {MAX_URL} characters")
    if not isinstance(method, str) or not method.isascii() or not method.isalpha() or not method.isupper():
        raise BadRequest("method: not a method in capitals")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise BadRequest("url: not a URL") from e
    if parts.scheme not in PORTS or not host or "@" in parts.netloc or port == 0:
        raise BadRequest("url: not http or https with a host and without a user")
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError) as e:
        raise BadRequest("body: not base64") from e
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    where = (url, parts.scheme, host, port or PORTS[parts.scheme], target)
    return _Request(method, *where, _headers(request.get("headers", {})), body)


def _headers(headers: Any) -> tuple[tuple[bytes, bytes], ...]:
    if not isinstance(headers, dict):
        raise BadRequest("headers: not an object")
    found: list[tuple[bytes, bytes]] = []
    for name, value in cast("dict[Any, Any]", headers).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadRequest("headers: not texts by name")
        try:
            found.append((name.encode("ascii"), value.encode("latin-1")))
        except UnicodeError as e:
            raise BadRequest("headers: not what HTTP can carry") from e
    return tuple(found)


def _authority(host: str, scheme: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if PORTS[scheme] == port else f"{name}:{port}"


async def _once(body: bytes) -> AsyncGenerator[bytes]:
    if body:
        yield body
