"""From an outcome to an MCP result: small parts in it, images as images, large parts as links with their digest."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent

from attest.canonical import canonical
from attest.encoding import b64encode, sha256_hex
from servers.flat import one_line
from servers.tee.replay import transcript
from servers.tee.results import Kept, Shelf
from servers.tee.sandbox import Outcome

INLINE_BYTES = 64 << 10
"""The largest part of a result that is in it; what is larger is a link."""
TOTAL_BYTES = 256 << 10
"""All parts that are in one result; what comes after is a link."""
IMAGE_BYTES = 4 << 20
"""The largest image that comes as one."""
MAX_LINKS = 32
"""Files that are links of their own; with more, all of them are one document."""
_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

ENVELOPE: dict[str, Any] = {
    "status": {"type": "string", "description": "ok, or why there is no value"},
    "error": {"type": "object", "description": "Type, message and the program's own traceback"},
    "stdout": {"type": "string", "description": "What the program printed"},
    "stderr": {"type": "string"},
    "truncated": {"type": "boolean", "description": "Whether what was printed is cut"},
    "files": {"type": "array", "description": "Files made or changed", "items": {"type": "object"}},
    "resources": {"type": "array", "description": "Parts too large for here, by digest", "items": {"type": "object"}},
}


def output_schema(value: dict[str, Any]) -> dict[str, Any]:
    """The output schema of a function whose value has this one."""
    return {"type": "object", "properties": {"value": value, **ENVELOPE}, "required": ["status"]}


def failed(message: str) -> CallToolResult:
    """A tool error in one line."""
    return CallToolResult(content=[TextContent(type="text", text=one_line(message))], is_error=True)


def answer(outcome: Outcome, shelf: Shelf) -> CallToolResult:
    """The result of a call; what is too large for it goes to the shelf."""
    parts = _Parts(shelf)
    told: dict[str, Any] = {"status": outcome.status}
    if outcome.status == "ok":
        told |= parts.data("value", outcome.value)
    if outcome.error is not None:
        told["error"] = {"type": outcome.error.type, "message": outcome.error.message}
        if outcome.error.traceback:
            told["error"]["traceback"] = outcome.error.traceback
    for name, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
        if text:
            told |= parts.text(name, text)
    if outcome.truncated:
        told["truncated"] = True
    if outcome.files:
        told |= parts.files(outcome.files)
    if parts.resources:
        told["resources"] = parts.resources
    text = TextContent(type="text", text=canonical(told).decode())
    return CallToolResult(
        content=[text, *parts.content],
        structured_content=told,
        is_error=outcome.status != "ok",
        # A model has the value; what it was made from is for whoever repeats the call.
        _meta=transcript.carried(outcome.transcript),
    )


class _Parts:
    """Shares the room in one result out, first come first served."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._left = shelf, TOTAL_BYTES
        self.content: list[ContentBlock] = []
        self.resources: list[dict[str, Any]] = []

    def data(self, name: str, value: Any) -> dict[str, Any]:
        """A JSON value under its name, or nothing and a link."""
        encoded = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return {name: value} if self._fits(len(encoded)) else self._linked(name, encoded, "application/json")

    def text(self, name: str, text: str) -> dict[str, Any]:
        """A text under its name, or nothing and a link."""
        encoded = text.encode()
        return {name: text} if self._fits(len(encoded)) else self._linked(name, encoded, "text/plain")

    def files(self, files: Mapping[str, bytes]) -> dict[str, Any]:
        """The files, each as text, base64, an image or a link."""
        if len(files) > MAX_LINKS and sum(map(len, files.values())) + 64 * len(files) > self._left:
            every = [{"name": name, "base64": b64encode(data)} for name, data in files.items()]
            return self.data("files", every)
        return {"files": [self._file(name, data) for name, data in files.items()]}

    def _file(self, name: str, data: bytes) -> dict[str, Any]:
        image = next((kind for magic, kind in _IMAGES.items() if data.startswith(magic)), None)
        if image is not None and len(data) <= IMAGE_BYTES:
            self.content.append(ImageContent(type="image", data=b64encode(data), mime_type=image))
            return {"name": name, "mediaType": image, "sha256": sha256_hex(data), "size": len(data)}
        try:
            member, kind = {"text": data.decode()}, "text/plain"
        except UnicodeDecodeError:
            member, kind = {"base64": base64.b64encode(data).decode()}, "application/octet-stream"
        if self._fits(len(data)):
            return {"name": name, **member}
        return {"name": name, **self._link(name, self._shelf.keep(data, image or kind))}

    def _fits(self, size: int) -> bool:
        if size > min(INLINE_BYTES, self._left):
            return False
        self._left -= size
        return True

    def _linked(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        self.resources.append({"name": name, **self._link(name, self._shelf.keep(data, media_type))})
        return {}

    def _link(self, name: str, kept: Kept) -> dict[str, Any]:
        link = ResourceLink(
            type="resource_link", uri=kept.uri, name=name, mime_type=kept.media_type, size=len(kept.data)
        )
        self.content.append(link)
        return {"uri": kept.uri, "sha256": kept.sha256, "size": len(kept.data), "mediaType": kept.media_type}
