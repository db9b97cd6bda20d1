"""Era negotiation and request shaping above a `Transport`.

Modern (2026-07-28): every request carries the protocol version, and the face of the client it is made for, in `_meta`.
Legacy (2025-11-25 and older): one `initialize`, which declares the capabilities of whoever the session is opened for.
What one client can do must not be promised for another, so a session that several clients share declares none.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import anyio
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
)
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from gateway.upstream import (
    DEAF,
    Downlink,
    Json,
    Transport,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamSessionLost,
    printable,
)

Era = Literal["auto", "legacy", "modern"]
PROBE_SECONDS = 5.0
MAX_PAGES = 100
_ENVELOPE = (PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY, LOG_LEVEL_META_KEY)
_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class ClientFace:
    """What a modern server is told about the client that a request is made for: that, exactly."""

    capabilities: Json
    info: Json
    log_level: str | None = None


@dataclass(frozen=True)
class Freshness:
    """How long a list may be kept, in milliseconds, and whether for all clients (2026-07-28, SEP-2549)."""

    ttl_ms: int
    public: bool

    @classmethod
    def of(cls, result: Json) -> "Freshness":
        """What a result says; not at all, where it says nothing that can be used."""
        ttl = result.get("ttlMs")
        return cls(max(ttl, 0) if type(ttl) is int else 0, result.get("cacheScope") == "public")

    def least(self, other: "Freshness") -> "Freshness":
        """What holds for both."""
        return Freshness(min(self.ttl_ms, other.ttl_ms), self.public and other.public)

    def to_json(self) -> Json:
        """The members of a result."""
        return {"ttlMs": self.ttl_ms, "cacheScope": "public" if self.public else "private"}


LONGEST = Freshness(300_000, True)
STALE = Freshness(0, False)


@dataclass(frozen=True)
class Items:
    """A whole list, raw."""

    items: list[Any]
    freshness: Freshness


@dataclass(frozen=True)
class Peer:
    """What a server said of itself when it was asked, raw."""

    era: Literal["legacy", "modern"]
    protocol_version: str
    info: Json = field(default_factory=dict[str, Any])
    capabilities: Json = field(default_factory=dict[str, Any])
    instructions: str | None = None


class Session:
    """One server in one era. `connect` first; then safe for concurrent requests. The owner closes the transport."""

    def __init__(self, alias: str, transport: Transport, *, face: ClientFace, era: Era = "auto") -> None:
        self.alias = alias
        self.transport = transport
        self._wanted = era
        self._face = face
        self._self = ClientFace({}, face.info)  # a modern server is promised nothing when the gateway asks for itself
        self._peer: Peer | None = None  # set by `connect`, replaced by `_renew`
        self._renewing = anyio.Lock()

    @property
    def peer(self) -> Peer:
        """What the server is. Raises RuntimeError before `connect`."""
        if self._peer is None:
            raise RuntimeError(f"{self.alias}: not connected")
        return self._peer

    @property
    def era(self) -> Literal["legacy", "modern"]:
        """The era in use."""
        return self.peer.era

    @property
    def info(self) -> Json:
        """Raw serverInfo, empty if the server gave none."""
        return self.peer.info

    @property
    def capabilities(self) -> Json:
        """Raw server capabilities."""
        return self.peer.capabilities

    @property
    def instructions(self) -> str | None:
        """The server's instructions for the model."""
        return self.peer.instructions

    @property
    def protocol_version(self) -> str:
        """The version in use."""
        return self.peer.protocol_version

    async def connect(self, *, deadline: float) -> None:
        """Find out the server's era and shake hands. Raises `UpstreamError`."""
        peer = None
        if self._wanted != "legacy":
            probe = deadline if self._wanted == "modern" else min(deadline, anyio.current_time() + PROBE_SECONDS)
            peer = await self._discover(probe, must=self._wanted == "modern")
        self._peer = peer or await self._initialize(deadline)

    async def request(
        self,
        method: str,
        params: Json | None,
        *,
        client: ClientFace,
        deadline: float,
        down: Downlink = DEAF,
        headers: Mapping[str, str] = _NO_HEADERS,
        caller_id: Any = None,
    ) -> Json:
        """Return the raw response, with `result` or `error`. Raises `UpstreamError`.

        `headers` are further HTTP headers (Mcp-Param-*). Under `caller_id` the caller hears of a subscription it opens.
        """
        try:
            return await self._send(self.peer, method, params, client, deadline, down, headers, caller_id)
        except UpstreamSessionLost:
            await self._renew(self.peer, deadline)
            return await self._send(self.peer, method, params, client, deadline, down, headers, caller_id)

    async def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification of the legacy era; in the modern one there are none. Raises `UpstreamUnavailable`."""
        if self.peer.era == "legacy":
            message: Json = {"method": method} | ({} if params is None else {"params": params})
            await self.transport.notify(message, headers={MCP_PROTOCOL_VERSION_HEADER: self.peer.protocol_version})

    async def list_all(
        self, method: str, key: str, *, deadline: float, fetch: Callable[[Json], Awaitable[Json]] | None = None
    ) -> "Items":
        """Return the raw items of every page of a list, and how long they hold. Raises `UpstreamError`.

        An error answer is `UpstreamRefused`. `fetch` gets the raw answer for the params of one page, in place of
        `request`.
        """
        items, freshness = list[Any](), LONGEST
        seen: set[str] = set()
        params: Json = {}
        for _ in range(MAX_PAGES):
            if fetch is None:
                answer = await self.request(method, params, client=self._self, deadline=deadline)
            else:
                answer = await fetch(params)
            result = self._result(answer, method)
            page: object = result.get(key)
            if not isinstance(page, list):
                raise UpstreamGarbled(self.alias, f"answered {method} without a list of {key}", "fix the server")
            items += cast(list[Any], page)
            freshness = freshness.least(Freshness.of(result))
            cursor = result.get("nextCursor")
            if not cursor:
                return Items(items, freshness)
            if not isinstance(cursor, str) or cursor in seen:
                raise UpstreamGarbled(self.alias, f"its pages of {method} go round in a circle", "fix the server")
            seen.add(cursor)
            params = {"cursor": cursor}
        raise UpstreamGarbled(self.alias, f"has more than {MAX_PAGES} pages of {method}", "fix the server")

    async def _send(
        self,
        peer: Peer,
        method: str,
        params: Json | None,
        client: ClientFace,
        deadline: float,
        down: Downlink,
        headers: Mapping[str, str],
        caller_id: Any,
    ) -> Json:
        message: Json = {"method": method} | ({} if caller_id is None else {"id": caller_id})
        if peer.era == "modern":
            message["params"] = _enveloped(params or {}, peer.protocol_version, client)
        elif params is not None:
            message["params"] = _bare(params)
        shaped = dict(headers) | _headers(peer, method, params or {})
        return await self.transport.request(message, headers=shaped, down=down, deadline=deadline)

    async def _discover(self, deadline: float, *, must: bool) -> Peer | None:
        """Return the server as a modern one; None if it is not (`must`: raise `UpstreamError` instead)."""
        asked = Peer("modern", MODERN_PROTOCOL_VERSIONS[-1])
        method = "server/discover"
        try:
            answer = await self._send(asked, method, {}, self._self, deadline, DEAF, _NO_HEADERS, None)
            if again := _common(_object(_object(answer, "error"), "data").get("supported")):
                asked = Peer("modern", again)
                answer = await self._send(asked, method, {}, self._self, deadline, DEAF, _NO_HEADERS, None)
            result = self._result(answer, method)
        except UpstreamError:
            if must:
                raise
            return None  # whatever it was: initialize will succeed, or raise what the operator must know
        common = _common(result.get("supportedVersions"))
        if common is None:
            if must:
                what, advice = "speaks no modern protocol version", 'set its "era" to "legacy"'
                raise UpstreamRefused(self.alias, what, advice, UNSUPPORTED_PROTOCOL_VERSION)
            return None
        info = _object(_object(result, "_meta"), SERVER_INFO_META_KEY) or _object(result, "serverInfo")
        return Peer("modern", common, info, _object(result, "capabilities"), _text(result, "instructions"))

    async def _initialize(self, deadline: float) -> Peer:
        face = self._face
        params: Json = {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": face.capabilities}
        params["clientInfo"] = face.info
        message: Json = {"method": "initialize", "params": params}
        answer = await self.transport.request(message, headers={}, down=DEAF, deadline=deadline)
        try:
            result = self._result(answer, "initialize")
        except UpstreamRefused as error:
            # A server that answered our probe too late has become a modern one meanwhile.
            late = error.code == UNSUPPORTED_PROTOCOL_VERSION and self._wanted == "auto"
            peer = await self._discover(deadline, must=False) if late else None
            if peer is None:
                raise
            return peer
        version = result.get("protocolVersion")
        if version not in HANDSHAKE_PROTOCOL_VERSIONS:
            what, said = "wants a protocol version that is unknown here", f": {printable(str(version), 40)}"
            advice = "update the gateway or the server"
            raise UpstreamRefused(self.alias, what, advice, UNSUPPORTED_PROTOCOL_VERSION, said=said)
        capabilities, instructions = _object(result, "capabilities"), _text(result, "instructions")
        await self.transport.notify(
            {"method": "notifications/initialized"}, headers={MCP_PROTOCOL_VERSION_HEADER: version}
        )
        return Peer("legacy", version, _object(result, "serverInfo"), capabilities, instructions)

    async def _renew(self, lost: Peer, deadline: float) -> None:
        """Initialize again, once for all callers that lost the same session."""
        async with self._renewing:
            if self._peer is lost:
                self._peer = await self._initialize(deadline)

    def _result(self, answer: Json, method: str) -> Json:
        result = answer.get("result")
        if isinstance(result, dict):
            return cast(Json, result)
        if "error" not in answer:
            raise UpstreamGarbled(self.alias, f"answered {method} with no object", "fix or replace the server")
        error = _object(answer, "error")
        code = error.get("code")
        said, advice = f": {printable(str(error.get('message')))} ({code})", "see the server's documentation"
        raise UpstreamRefused(self.alias, f"refused {method}", advice, code if isinstance(code, int) else 0, said=said)


def _enveloped(params: Json, version: str, client: ClientFace) -> Json:
    meta = {k: v for k, v in _object(params, "_meta").items() if k not in _ENVELOPE}
    meta |= {
        PROTOCOL_VERSION_META_KEY: version,
        CLIENT_INFO_META_KEY: client.info,
        CLIENT_CAPABILITIES_META_KEY: client.capabilities,
    }
    if client.log_level is not None:
        meta[LOG_LEVEL_META_KEY] = client.log_level
    return params | {"_meta": meta}


def _bare(params: Json) -> Json:
    """Return params without the modern envelope, which a legacy server would not understand."""
    meta = _object(params, "_meta")
    if not any(key in meta for key in _ENVELOPE):
        return params
    kept = {k: v for k, v in meta.items() if k not in _ENVELOPE}
    return {k: v for k, v in params.items() if k != "_meta"} | ({"_meta": kept} if kept else {})


def _headers(peer: Peer, method: str, params: Json) -> dict[str, str]:
    headers = {MCP_PROTOCOL_VERSION_HEADER: peer.protocol_version}
    if peer.era == "modern":
        headers[MCP_METHOD_HEADER] = method
        name = params.get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(name, str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
    return headers


def _common(offered: Any) -> str | None:
    """Return the newest modern version that a server names too, None if there is none."""
    common = [version for version in MODERN_PROTOCOL_VERSIONS if isinstance(offered, list) and version in offered]
    return common[-1] if common else None


def _object(container: Json, key: str) -> Json:
    value = container.get(key)
    return cast(Json, value) if isinstance(value, dict) else {}


def _text(container: Json, key: str) -> str | None:
    value = container.get(key)
    return value if isinstance(value, str) else None
