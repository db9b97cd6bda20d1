"""Import from a URL: the official API page by page, or one JSON Lines document. What cannot be read is reported."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import aiohttp

from attest.canonical import canonical, parse
from attest.errors import CanonicalError
from registry.catalogue.importer import BATCH, Importer, Lines
from registry.errors import Refused

LIMIT = 100
ATTEMPTS = 3
MOST_PAGES = 20_000
MAX_PAGE = 32 * 1024 * 1024
MAX_DOCUMENT = 2 * 1024 * 1024 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Page:
    """`after` is the cursor of the next page, empty where this is the last, None where that cannot be known."""

    records: list[bytes]
    after: str | None
    problem: Refused | None = None


class Fetcher:
    """`pause` is how many seconds to wait before a page is asked for a second time; twice that before the third."""

    def __init__(self, pool: aiohttp.ClientSession, importer: Importer, *, pause: float = 1.0) -> None:
        self._pool, self._importer, self._pause = pool, importer, pause

    async def fetch(self, url: str) -> None:
        """Import `url`: the API where its path is empty or ends in `/servers`, else JSON Lines.

        Raises `Refused("invalid-url")`.
        """
        try:
            where = urlsplit(url)
            if where.scheme not in ("http", "https") or not where.hostname:
                raise ValueError("not a URL of http or https")
        except ValueError as e:
            raise Refused("invalid-url", f"{url[:200]}: {e}; name a registry, its /v0.1/servers, or a document") from e
        if where.path in ("", "/"):
            where = where._replace(path="/v0.1/servers")
        await (self._pages(where) if where.path.endswith("/servers") else self._document(where))

    async def _pages(self, url: SplitResult) -> None:
        """Walk the cursors; an import that ended early goes on where it did.

        A page that cannot be read is asked for again record by record, so that one bad record costs no others.
        """
        source, seen, one_by_one = url.geturl(), set[str](), 0
        cursor: str = self._importer.left_at(source)
        self._importer.report.resumed = bool(cursor)
        for _ in range(MOST_PAGES):
            page = await self._page(url, cursor, 1 if one_by_one else LIMIT)
            if page.problem and not one_by_one:
                one_by_one = LIMIT
                continue
            if page.problem:
                self._importer.report.pages.append((cursor, page.problem.code, page.problem.detail))
            if page.after is None:
                self._importer.take([], source, cursor)
                return
            self._importer.take(page.records, source, page.after)
            if not page.after:
                return
            seen.add(cursor)
            if page.after in seen:
                self._importer.report.pages.append((page.after, "bad-page", "the pages go round in a circle"))
                self._importer.take([], source, "")
                return
            cursor, one_by_one = page.after, max(one_by_one - 1, 0)
        self._importer.report.pages.append((cursor, "too-many-pages", f"after {MOST_PAGES}; import again to go on"))

    async def _page(self, url: SplitResult, cursor: str, limit: int) -> _Page:
        query = dict(parse_qsl(url.query)) | {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        asked = url._replace(query=urlencode(query))
        try:
            data = b"".join([chunk async for chunk in self._get(asked, MAX_PAGE)])
        except Refused as e:
            return _Page([], None, e)
        return _read(data)

    async def _document(self, url: SplitResult) -> None:
        lines, pending = Lines(), list[bytes]()
        try:
            async for chunk in self._get(url, MAX_DOCUMENT):
                pending += lines.feed(chunk)
                while len(pending) >= BATCH:
                    self._importer.take(pending[:BATCH])
                    del pending[:BATCH]
            pending += lines.end()
        except Refused as e:
            self._importer.report.pages.append(("", e.code, e.detail))
        self._importer.take(pending)

    async def _get(self, url: SplitResult, limit: int) -> AsyncGenerator[bytes]:
        """The body. Tried again only as long as nothing of it was handed on. Raises `Refused`."""
        for attempt in range(1, ATTEMPTS + 1):
            length = 0
            try:
                async with self._pool.get(url.geturl(), max_redirects=5, timeout=TIMEOUT) as answer:
                    if answer.status != 200:
                        raise _Failed(
                            f"HTTP status {answer.status}", answer.status in (408, 429) or answer.status > 499
                        )
                    async for chunk in answer.content.iter_chunked(1 << 16):
                        length += len(chunk)
                        if length > limit:
                            raise _Failed(f"more than {limit} bytes", again=False)
                        yield chunk
                return
            except (aiohttp.ClientError, OSError, _Failed) as e:  # a TimeoutError is an OSError
                again = e.again if isinstance(e, _Failed) else not length
                if attempt == ATTEMPTS or not again:
                    why = str(e) if isinstance(e, _Failed) else f"{type(e).__name__} {e}".strip()
                    raise Refused("bad-page", f"{url.hostname}: {why}"[:300]) from e
            await asyncio.sleep(self._pause * attempt)


class _Failed(Exception):
    """One attempt, and whether another may do better."""

    def __init__(self, why: str, again: bool) -> None:
        super().__init__(why)
        self.again = again


def _read(data: bytes) -> _Page:
    try:
        return _members(parse(data), canonically=True)
    except CanonicalError as e:
        problem = Refused("bad-page", f"the page is not one unambiguous JSON document: {e.detail}")
    try:  # its cursor may still lead on
        return _Page([], _members(json.loads(data), canonically=False).after, problem)
    except (ValueError, RecursionError):
        return _Page([], None, problem)


def _members(value: Any, *, canonically: bool) -> _Page:
    page = cast(Json, value) if isinstance(value, dict) else {}
    servers, metadata = page.get("servers"), page.get("metadata")
    after: object = cast(Json, metadata).get("nextCursor") if isinstance(metadata, dict) else None
    if after is not None and not isinstance(after, str):
        return _Page([], None, Refused("bad-page", "its cursor is not a string"))
    if not isinstance(servers, list):
        return _Page([], after, Refused("bad-page", "it has no list of servers"))
    records = [canonical(record) for record in cast(list[Any], servers)] if canonically else []
    return _Page(records, after or "")
