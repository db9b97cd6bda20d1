"""MCP between our front and a hosted server, passed on unchanged: no model of the SDK stands between the two."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    LOG_LEVEL_META_KEY,
    METHOD_NOT_FOUND,
    SERVER_INFO_META_KEY,
    JSONRPCNotification,
    JSONRPCRequest,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import RootModel, ValidationError

from attest import wire
from servers.attested import report
from servers.tee.hosted import HostedError
from servers.tee.hosted.lines import Json
from servers.tee.hosted.peer import Peer, object_of
from servers.tee.hosted.sessions import Sessions

Context = ServerRequestContext[Any, Any]
STATE = "hosted"
QUESTION_SECONDS = 3600.0
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
# What a client may be asked for, and the capability by which it says so.
QUESTIONS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")
CHANGES = {
    "notifications/tools/list_changed": ToolsListChanged,
    "notifications/prompts/list_changed": PromptsListChanged,
    "notifications/resources/list_changed": ResourcesListChanged,
}


class _Raw(RootModel[dict[str, Any]]):
    """Any result, kept as a dict."""


@dataclass
class _Held:
    """The sandbox of one client, or of all modern ones; made again when it is needed after its end."""

    params: Json | None
    """Of the client's `initialize`; None where it is for the modern era."""
    peer: Peer | None = None
    calls: list[Context] = field(default_factory=list[Context])
    """Under way; the newest last."""
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class Relay:
    """The innermost middleware. `environment` is what receipts say of the isolation and the program."""

    def __init__(
        self, sessions: Sessions, bus: InMemorySubscriptionBus, environment: Mapping[str, Any], wall_seconds: float
    ) -> None:
        self._sessions, self._bus, self._environment = sessions, bus, environment
        self._wall_seconds = wall_seconds
        self._shared = _Held(None)

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """See `ServerMiddleware`."""
        try:
            if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
                return await self._modern(ctx, call_next)
            return await self._legacy(ctx, call_next)
        except HostedError as e:
            return _failed(ctx, str(e))

    async def _modern(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.request_id is None:
            return None  # this era has no notification of a client's but the cancellation, which is dealt with
        if ctx.method == "server/discover":
            result = await self._introduced(cast(Json, await call_next(ctx)), await self._peer(self._shared, ctx))
            return {**result, "supportedVersions": [*MODERN_PROTOCOL_VERSIONS, *reversed(HANDSHAKE_PROTOCOL_VERSIONS)]}
        peer = await self._peer(self._shared, ctx)
        if ctx.method == "subscriptions/listen" and peer.era == "legacy":
            return await self._listen(ctx, call_next, peer)
        result = await self._passed(self._shared, ctx)
        if peer.era == "modern":
            return result
        uncached: Json = {"ttlMs": 0, "cacheScope": "private"} if ctx.method in LISTS else {}
        return {"resultType": "complete", **uncached, **result}

    async def _legacy(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        # The SDK shows handlers a proxy per request; only the connection behind it outlives one.
        connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
        if ctx.method == "initialize":
            result = cast(Json, await call_next(ctx))
            if (before := cast(_Held | None, connection.state.get(STATE))) is not None:  # it shakes hands again
                await self._close(before)
            held = connection.state[STATE] = _Held(dict(ctx.params or {}))
            connection.exit_stack.push_async_callback(self._close, held)
            return await self._introduced(result, await self._peer(held, ctx))
        held = cast(_Held | None, connection.state.get(STATE))
        if held is None or ctx.method in ("ping", "notifications/initialized"):
            return await call_next(ctx)
        if ctx.request_id is None:
            if held.peer is not None and not held.peer.session.ended and ctx.method != "notifications/cancelled":
                told: Json = {"method": ctx.method} | ({} if ctx.params is None else {"params": dict(ctx.params)})
                await held.peer.session.lines.send(told)
            return None
        return await self._passed(held, ctx)

    async def _passed(self, held: _Held, ctx: Context) -> Json:
        """The server's own result. Raises `HostedError`, and its error as `MCPError`."""
        peer = await self._peer(held, ctx)
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        params = peer.spoken(wire.without_ours(dict(ctx.params or {})), modern)
        session = peer.session
        mark = session.mark()
        held.calls.append(ctx)
        reply: Json | None = None
        try:
            with anyio.move_on_after(None if ctx.method == "subscriptions/listen" else self._wall_seconds):
                tell = _tell(ctx, ctx.request_id)
                reply = await session.lines.request(ctx.method, params, tell, caller_id=ctx.request_id)
        finally:
            held.calls.remove(ctx)
            report(environment=self._environment, usage=session.usage(mark))
        if reply is None:
            session.unanswered()
            raise HostedError(f"the server did not answer within the {self._wall_seconds:g} s that the policy grants")
        session.answered()
        await self._sessions.check_quota(session)
        if "error" in reply:
            error = object_of(reply["error"])
            code, message = error.get("code"), error.get("message")
            code = code if type(code) is int else INTERNAL_ERROR
            raise MCPError(code, message if isinstance(message, str) else "", error.get("data"))
        return wire.without_ours(object_of(reply["result"]))

    async def _peer(self, held: _Held, ctx: Context) -> Peer:
        """The running server, started anew if it ended. Raises `HostedError`."""
        async with held.lock:
            if held.peer is None or held.peer.session.ended:
                if held.params is None:
                    held.peer = await self._sessions.modern(lambda message: self._announce(held, message))
                else:
                    standalone = _tell(ctx, None)
                    held.peer = await self._sessions.own(
                        held.params,
                        lambda message: self._say(held, message, standalone),
                        lambda message: self._ask(held, message),
                    )
            return held.peer

    async def _close(self, held: _Held) -> None:
        if held.peer is not None:
            await self._sessions.end(held.peer)

    async def _introduced(self, result: Json, peer: Peer) -> Json:
        """What the server says of itself, under the name that we know it by."""
        said = {**result, "capabilities": _bare(peer.capabilities)}
        said.pop("instructions", None)
        if peer.instructions is not None:
            said["instructions"] = peer.instructions
        kept = {name: peer.info[name] for name in ("title", "description", "websiteUrl", "icons") if name in peer.info}
        if "title" not in kept and isinstance(peer.info.get("name"), str):
            kept["title"] = peer.info["name"]
        if "serverInfo" in said:
            said["serverInfo"] = {**kept, **object_of(said["serverInfo"])}
        meta = object_of(said.get("_meta"))
        if SERVER_INFO_META_KEY in meta:
            said["_meta"] = {**meta, SERVER_INFO_META_KEY: {**kept, **object_of(meta[SERVER_INFO_META_KEY])}}
        return said

    async def _listen(self, ctx: Context, call_next: CallNext, peer: Peer) -> HandlerResult:
        """A modern client's subscription to a legacy server: its announcements are for everybody who listens."""
        wanted = object_of(object_of(dict(ctx.params or {})).get("notifications")).get("resourceSubscriptions")
        uris = [uri for uri in cast(list[Any], wanted) if isinstance(uri, str)] if isinstance(wanted, list) else []
        watching = [uri for uri in uris if object_of(peer.capabilities.get("resources")).get("subscribe")]
        for uri in watching:
            await peer.session.lines.request("resources/subscribe", {"uri": uri}, _deaf)
        return await call_next(ctx)

    async def _announce(self, held: _Held, message: Json) -> None:
        """What the shared session says of no call."""
        method, params = message["method"], object_of(message.get("params"))
        if method in CHANGES:
            await self._bus.publish(CHANGES[method]())
        elif method == "notifications/resources/updated" and isinstance(params.get("uri"), str):
            await self._bus.publish(ResourceUpdated(uri=params["uri"]))
        elif method == "notifications/message" and len(held.calls) == 1:
            ctx = held.calls[0]
            least = object_of(object_of(dict(ctx.params or {})).get("_meta")).get(LOG_LEVEL_META_KEY)
            level = params.get("level")
            if least in LEVELS and level in LEVELS and LEVELS.index(cast(str, level)) >= LEVELS.index(cast(str, least)):
                await _tell(ctx, ctx.request_id)(message)

    async def _say(self, held: _Held, message: Json, standalone: Any) -> None:
        """What a client's own session says: with its newest request, where there is one, else by itself."""
        about_a_call = message["method"] == "notifications/message" and held.calls
        await (_tell(held.calls[-1], held.calls[-1].request_id) if about_a_call else standalone)(message)

    async def _ask(self, held: _Held, message: Json) -> Json:
        """The client's answer to a question of its own server."""
        needed = QUESTIONS.get(message["method"])
        declared = object_of((held.params or {}).get("capabilities"))
        if needed is None or needed not in declared or not held.calls:
            return {"error": {"code": METHOD_NOT_FOUND, "message": "the client does not answer this"}}
        ctx = held.calls[-1]
        try:
            raw: Any = JSONRPCRequest.model_validate({**message, "jsonrpc": "2.0", "id": 0})  # the SDK gives it an id
        except ValidationError:
            return {"error": {"code": INVALID_REQUEST, "message": "the question is no valid request"}}
        try:
            answer = await ctx.session.send_request(
                raw, _Raw, QUESTION_SECONDS, ServerMessageMetadata(related_request_id=ctx.request_id)
            )
        except MCPError as e:
            return {"error": e.error.model_dump(exclude_none=True)}
        except ValidationError:
            return {"error": {"code": INTERNAL_ERROR, "message": "the client answered with an invalid result"}}
        return {"result": answer.root}


def _bare(capabilities: Json) -> Json:
    """Without our extension, which only we may offer."""
    extensions = object_of(capabilities.get("extensions"))
    kept = {name: value for name, value in extensions.items() if not name.startswith(wire.PREFIX)}
    rest = {name: value for name, value in capabilities.items() if name != "extensions"}
    return rest | ({"extensions": kept} if kept else {})


def _tell(ctx: Context, request_id: Any) -> Any:
    async def tell(message: Json) -> None:
        try:
            raw: Any = JSONRPCNotification.model_validate({"jsonrpc": "2.0", **message})
        except ValidationError:  # nothing that a client could read
            return
        await ctx.session.send_notification(raw, request_id)

    return tell


async def _deaf(_: Json) -> None:
    return


def _failed(ctx: Context, text: str) -> Json:
    """A tool error that the model can read; for other methods raises `MCPError`."""
    if ctx.method != "tools/call":
        raise MCPError(INTERNAL_ERROR, f"hosted: {text}")
    report(environment={}, usage={"status": "lost"})
    result: Json = {"content": [{"type": "text", "text": f"hosted: {text}"}], "isError": True}
    return {"resultType": "complete", **result} if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS else result
