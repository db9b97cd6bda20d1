"""The handshake with a hosted server, in the era that it and its client share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import anyio
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS

from servers.tee.hosted import HostedError
from servers.tee.hosted.lines import Json
from servers.tee.hosted.session import Session

Era = Literal["legacy", "modern"]
BOOT_SECONDS = 60.0
PROBE_SECONDS = 10.0
_ENVELOPE = (PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY, LOG_LEVEL_META_KEY)


@dataclass(frozen=True)
class Peer:
    """A running server that has introduced itself, raw. What it says of itself is its word."""

    session: Session
    era: Era
    version: str
    info: Json
    capabilities: Json
    instructions: str | None

    def spoken(self, params: Json, modern: bool) -> Json:
        """Params of a client in this server's era: without what only the modern one has, if this is a legacy one."""
        if not modern or self.era == "modern":
            return params
        meta = object_of(params.get("_meta"))
        kept = {name: value for name, value in meta.items() if name not in _ENVELOPE}
        return {name: value for name, value in params.items() if name != "_meta"} | ({"_meta": kept} if kept else {})


async def modern_or_legacy(session: Session, info: Mapping[str, Any]) -> Peer:
    """Shake hands for clients of the modern era; a server that knows only older ones is promised nothing.

    Raises `HostedError`.
    """
    meta: Json = {
        PROTOCOL_VERSION_META_KEY: MODERN_PROTOCOL_VERSIONS[-1],
        CLIENT_INFO_META_KEY: dict(info),
        CLIENT_CAPABILITIES_META_KEY: {},
    }
    with anyio.move_on_after(PROBE_SECONDS):
        answer = await session.lines.request("server/discover", {"_meta": meta}, _deaf)
        result = object_of(answer.get("result"))
        offered = result.get("supportedVersions")
        versions: list[str] = [v for v in MODERN_PROTOCOL_VERSIONS if isinstance(offered, list) and v in offered]
        if versions:
            said = object_of(object_of(result.get("_meta")).get(SERVER_INFO_META_KEY)) or object_of(
                result.get("serverInfo")
            )
            return _peer(session, "modern", versions[-1], said, result)
    return await legacy(session, {"protocolVersion": LATEST_HANDSHAKE_VERSION, "capabilities": {}, "clientInfo": info})


async def legacy(session: Session, params: Mapping[str, Any]) -> Peer:
    """Shake hands as the client did whose `initialize` params these are. Raises `HostedError`."""
    asked = dict(params)
    if asked.get("protocolVersion") not in HANDSHAKE_PROTOCOL_VERSIONS:
        asked["protocolVersion"] = LATEST_HANDSHAKE_VERSION
    answer: Json | None = None
    with anyio.move_on_after(BOOT_SECONDS):
        answer = await session.lines.request("initialize", asked, _deaf)
    if answer is None:
        raise HostedError(f"the server did not answer initialize within {BOOT_SECONDS:g} s")
    result = object_of(answer.get("result"))
    version = result.get("protocolVersion")
    if not isinstance(version, str):
        error = str(object_of(answer.get("error")).get("message", "no version"))[:200]
        raise HostedError(f"the server refused initialize: {''.join(c if c.isprintable() else ' ' for c in error)}")
    await session.lines.send({"method": "notifications/initialized"})
    return _peer(session, "legacy", version, object_of(result.get("serverInfo")), result)


def object_of(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return cast(Json, value) if isinstance(value, dict) else {}


def _peer(session: Session, era: Era, version: str, info: Json, result: Json) -> Peer:
    instructions = result.get("instructions")
    text = instructions if isinstance(instructions, str) else None
    return Peer(session, era, version, info, object_of(result.get("capabilities")), text)


async def _deaf(_: Json) -> None:
    return
