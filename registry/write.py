"""The writing half of the HTTP API: publish and status as the official API has them, and the receipt log.

Bodies are the official ones. What proves the right to act stands in them under `_meta`, and is not part of what is
kept: `com.etmcp/authorization` = `{nonce, signature}`, to publish also `manifest` and, if need be, `publisher`. Without
it the answer is 401 with a challenge. Only programs of this machine may write: Host and Origin are checked as for MCP.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from attest.canonical import parse
from attest.errors import CanonicalError
from registry.api import error
from registry.catalogue.publish import Challenged
from registry.domains.lookup import list_of
from registry.errors import Refused, RegistryError
from registry.submit import Desk, told

AUTHORIZATION = "com.etmcp/authorization"
MAX_BODY = 2 * 1024 * 1024

Json = dict[str, Any]
Act = Callable[[Request, Json], Awaitable[Json]]


def routes(desk: Desk, security: TransportSecuritySettings) -> list[Route]:
    """`POST /v0.1/publish`, `PATCH .../status`, `POST /v0.1/x/com.etmcp/log`; versions are never replaced."""
    guard = TransportSecurityMiddleware(security)

    async def publish(_: Request, body: Json) -> Json:
        server, given = _split(body)
        return await desk.publish(server, given.get("manifest"), publisher=_text(given, "publisher"), **_proof(given))

    async def status(request: Request, body: Json) -> Json:
        rest, given = _split(body)
        name, version = request.path_params["name"], request.path_params.get("version", "")
        wanted = (_text(rest, "status"), _text(rest, "statusMessage"))
        changed = await desk.status(name, version, *wanted, **_proof(given))
        return changed[0] if version else {"updatedCount": len(changed), "servers": changed}

    async def log(_: Request, body: Json) -> Json:
        return await desk.log_receipts(list_of(body.get("receipts")))

    async def refuse(_: Request, __: Json) -> Json:
        raise Refused("no-such-operation", "versions never change here: publish another, or change the status")

    def route(path: str, method: str, act: Act) -> Route:
        async def endpoint(request: Request) -> Response:
            return await guard.validate_request(request, is_post=method != "DELETE") or await _answer(request, act)

        return Route(path, endpoint, methods=[method])

    one = "/v0.1/servers/{name:path}/versions/{version}"
    return [
        route("/v0.1/publish", "POST", publish),
        route(f"{one}/status", "PATCH", status),
        route("/v0.1/servers/{name:path}/status", "PATCH", status),
        route("/v0.1/x/com.etmcp/log", "POST", log),
        route(one, "PUT", refuse),
        route(one, "DELETE", refuse),
    ]


async def _answer(request: Request, act: Act) -> Response:
    try:
        return JSONResponse(await act(request, await _body(request)))
    except Challenged as e:
        return JSONResponse({"error": e.detail, "code": e.code, **told(e)}, 401)
    except RegistryError as e:
        return error(e)


async def _body(request: Request) -> Json:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise Refused("oversized", f"a request holds at most {MAX_BODY} bytes")
    try:
        value = parse(data or b"{}")
    except CanonicalError as e:
        raise Refused("ambiguous-json" if e.code != "not-json" else "not-json", e.detail) from e
    if not isinstance(value, dict):
        raise Refused("not-json", "the body is not an object")
    return cast(Json, value)


def _split(body: Json) -> tuple[Json, Json]:
    """The official body, and what we need beside it."""
    meta = body.get("_meta")
    if not isinstance(meta, dict) or AUTHORIZATION not in meta:
        return body, {}
    rest = {name: value for name, value in cast(Json, meta).items() if name != AUTHORIZATION}
    given = cast(Json, meta)[AUTHORIZATION]
    if not isinstance(given, dict):
        raise Refused("malformed-signature", f"{AUTHORIZATION} is not an object")
    bare = {name: value for name, value in body.items() if name != "_meta"}
    return bare | ({"_meta": rest} if rest else {}), cast(Json, given)


def _text(members: Json, name: str) -> str:
    value = members.get(name, "")
    if not isinstance(value, str):
        raise Refused("malformed-request", f"{name} is not a string")
    return value


def _proof(given: Json) -> dict[str, str]:
    return {name: _text(given, name) for name in ("nonce", "signature")}
