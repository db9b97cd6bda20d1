"""The resources of one user at a time: list, read, complete."""

import base64
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    BlobResourceContents,
    CompleteRequestParams,
    Completion,
    ListResourcesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from servers.storage.results import ResultRefused, Results, receipt_of
from servers.storage.store import Store, StoreError, Version
from servers.storage.uris import RESULT_TEMPLATE, TEMPLATE, VERSION_TEMPLATE, locate, uri_of

PAGE = 200
COMPLETIONS = 100
TEMPLATES = (
    ResourceTemplate(name="object", uri_template=TEMPLATE, description="An object of the current user"),
    ResourceTemplate(name="version", uri_template=VERSION_TEMPLATE, description="An object at one of its versions"),
    ResourceTemplate(
        name="result",
        uri_template=RESULT_TEMPLATE,
        mime_type="application/json",
        description="A result that was kept with its receipt, checked when read: `_meta` says the verdict",
    ),
)

_TEMPLATES = {template.uri_template for template in TEMPLATES}


class Resources:
    """What belongs to another user is answered by the same look-up, in the same words, as what does not exist."""

    def __init__(self, store: Store, results: Results) -> None:
        self._store, self._results = store, results

    async def page(self, user: str, cursor: str | None) -> ListResourcesResult:
        """Part of the list, in order of path."""
        try:
            after = base64.urlsafe_b64decode(cursor or "").decode()
        except ValueError as e:
            raise MCPError(INVALID_PARAMS, "the cursor is not one of ours") from e
        page = await self._store.page(user, after=after, limit=PAGE)
        following = base64.urlsafe_b64encode(page.entries[-1].path.encode()).decode() if page.more else None
        return ListResourcesResult(resources=[_resource(user, entry) for entry in page.entries], next_cursor=following)

    async def read(self, user: str, uri: str) -> ReadResourceResult:
        """One object, or one of its versions."""
        path, number = locate(uri, user)
        try:
            if (receipt_id := receipt_of(path)) is not None:
                return await self._result(user, uri, receipt_id, number)
            version, data = await self._store.get(user, path, number)
        except StoreError as e:
            code = INVALID_PARAMS if e.code == "not-found" else INTERNAL_ERROR
            raise MCPError(code, f"{uri}: {e.detail}", {"uri": uri, "code": e.code}) from e
        except ResultRefused as e:
            said = {"uri": uri, "code": "refused", "verdict": e.verdict}
            raise MCPError(INTERNAL_ERROR, f"{uri}: {e.detail}", said) from e
        told: dict[str, Any] = {"uri": uri, "mime_type": version.media_type, "_meta": _meta(version)}
        if version.is_text:
            return ReadResourceResult(contents=[TextResourceContents(text=data.decode(), **told)])
        return ReadResourceResult(contents=[BlobResourceContents(blob=base64.b64encode(data).decode(), **told)])

    async def _result(self, user: str, uri: str, receipt_id: str, number: int | None) -> ReadResourceResult:
        found = await self._results.read(user, receipt_id, number)
        told: dict[str, Any] = {"uri": uri, "mime_type": "application/json"}
        meta = _meta(found.version) | found.told
        return ReadResourceResult(contents=[TextResourceContents(text=found.text, **told, _meta=meta)])

    async def complete(self, user: str, params: CompleteRequestParams) -> Completion:
        """The user's own name, paths and versions; nothing for a template that is not ours."""
        name, typed = params.argument.name, params.argument.value
        known = (params.context.arguments if params.context else None) or {}
        if getattr(params.ref, "uri", None) not in _TEMPLATES or known.get("user", user) != user:
            return Completion(values=[])
        if name == "path":
            page = await self._store.page(user, prefix=typed, limit=COMPLETIONS)
            return Completion(values=[entry.path for entry in page.entries], total=page.total, has_more=page.more)
        if name == "receiptId":
            ids, more = await self._results.ids(user, typed, COMPLETIONS)
            return Completion(values=ids, has_more=more)
        values = [user] if name == "user" else []
        if name == "version":
            values = await self._versions(user, known.get("path", ""))
        return Completion(values=[value for value in values if value.startswith(typed)])

    async def _versions(self, user: str, path: str) -> list[str]:
        try:
            return [str(version.number) for version in await self._store.history(user, path, COMPLETIONS)]
        except StoreError:
            return []


def _resource(user: str, version: Version) -> Resource:
    told: dict[str, Any] = {"mime_type": version.media_type, "size": version.size, "_meta": _meta(version)}
    return Resource(uri=uri_of(user, version.path), name=version.path, **told)


def _meta(version: Version) -> dict[str, Any]:
    expiry = {} if version.expires_at is None else {"expiresAt": version.expires_at}
    return {"version": version.number, **expiry}
