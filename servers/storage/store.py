"""What the storage server needs of a store: versioned objects of users who never see each other.

Nothing here or in an implementation knows MCP or who may act as whom.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from attest.encoding import sha256_hex

MAX_PATH = 512
MAX_MEDIA_TYPE = 200


class StoreError(Exception):
    """Refused, or cannot be done; nothing was changed.

    `code`: `not-found`, `conflict` (another version is current), `name`, `too-large`, `quota`, `corrupt` (the row was
    tampered with or belongs elsewhere), `unavailable` (the disk).
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds for each user. `total_bytes` counts all versions that are kept."""

    total_bytes: int = 256 << 20
    objects: int = 10_000
    versions: int = 20
    object_bytes: int = 2 << 20  # in base64, sealed and in base64 again it fits the 4 MiB of an HTTP request

    def document(self) -> dict[str, Any]:
        """The bounds as JSON."""
        return {"version": 1, "quota": asdict(self)}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one object, without its bytes. Numbers rise with every put of the user, whatever the path.

    `is_text`: the bytes are UTF-8. Times in milliseconds; `expires_at` of the newest version is that of the object.
    """

    path: str
    number: int
    media_type: str
    is_text: bool
    size: int
    sha256: str
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to be stored, and what they are."""

    data: bytes
    media_type: str
    is_text: bool

    def version(self, path: str, number: int, now: int, lifetime: int | None) -> Version:
        """These bytes as a version of an object."""
        ends = None if lifetime is None else now + lifetime
        size, digest = len(self.data), sha256_hex(self.data)
        return Version(path, number, self.media_type, self.is_text, size, digest, now, ends)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list in order of path; `more` where it goes on after its last entry."""

    entries: Sequence[Version]
    more: bool
    total: int


class Store(Protocol):
    """What is answered is on disk. An object past its time is as if it had never been."""

    async def put(
        self, user: str, path: str, content: Content, *, lifetime: int | None = None, if_version: int | None = None
    ) -> tuple[Version, bool]:
        """Store a new version and tell whether the object is new.

        `lifetime` in milliseconds, None for ever. `if_version` is the number that must be current, 0 for none.
        """
        ...

    async def get(self, user: str, path: str, number: int | None = None) -> tuple[Version, bytes]:
        """One version, the newest without `number`."""
        ...

    async def delete(self, user: str, path: str, if_version: int | None = None) -> Version:
        """Remove the object with all versions; return the newest."""
        ...

    async def history(self, user: str, path: str, limit: int) -> Sequence[Version]:
        """The versions that are kept, newest first."""
        ...

    async def page(self, user: str, prefix: str = "", after: str = "", limit: int = 100) -> Page:
        """The newest version of each object whose path starts with `prefix` and comes after `after`."""
        ...

    async def sweep(self) -> frozenset[bytes]:
        """Remove every object past its time; return the tags of the users who had one."""
        ...


def check_path(path: str) -> None:
    """Refuse a path that would not survive in a URI; raises `StoreError("name")`."""
    segments = path.split("/")
    if not 0 < len(path) <= MAX_PATH or not path.isprintable():
        raise StoreError("name", f"a path is 1 to {MAX_PATH} printable characters")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise StoreError("name", "a path has no empty, '.' or '..' part; write it like notes/today.md")


def check_content(content: Content, quota: Quota) -> None:
    """Raises `StoreError`: `name` for the media type, `too-large`."""
    media_type = content.media_type
    if (
        not (media_type.isascii() and media_type.isprintable() and "/" in media_type)
        or len(media_type) > MAX_MEDIA_TYPE
    ):
        raise StoreError("name", f"a media type is like text/plain, at most {MAX_MEDIA_TYPE} ASCII characters")
    if len(content.data) > quota.object_bytes:
        raise StoreError("too-large", f"{len(content.data)} bytes; an object has at most {quota.object_bytes}")
