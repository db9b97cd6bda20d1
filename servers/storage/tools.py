"""What the five tools do and answer."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, cast

from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError

from attest.canonical import canonical
from servers.storage.arguments import Delete, Get, History, List, Put
from servers.storage.feeds import Feeds
from servers.storage.store import Content, Store, StoreError, Version
from servers.storage.uris import uri_of

Json = dict[str, Any]


class Tools:
    """What the tools do for one user at a time."""

    def __init__(self, store: Store, feeds: Feeds) -> None:
        self._store, self._feeds = store, feeds
        self._run = {
            "storage_put": (Put, self._put),
            "storage_get": (Get, self._get),
            "storage_list": (List, self._list),
            "storage_delete": (Delete, self._delete),
            "storage_history": (History, self._history),
        }

    def __contains__(self, name: str) -> bool:
        return name in self._run

    async def call(self, name: str, arguments: Mapping[str, Any], user: str) -> CallToolResult:
        """The result of one call; what the caller can mend comes as a tool error with a stable code."""
        model, run = self._run[name]
        try:
            told = await run(user, cast(Any, model.model_validate(dict(arguments))))
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            return _failed("arguments", f"{'.'.join(map(str, first['loc'])) or name}: {first['msg']}")
        except StoreError as e:
            return _failed(e.code, e.detail)
        return _result(told)

    async def _put(self, user: str, put: Put) -> Json:
        if (put.text is None) == (put.base64 is None):
            raise StoreError("arguments", "give the content as text or as base64, one of the two")
        if put.text is not None:
            content = Content(put.text.encode(), put.media_type or "text/plain", is_text=True)
        else:
            content = Content(_decode(put.base64 or ""), put.media_type or "application/octet-stream", is_text=False)
        lifetime = put.expires_in * 1000 if put.expires_in else None
        version, new = await self._store.put(user, put.path, content, lifetime=lifetime, if_version=put.if_version)
        await self._feeds.publish(user, uri_of(user, put.path), listed=new)
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
        await self._feeds.publish(user, uri_of(user, delete.path), listed=True)
        return {"path": version.path, "deleted": True, "version": version.number}

    async def _history(self, user: str, asked: History) -> Json:
        versions = await self._store.history(user, asked.path, asked.limit or 20)
        return {"versions": [describe(user, version) for version in versions]}


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


def _result(told: Json) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=canonical(told).decode())], structured_content=told, is_error=False
    )


def _failed(code: str, detail: str) -> CallToolResult:
    told = {"error": {"code": code, "message": detail}}
    return CallToolResult(
        content=[TextContent(type="text", text=f"{code}: {detail}")], structured_content=told, is_error=True
    )
