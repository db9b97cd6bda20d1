"""The official registry's read API, version 0.1, over the catalogue (OpenAPI of 2026-01-28)."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.catalogue.importer import OFFICIAL
from registry.catalogue.store import MAX_LIMIT, Catalogue, Entry
from registry.errors import NotFound, Refused, RegistryError

MANIFEST = "com.etmcp/manifest"
STATUS = "com.etmcp/status"


STATUS_OF = {
    "challenge": 401, "wrong-key": 401, "malformed-signature": 401, "unknown-challenge": 401,
    "replayed-challenge": 401, "expired-challenge": 401,
    "unknown-namespace": 403, "malformed-key-record": 403,
    "version-exists": 409, "no-change": 409,
    "oversized": 413, "oversized-batch": 413, "lookup-failed": 503, "no-such-operation": 501,
}  # fmt: skip
"""HTTP status of a refusal, 400 for any other."""


def rfc3339(milliseconds: int) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def response_of(entry: Entry) -> dict[str, Any]:
    """One version as the API and the tools show it. The manifest is beside the official metadata, not in it."""
    official: dict[str, Any] = {
        "status": entry.status,
        "publishedAt": rfc3339(entry.published),
        "updatedAt": rfc3339(entry.updated),
        "isLatest": entry.latest,
    }
    meta: dict[str, Any] = {OFFICIAL: official}
    if entry.signed:
        meta[MANIFEST] = {"publisher": entry.signed.publisher, "leaf": entry.signed.leaf}
    if entry.changed:
        official["statusChangedAt"] = rfc3339(entry.changed.at)
        official |= {"statusMessage": entry.changed.message} if entry.changed.message else {}
        meta[STATUS] = {"leaf": entry.changed.leaf}
    return {"server": dict(entry.server), "_meta": meta}


def routes(catalogue: Catalogue) -> list[Route]:
    """`/v0.1/servers`, `.../{name}/versions`, `.../{name}/versions/{version|latest}`; names URL-encoded.

    What is deleted is there for those who say `include_deleted=true`.
    """

    def seen(entries: list[Entry], request: Request) -> list[Entry]:
        shown = [e for e in entries if e.status != "deleted" or request.query_params.get("include_deleted") == "true"]
        if not shown:
            raise NotFound("deleted", f"{entries[0].name} is deleted; ask with include_deleted=true")
        return shown

    async def servers(request: Request) -> Response:
        return _answer(lambda: _page(catalogue, request))

    async def versions(request: Request) -> Response:
        return _answer(lambda: _list(seen(catalogue.versions(request.path_params["name"]), request), ""))

    async def version(request: Request) -> Response:
        name, wanted = request.path_params["name"], request.path_params["version"]
        return _answer(lambda: response_of(seen([catalogue.get(name, wanted)], request)[0]))

    return [
        Route("/v0.1/servers", servers, methods=["GET"]),
        Route("/v0.1/servers/{name:path}/versions", versions, methods=["GET"]),
        Route("/v0.1/servers/{name:path}/versions/{version}", version, methods=["GET"]),
    ]


def _page(catalogue: Catalogue, request: Request) -> dict[str, Any]:
    query = request.query_params
    try:
        limit = int(query.get("limit", "30"))
        since = query.get("updated_since")
        updated = int(datetime.fromisoformat(since).timestamp() * 1000) if since else 0
    except (ValueError, OverflowError) as e:
        raise Refused("invalid-parameter", "limit is a number, updated_since an RFC 3339 time") from e
    if not 1 <= limit <= MAX_LIMIT:
        raise Refused("invalid-parameter", f"limit is from 1 to {MAX_LIMIT}")
    name, _, version = query.get("cursor", "").partition(":")
    found = catalogue.page(
        after=(name, version),
        limit=limit,
        part=query.get("search", ""),
        updated_since=updated,
        version=query.get("version", ""),
        deleted=bool(since) or query.get("include_deleted") == "true",
    )
    return _list(found, f"{found[-1].name}:{found[-1].version}" if len(found) == limit else "")


def _list(entries: list[Entry], cursor: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"count": len(entries)} | ({"nextCursor": cursor} if cursor else {})
    return {"servers": [response_of(entry) for entry in entries], "metadata": metadata}


def _answer(make: Callable[[], dict[str, Any]]) -> Response:
    try:
        return JSONResponse(make())
    except RegistryError as e:
        return error(e)


def error(e: RegistryError) -> Response:
    """The answer to what is refused: the sentence under `error` as the API has it, our stable code beside it."""
    status = 404 if isinstance(e, NotFound) else STATUS_OF.get(e.code, 400 if isinstance(e, Refused) else 500)
    return JSONResponse({"error": e.detail, "code": e.code}, status)
