"""One request for a program that has no sockets: the engine makes it, as the policy grants."""

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

import h11

from servers.tee.egress import Refused, Unreachable
from servers.tee.egress.exchange import opened, outgoing, passed_on
from servers.tee.egress.gate import Attempt, Gate

MAX_URL = 8192
PORTS = {"http": 80, "https": 443}


class BadRequest(Exception):
    """What the program asked for is no request. One line."""


async def fetch(gate: Gate, request: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """`{method, url, headers, body}` to `{status, headers, body}`, bodies in base64. Redirects are not followed.

    Raises `BadRequest`, `Refused` where the policy does not grant it, `Unreachable` where it failed, each logged but
    the first.
    """
    method, scheme, host, port, target, body = _read(request)
    attempt = Attempt(host, port, scheme)
    if gate.policy.egress_record == "requests":
        attempt.request = f"{method} {target}"
    try:
        granted = gate.decide(scheme, host, port, method)
        attempt.host = granted.host.name
        secret = gate.headers(granted, scheme, port)
        authority = _authority(granted.host.name, scheme, port).encode()
        framing = [(b"content-length", str(len(body)).encode())] if body or method in ("POST", "PUT", "PATCH") else []
        try:
            written = outgoing(method.encode(), target.encode(), authority, _headers(request), secret, framing)
        except (h11.LocalProtocolError, UnicodeError) as e:
            raise BadRequest("headers: not what HTTP can carry") from e
        async with opened(gate, granted, attempt, method, tls=scheme == "https") as exchange:
            await exchange.send(written, _once(body))
            response = await exchange.response()
            content = bytearray()
            async for chunk in exchange.body():
                content += chunk
                if len(content) > max_bytes:
                    raise Refused("bytes", f"the response is longer than {max_bytes} bytes")
    except Refused as e:
        gate.record(attempt.record("denied", e.code))
        raise
    except Unreachable as e:
        gate.record(attempt.record("failed", e.code))
        raise
    gate.record(attempt.record("allowed", ""))
    headers: dict[str, str] = {}
    for name, value in passed_on(response.headers):
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return {"status": response.status_code, "headers": headers, "body": base64.b64encode(content).decode()}


def _read(request: dict[str, Any]) -> tuple[str, str, str, int, str, bytes]:
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
    if parts.scheme not in PORTS or not host or "@" in parts.netloc:
        raise BadRequest("url: not http or https with a host and without a user")
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError) as e:
        raise BadRequest("body: not base64") from e
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return method, parts.scheme, host, port or PORTS[parts.scheme], target, body


def _headers(request: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    headers: Any = request.get("headers", {})
    if not isinstance(headers, dict):
        raise BadRequest("headers: not an object")
    return [(str(name).encode(), str(value).encode("latin-1")) for name, value in headers.items()]  # pyright: ignore


def _authority(host: str, scheme: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if PORTS[scheme] == port else f"{name}:{port}"


async def _once(body: bytes) -> AsyncGenerator[bytes]:
    if body:
        yield body
