"""Large results: kept in memory for the session that made them, named by their digest, read as resources."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp_types import BlobResourceContents, ReadResourceResult, ResourceTemplate, TextResourceContents
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from attest.encoding import b64encode, sha256_hex

PREFIX = "etmcp-tee://results/"
TEMPLATE = ResourceTemplate(
    name="result",
    title="A large result",
    uri_template=PREFIX + "{sha256}",
    description="What a call of this session returned as a link, by the SHA-256 of its bytes. Kept in memory only.",
)
MAX_BYTES = 64 << 20
"""Of one session; the oldest go first."""
MAX_SESSIONS = 64
"""Sessions with something kept."""


@dataclass(frozen=True)
class Kept:
    """One large part of a result."""

    uri: str
    sha256: str
    media_type: str
    data: bytes

    def contents(self) -> ReadResourceResult:
        """As the answer to `resources/read`."""
        if self.media_type.startswith("text/") or self.media_type == "application/json":
            text = TextResourceContents(uri=self.uri, mime_type=self.media_type, text=self.data.decode())
            return ReadResourceResult(contents=[text])
        blob = BlobResourceContents(uri=self.uri, mime_type=self.media_type, blob=b64encode(self.data))
        return ReadResourceResult(contents=[blob])


class Shelf:
    """What one session keeps."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        # By digest, oldest first, and their bytes together; changed by `keep` alone.
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size = 0

    def keep(self, data: bytes, media_type: str) -> Kept:
        """Keep it, and let go of the oldest where there is no room."""
        digest = sha256_hex(data)
        if (old := self._kept.pop(digest, None)) is not None:
            self._size -= len(old.data)
        kept = self._kept[digest] = Kept(PREFIX + digest, digest, media_type, data)
        self._size += len(data)
        while self._size > self._most and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._size -= len(gone.data)
        return kept

    def get(self, uri: str) -> Kept | None:
        """What is kept under this URI."""
        return self._kept.get(uri.removeprefix(PREFIX)) if uri.startswith(PREFIX) else None


class Shelves:
    """A shelf per legacy session, and one that all modern requests share, which belong to no session."""

    def __init__(self) -> None:
        # Least recently used first; None is the shared one. Changed by `of` alone, and when a connection ends.
        self._shelves: OrderedDict[Connection | None, Shelf] = OrderedDict()

    def of(self, ctx: ServerRequestContext[Any, Any]) -> Shelf:
        """The shelf of whoever asks."""
        owner = None
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            # The SDK shows handlers a proxy per request; only the connection behind it can be told from another.
            owner = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
        if owner not in self._shelves:
            self._shelves[owner] = Shelf()
            if owner is not None:
                owner.exit_stack.callback(self._shelves.pop, owner, None)
            if len(self._shelves) > MAX_SESSIONS:
                self._shelves.popitem(last=False)
        self._shelves.move_to_end(owner)
        return self._shelves[owner]
