"""The client behind a request, as it declared itself: once for a session (legacy), or on each request (2026-07-28)."""

import asyncio
import hashlib
import uuid
from dataclasses import replace
from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    LOG_LEVEL_META_KEY,
    JSONRPCNotification,
    JSONRPCRequest,
)
from pydantic import RootModel, ValidationError

from attest import wire
from gateway.aggregate import Aggregate
from gateway.client import QUESTIONS, SHARED, Audience, Client, Declared
from gateway.feed import CHANGES, Feed, Follower
from gateway.subscriptions import Watching
from gateway.upstream import Downlink, Json, refuse
from gateway.upstream.session import ClientFace

Context = ServerRequestContext[Any, Any]
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
QUESTION_SECONDS = 3600
"""A person may take their time; a client that never answers must not be waited for for ever."""


class _Raw(RootModel[dict[str, Any]]):
    """Any result, kept as a dict."""


class LegacySession:
    """A client of the handshake eras, from `initialize` until it goes. `close` must be called."""

    def __init__(self, ctx: Context, aggregate: Aggregate, feed: Feed) -> None:
        params = dict(ctx.params or {})
        self._aggregate = aggregate
        # The least severe log message that it wants, None until it says so.
        self.level: str | None = None
        self._face = ClientFace(_object(params.get("capabilities")), _object(params.get("clientInfo")))
        owner = Declared(self._face, Downlink(self._filtered(_tell(ctx.session, None)), _ask(ctx.session, None))).down
        asked = any(name in self._face.capabilities for name in QUESTIONS.values())
        key = f"client-{uuid.uuid4().hex}" if asked else ""
        self.audience = Audience(key, self._face, owner, lambda: self.level) if asked else SHARED
        self._follower = Follower(CHANGES.values(), _tell(ctx.session, None))
        self._unfollow = feed.follow(self._follower)
        self.watching = Watching(aggregate, self._follower)
        # Delivers announcements from `notifications/initialized` on.
        self._following: asyncio.Task[None] | None = None

    def ready(self) -> None:
        """It said `notifications/initialized`: from now on it may be told things."""
        if self._following is None:
            self._following = asyncio.create_task(self._follower.run())

    def client(self, ctx: Context, params: Json) -> Client:
        """It, asking this."""
        way = Downlink(self._filtered(_tell(ctx.session, ctx.request_id)), _ask(ctx.session, ctx.request_id))
        face = replace(self._face, log_level=self.level)
        return Client(
            face, _nonce(params), Declared(face, way).down, self.audience, asks=True, principal=_principal(ctx)
        )

    async def close(self) -> None:
        """The client has gone."""
        self._unfollow()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        # In the background, since whoever closes a connection waits only seconds for its end.
        self._aggregate.forget(self.audience, self.watching.close)

    def _filtered(self, tell: Any) -> Any:
        async def filtered(message: Json) -> None:
            if _severe_enough(message, self.level or LEVELS[0]):
                await tell(message)

        return filtered


def modern_client(ctx: Context, params: Json) -> Client:
    """The client as it declared itself on this request."""
    meta = _object(params.get("_meta"))
    info, level = meta.get(CLIENT_INFO_META_KEY), meta.get(LOG_LEVEL_META_KEY)
    face = ClientFace(
        _object(meta.get(CLIENT_CAPABILITIES_META_KEY)),
        _object(info) or {"name": "etmcp", "version": "1"},
        level if isinstance(level, str) else None,
    )
    tell = _tell(ctx.session, ctx.request_id)

    async def filtered(message: Json) -> None:
        if _severe_enough(message, face.log_level):
            await tell(message)

    return Client(face, _nonce(params), Downlink(filtered, refuse), principal=_principal(ctx))


def connection_of(ctx: Context) -> Any:
    """The SDK's `Connection`: per-client state and teardown, which its context does not offer otherwise."""
    return ctx.session._connection  # pyright: ignore[reportPrivateUsage]


def _tell(session: ServerSession, request_id: Any) -> Any:
    async def tell(message: Json) -> None:
        try:
            raw: Any = JSONRPCNotification.model_validate({"jsonrpc": "2.0", **message})
        except ValidationError:  # nothing that a client could read
            return
        await session.send_notification(raw, request_id)

    return tell


def _ask(session: ServerSession, request_id: Any) -> Any:
    async def ask(request: Json) -> Json:
        try:
            raw: Any = JSONRPCRequest.model_validate({**request, "jsonrpc": "2.0", "id": 0})  # the SDK gives it an id
        except ValidationError:
            return {"error": {"code": INVALID_REQUEST, "message": "the server's question is no valid request"}}
        metadata = ServerMessageMetadata(related_request_id=request_id)
        try:
            answer = await session.send_request(raw, _Raw, QUESTION_SECONDS, metadata)
        except MCPError as e:
            return {"error": e.error.model_dump(exclude_none=True)}
        except ValidationError:
            return {"error": {"code": INTERNAL_ERROR, "message": "the client answered with an invalid result"}}
        return {"result": answer.root}

    return ask


def _severe_enough(message: Json, least: str | None) -> bool:
    """Whether it may pass as far as log levels go: others than log messages always do."""
    if message["method"] != "notifications/message":
        return True
    level = _object(message.get("params")).get("level")
    return least in LEVELS and (level not in LEVELS or LEVELS.index(cast(str, level)) >= LEVELS.index(least))


def _principal(ctx: Context) -> str:
    """Who it is to us: whoever holds the credential it came with; on a pipe whoever started us."""
    credential = "" if ctx.request is None else str(ctx.request.headers.get("authorization", ""))
    return hashlib.sha256(credential.encode()).hexdigest()[:32] if credential else ""


def _nonce(params: Json) -> str | None:
    nonce = _object(_object(params.get("_meta")).get(wire.CALL)).get("clientNonce")
    return nonce if isinstance(nonce, str) and len(nonce) <= 256 else None


def _object(value: Any) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}
