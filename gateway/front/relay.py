"""The one middleware of the SDK's server. The chain ends here, so no model stands between client and upstream."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, cast

from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from attest import wire
from gateway.aggregate import Aggregate, Unknown
from gateway.client import Client
from gateway.errors import UserError, Withheld
from gateway.feed import Feed
from gateway.front.clients import Context, LegacySession, connection_of, modern_client
from gateway.state import BadState
from gateway.subscriptions import listen
from gateway.upstream import Json, UpstreamError

Era = Literal["auto", "legacy", "modern"]
Handler = Callable[[Json, Client], Awaitable[Json]]
SESSION = "etmcp"
UNCACHED: Json = {"ttlMs": 0, "cacheScope": "private"}


class Relay:
    """Answers every request from the aggregate; of the handshakes, what we are. `shown` is what a client sees of a
    `tools/list` result."""

    def __init__(self, aggregate: Aggregate, feed: Feed, era: Era, shown: Callable[[Json], Json]) -> None:
        self._aggregate, self._feed, self._era, self._shown = aggregate, feed, era, shown
        self._handlers: dict[str, Handler] = {
            "tools/list": lambda _, client: self._list("tools/list", client),
            "prompts/list": lambda _, client: self._list("prompts/list", client),
            "tools/call": lambda params, client: aggregate.named("tools/call", params, client),
            "prompts/get": lambda params, client: aggregate.named("prompts/get", params, client),
            "resources/list": lambda _, client: self._collect("resources/list", "resources", client),
            "resources/templates/list": lambda _, client: self._collect(
                "resources/templates/list", "resourceTemplates", client
            ),
            "resources/read": aggregate.read,
            "completion/complete": aggregate.complete,
        }

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """See `ServerMiddleware`."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await self._modern(ctx, call_next)
        return await self._legacy(ctx, call_next)

    async def _modern(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        if self._era == "legacy":
            if ctx.method == "server/discover":
                raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
            raise _unsupported(ctx.protocol_version, HANDSHAKE_PROTOCOL_VERSIONS)
        if ctx.method == "server/discover":
            return await self._introduced(cast(Json, await call_next(ctx)), modern=True)
        if ctx.request_id is None:
            return None  # 2026-07-28 has no client notification; the dispatcher has applied a cancellation
        params = dict(ctx.params or {})
        client = modern_client(ctx, params)
        if ctx.method == "subscriptions/listen":
            reply = await listen(self._aggregate, self._feed, params, client, ctx.request_id, client.down.tell)
            return _completed(ctx.method, cast(Json, reply["result"]))
        result = await self._answered(ctx, params, client)
        return await call_next(ctx) if result is None else _completed(ctx.method, result)

    async def _legacy(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        connection = connection_of(ctx)
        if ctx.method == "initialize":
            if self._era == "modern":
                raise _unsupported((ctx.params or {}).get("protocolVersion"), MODERN_PROTOCOL_VERSIONS)
            result = await self._introduced(cast(Json, await call_next(ctx)), modern=False)
            if (before := connection.state.get(SESSION)) is not None:  # it shakes hands again
                await before.close()
            session = connection.state[SESSION] = LegacySession(ctx, self._aggregate, self._feed)
            connection.exit_stack.push_async_callback(session.close)
            return result
        session = cast(LegacySession | None, connection.state.get(SESSION))
        if session is None:
            return await call_next(ctx)  # before the handshake the SDK owns the refusal
        if ctx.request_id is None:
            return await self._notified(ctx, call_next, session)
        return await self._in_session(ctx, call_next, session)

    async def _in_session(self, ctx: Context, call_next: CallNext, session: LegacySession) -> HandlerResult:
        params = dict(ctx.params or {})
        match ctx.method:
            case "logging/setLevel":
                session.level = str(params.get("level"))
                await self._aggregate.everyone(lambda member: member.connections.set_level(session.audience))
                return {}
            case "resources/unsubscribe":
                await session.watching.end(str(params.get("uri")))
                return {}
            case "resources/subscribe":
                client = session.client(ctx, params)
                return await self._guarded(
                    lambda p, c: session.watching.begin(str(p.get("uri")), p, c), ctx.method, params, client
                )
            case _:
                result = await self._answered(ctx, params, session.client(ctx, params))
                return await call_next(ctx) if result is None else result

    async def _notified(self, ctx: Context, call_next: CallNext, session: LegacySession) -> None:
        if ctx.method == "notifications/initialized":
            session.ready()
        elif ctx.method == "notifications/roots/list_changed":
            params = dict(ctx.params) if ctx.params is not None else None
            await self._aggregate.everyone(
                lambda member: member.connections.notify(session.audience, ctx.method, params)
            )
        await call_next(ctx)

    async def _answered(self, ctx: Context, params: Json, client: Client) -> Json | None:
        """The result; None for a method that nobody serves. Raises `MCPError`."""
        handler = self._handlers.get(ctx.method)
        if handler is None:
            extended = self._aggregate.extension(ctx.method, params)
            if extended is None:
                return None
            handler = extended
        return await self._guarded(handler, ctx.method, params, client)

    async def _guarded(self, handler: Handler, method: str, params: Json, client: Client) -> Json:
        """The result. A failure becomes what the client should see: a tool error that the model can read, or a
        JSON-RPC error, raised as `MCPError`."""
        try:
            reply = await handler(params, client)
        except (Unknown, BadState) as e:
            raise MCPError(INVALID_PARAMS, str(e)) from e
        except Withheld as e:
            verdict = {"verdict": "withheld", "code": e.code, "server": e.server}
            return _failed(method, str(e), {wire.VERIFICATION: verdict})
        except UpstreamError as e:
            return _failed(method, f"etmcp: {self._aggregate.told(e)}", None)
        except UserError as e:
            return _failed(method, f"etmcp: {e}", None)
        if (error := reply.get("error")) is not None:
            code, message = error.get("code"), error.get("message")
            code = code if type(code) is int else INTERNAL_ERROR
            raise MCPError(code, message if isinstance(message, str) else "", error.get("data"))
        return cast(Json, reply["result"])

    async def _list(self, method: str, client: Client) -> Json:
        result = await self._aggregate.merged(method, client.audience)
        return {"result": self._shown(result) if method == "tools/list" else result}

    async def _collect(self, method: str, key: str, client: Client) -> Json:
        return {"result": await self._aggregate.collect(method, key, client.audience)}

    async def _introduced(self, result: Json, *, modern: bool) -> Json:
        """What we are, rather than what handlers the SDK found. Both eras are offered to a client that asks first."""
        said = {**result, **await self._aggregate.introduction()}
        if modern:
            legacy = () if self._era == "modern" else reversed(HANDSHAKE_PROTOCOL_VERSIONS)
            said["supportedVersions"] = [*MODERN_PROTOCOL_VERSIONS, *legacy]
        return said

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """The input schema of a tool as it is advertised: with it the SDK checks `Mcp-Param-*` headers (SEP-2243)."""
        return self._aggregate.schema(name)


def as_is(result: Json) -> Json:
    """What a client sees that reads every schema."""
    return result


def serve(
    aggregate: Aggregate, feed: Feed, version: str, era: Era = "auto", shown: Callable[[Json], Json] = as_is
) -> Server[Any]:
    """The SDK server that fronts this aggregate, on any transport."""
    relay = Relay(aggregate, feed, era, shown)
    server: Server[Any] = Server("etmcp", version=version, title="ETMCP", get_tool_input_schema=relay.schema)
    server.middleware.append(relay)
    return server


def _unsupported(requested: object, supported: Any) -> MCPError:
    data = {"supported": list(supported), "requested": str(requested)}
    return MCPError(UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", data)


def _failed(method: str, text: str, meta: Json | None) -> Json:
    """A tool error that the model can read; for other methods raises `MCPError`."""
    if method != "tools/call":
        raise MCPError(INTERNAL_ERROR, text, meta)
    return {"content": [{"type": "text", "text": text}], "isError": True} | ({"_meta": meta} if meta else {})


def _completed(method: str, result: Json) -> Json:
    """With the members that the modern era requires and a legacy upstream does not send."""
    uncached: Json = UNCACHED if method == "resources/read" and result.get("resultType") != "input_required" else {}
    return {"resultType": "complete", **uncached, **result}
