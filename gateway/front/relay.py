"""The one middleware of the SDK's server. The chain ends here, so no model stands between client and upstream."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    JSONRPCNotification,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from attest import wire
from gateway.aggregate import Aggregate, Client, Unknown
from gateway.errors import UserError, Withheld
from gateway.upstream import Downlink, Json, UpstreamError, refuse
from gateway.upstream.session import ClientFace

Context = ServerRequestContext[Any, Any]
Handler = Callable[[Json, Client], Awaitable[Json]]
CAPABILITIES: Json = {
    "tools": {},
    "prompts": {},
    "resources": {},
    "completions": {},
    "extensions": {wire.EXTENSION: {"version": 1, "evidence": wire.EVIDENCE_URI + "{server}/{nonce}"}},
}
INSTRUCTIONS = (
    "Results come from several servers through ETMCP. Each carries a receipt in _meta; one whose receipt fails is "
    "withheld and reported as an error."
)


class Relay:
    """Answers every request but the handshakes from the aggregate."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._aggregate = aggregate
        self._handlers: dict[str, Handler] = {
            "tools/list": lambda _params, _client: self._list("tools/list"),
            "prompts/list": lambda _params, _client: self._list("prompts/list"),
            "tools/call": lambda params, client: aggregate.named("tools/call", params, client),
            "prompts/get": lambda params, client: aggregate.named("prompts/get", params, client),
            "resources/list": lambda _params, _client: self._collect("resources/list", "resources"),
            "resources/templates/list": lambda _p, _c: self._collect("resources/templates/list", "resourceTemplates"),
            "resources/read": aggregate.read,
            "completion/complete": aggregate.complete,
        }

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """See `ServerMiddleware`."""
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        if ctx.method in ("initialize", "server/discover"):
            return _introduce(cast(Json, await call_next(ctx)), modern=modern)
        if ctx.request_id is None or (not modern and ctx.session.client_params is None):
            return await call_next(ctx)  # before the handshake the SDK owns the refusal
        if ctx.method == "logging/setLevel" and not modern:
            return {}
        handler = self._handlers.get(ctx.method)
        if handler is None:
            return await call_next(ctx)
        params = dict(ctx.params or {})
        reply = await self._guarded(handler, ctx.method, params, _client(ctx, params, modern=modern))
        if (error := reply.get("error")) is not None:
            code, message = error.get("code"), error.get("message")
            code = code if type(code) is int else INTERNAL_ERROR
            raise MCPError(code, message if isinstance(message, str) else "", error.get("data"))
        result = cast(Json, reply["result"])
        return _completed(ctx.method, result) if modern else result

    async def _guarded(self, handler: Handler, method: str, params: Json, client: Client) -> Json:
        """A failure as the client should see it: a tool error that the model can read, or a JSON-RPC error."""
        try:
            return await handler(params, client)
        except Unknown as e:
            return {"error": {"code": INVALID_PARAMS, "message": str(e)}}
        except Withheld as e:
            verdict = {"verdict": "withheld", "code": e.code, "server": e.server}
            if method == "tools/call":
                content = [{"type": "text", "text": str(e)}]
                return {"result": {"content": content, "isError": True, "_meta": {wire.VERIFICATION: verdict}}}
            return {"error": {"code": INTERNAL_ERROR, "message": str(e), "data": {wire.VERIFICATION: verdict}}}
        except (UpstreamError, UserError) as e:
            text = f"etmcp: {self._aggregate.told(e) if isinstance(e, UpstreamError) else e}"
            if method == "tools/call":
                return {"result": {"content": [{"type": "text", "text": text}], "isError": True}}
            return {"error": {"code": INTERNAL_ERROR, "message": text}}

    async def _list(self, method: str) -> Json:
        return {"result": {**await self._aggregate.merged(method), "ttlMs": 0, "cacheScope": "private"}}

    async def _collect(self, method: str, key: str) -> Json:
        return {"result": {**await self._aggregate.collect(method, key), "ttlMs": 0, "cacheScope": "private"}}


def serve(aggregate: Aggregate, version: str) -> Server[Any]:
    """The SDK server that fronts this aggregate, on any transport."""
    server: Server[Any] = Server("etmcp", version=version, title="ETMCP", instructions=INSTRUCTIONS)
    server.middleware.append(Relay(aggregate))
    return server


def _introduce(result: Json, *, modern: bool) -> Json:
    """What we are, rather than what handlers the SDK found. Both eras are offered to a client that asks first."""
    said = {**result, "capabilities": CAPABILITIES}
    if modern:
        said["supportedVersions"] = [*MODERN_PROTOCOL_VERSIONS, *reversed(HANDSHAKE_PROTOCOL_VERSIONS)]
    return said


def _completed(method: str, result: Json) -> Json:
    """With the members that the modern era requires and a legacy upstream does not send."""
    uncached: Json = {"ttlMs": 0, "cacheScope": "private"} if method == "resources/read" else {}
    return {"resultType": "complete", **uncached, **result}


def _client(ctx: Context, params: Json, *, modern: bool) -> Client:
    """The client as it declared itself on this request. A legacy one is declared to upstreams as able to do nothing,
    since nothing that an upstream asks could be brought to it."""
    meta = params.get("_meta")
    told = cast(Json, meta) if isinstance(meta, dict) else {}
    face = ClientFace({}, {"name": "etmcp", "version": "1"})
    if modern:
        capabilities, info = told.get(CLIENT_CAPABILITIES_META_KEY), told.get(CLIENT_INFO_META_KEY)
        face = ClientFace(
            cast(Json, capabilities) if isinstance(capabilities, dict) else {},
            cast(Json, info) if isinstance(info, dict) else face.info,
            told.get(LOG_LEVEL_META_KEY),
        )
    call = told.get(wire.CALL)
    nonce = cast(Json, call).get("clientNonce") if isinstance(call, dict) else None
    return Client(face, nonce if isinstance(nonce, str) and len(nonce) <= 256 else None, _down(ctx))


def _down(ctx: Context) -> Downlink:
    async def deliver(message: Json) -> None:
        raw: Any = JSONRPCNotification.model_validate({"jsonrpc": "2.0", **message})
        await ctx.session.send_notification(raw, ctx.request_id)

    return Downlink(deliver, refuse)
