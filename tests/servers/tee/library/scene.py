"""What these tests share: the server as a process, function folders, and a few documents."""

import io
import json
import sys
import zipfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult

from gateway.config import SOFTWARE
from servers.tee.__main__ import main

Json = dict[str, Any]
TEE = str(Path(sys.executable).with_name("etmcp-tee"))
HINTS = {"read_only": True, "destructive": False, "idempotent": True, "open_world": False}


@asynccontextmanager
async def tee(cache: Path, *options: str, era: str = "auto", **client: Any) -> AsyncGenerator[Client]:
    """A client of a server of its own over stdio."""
    server = StdioServerParameters(command=TEE, args=["--cache", str(cache), "stdio", *SOFTWARE, *options])
    async with Client(stdio_client(server), mode=era, **client) as connected:
        yield connected


def told(result: CallToolResult) -> Json:
    """All that a call returned, as JSON."""
    assert result.structured_content is not None, result.content
    return result.structured_content


def value(result: CallToolResult) -> Any:
    """The value of a call that went well."""
    assert not result.is_error, result.content
    return told(result)["value"]


def words(result: CallToolResult) -> str:
    """The text of a call that did not."""
    assert result.is_error, result.content
    return " ".join(block.text for block in result.content if block.type == "text")


def folder(place: Path, code: str = "def main():\n    return 1\n", *, toml: str = "", **members: Any) -> Path:
    """A function's folder; `members` replace or, as None, remove what its `function.toml` says."""
    says: Json = {
        "name": place.name,
        "version": "1.0.0",
        "title": "A test",
        "description": "Returns something.",
        "tier": "wasm",
        "annotations": HINTS,
        "program": {"language": "python", "file": "main.py"},
        "input": {"type": "object", "properties": {}},
    }
    says = {name: member for name, member in (says | members).items() if member is not None}
    place.mkdir(parents=True)
    (place / "main.py").write_text(code)
    (place / "function.toml").write_text("".join(f"{name} = {_toml(each)}\n" for name, each in says.items()) + toml)
    return place


def run(*arguments: object) -> int:
    """`etmcp-tee` in this process; its exit code."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else 1
    return 0


def pdf(text: str) -> bytes:
    """A PDF document of one page that says this in ASCII."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), list[int]()
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 7\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start)


def docx(*paragraphs: str, head: str = "") -> bytes:
    """A DOCX document, as far as its text goes."""
    name = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(
            "word/document.xml", f'{head}<w:document xmlns:w="{name}"><w:body>{body}</w:body></w:document>'
        )
    return out.getvalue()


def policy(place: Path, **members: Any) -> Path:
    """An operator's policy in a file."""
    place.write_text(json.dumps({"kind": "execution", "version": 1, "tier": "process", **members}))
    return place


def _toml(each: Any) -> str:
    if isinstance(each, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in cast(Json, each).items()) + "}"
    if isinstance(each, list):
        return "[" + ", ".join(map(_toml, cast(list[Any], each))) + "]"
    return json.dumps(each)
