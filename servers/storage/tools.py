"""What the six tools do and answer."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, cast

from mcp_types import CallToolResult

from servers.flat import ArgumentError, answered, refused
from servers.storage.arguments import Delete, Get, History, List, Put, Result
from servers.storage.feeds import Feeds
from servers.storage.results import ResultRefused, Results, refuse_view, view_of
from servers.storage.store import Content, Store, StoreError, Version
from servers.storage.uris import uri_of

Json = dict[str, Any]


class Tools:
    """What the tools do for one user at a time."""

    def __init__(self, store: Store, feeds: Feeds, results: Results) -> None:
        self._store, self._feeds, self._results = store, feeds, results
        self._run = {
            "storage_put": (Put, self._put),
            "storage_get": (Get, self._get),
            "storage_list": (List, self._list),
            "storage_delete": (Delete, self._delete),
            "storage_history": (History, self._history),
            "storage_result": (Result, self._result),
        }

    def __contains__(self, name: str) -> bool:
        return name in self._run

    async def call(self, name: str, arguments: Mapping[str, Any], user: str) -> CallToolResult:
        """The result of one call; what the caller can mend comes as a tool error with a stable code."""
        model, run = self._run[name]
        try:
            return answered(await run(user, cast(Any, model.read(arguments))))
        except ArgumentError as e:
            return refused("arguments", e.detail)
        except StoreError as e:
            return refused(e.code, e.detail)
        except ResultRefused as e:
            return refused("refused", e.detail, verdict=e.verdict)

    async def _put(self, user: str, put: Put) -> Json:
        refuse_view(put.path)
        if (put.text is None) == (put.base64 is None):
            raise StoreError("arguments", "give the content as text or as base64, one of the two")
        if put.text is not None:
            content = Content(put.text.encode(), put.media_type or "text/plain", is_text=True)
        else:
            content = Content(_decode(put.base64 or ""), put.media_type or "application/octet-stream", is_text=False)
        lifetime = put.expires_in * 1000 if put.expires_in else None
        version, new = await self._store.put(user, put.path, content, lifetime=lifetime, if_version=put.if_version)
        await self._changed(user, put.path, listed=new)
        return describe(user, version) | {"created": new}

    async def _get(self, user: str, get: Get) -> Json:
        version, data = await self._store.get(user, get.path, get.version)
        content = {"text": data.decode()} if version.is_text else {"base64": base64.b64encode(data).decode()}
        return describe(user, version) | content

    async def _list(self, user: str, asked: List) -> Json:
        page = await self._store.page(user, asked.prefix or "", asked.after or "", asked.limit or 100)
        entries = [describe(user, version) for version in page.entries]
        return {"objects": entries, "total": page.total} | ({"next": page.entries[-1].path} if page.more else {})

    async def _delete(self, user: str, delete: Delete) -> Json:
        version = await self._store.delete(user, delete.path, delete.if_version)
        await self._changed(user, delete.path, listed=True)
        return {"path": version.path, "deleted": True, "version": version.number}

    async def _history(self, user: str, asked: History) -> Json:
        versions = await self._store.history(user, asked.path, asked.limit or 20)
        return {"versions": [describe(user, version) for version in versions]}

    async def _result(self, user: str, asked: Result) -> Json:
        found = await self._results.read(user, asked.receipt_id)
        return found.told | {"result": found.text, "createdAt": found.version.created_at}

    async def _changed(self, user: str, path: str, *, listed: bool) -> None:
        await self._feeds.publish(user, uri_of(user, path), listed=listed)
        if (view := view_of(path)) is not None:
            await self._feeds.publish(user, uri_of(user, view), listed=False)


def describe(user: str, version: Version) -> Json:
    """What is told of a version, besides its content. Times in milliseconds since 1970."""
    told: Json = {
        "path": version.path,
        "uri": uri_of(user, version.path),
        "version": version.number,
        "mediaType": version.media_type,
        "size": version.size,
        "sha256": version.sha256,
        "createdAt": version.created_at,
    }
    return told if version.expires_at is None else told | {"expiresAt": version.expires_at}


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise StoreError("arguments", "base64: not base64; encode the bytes with padding") from e
