"""Text of a PDF, HTML or DOCX file: `main(...)`. Runs in the sandbox; PDF by pypdf, the others by the library alone."""

import io
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.parsers import expat

from pypdf import PdfReader

MAX_PAGES = 500
MAX_XML = 64 << 20
"""Bytes of a DOCX file's text part once unpacked."""
_SILENT = {"script", "style", "template", "noscript", "svg"}
_BLOCKS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "table", "pre"}


def main(documents: list[str], max_characters: int = 200_000) -> dict[str, Any]:
    """The text of the one file in the working directory. Raises `ValueError` for what is none of the three."""
    if len(documents) != 1:
        raise ValueError("pass one document, as text (HTML) or in base64 (PDF, DOCX)")
    data = Path(documents[0]).read_bytes()
    told: dict[str, Any]
    if data[:1024].lstrip().startswith(b"%PDF-"):
        told = _pdf(data)
    elif data.startswith(b"PK\x03\x04"):
        told = {"format": "docx", "text": _docx(data)}
    elif b"<" in data[:4096]:
        told = _html(data)
    else:
        raise ValueError("it is neither PDF, HTML nor DOCX")
    text = "\n".join(line.rstrip() for line in told["text"].splitlines()).strip()
    return told | {"text": text[:max_characters], "characters": len(text), "truncated": len(text) > max_characters}


def _pdf(data: bytes) -> dict[str, Any]:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("the PDF is encrypted; pass it without a password")
    pages = [page.extract_text() for page in reader.pages[:MAX_PAGES]]
    told: dict[str, Any] = {"format": "pdf", "text": "\n\n".join(pages), "pages": len(reader.pages)}
    title = reader.metadata.title if reader.metadata else None
    return told | ({"title": str(title)[:1000]} if title else {})


def _docx(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("word/document.xml") as part:
            xml = part.read(MAX_XML + 1)
    except (zipfile.BadZipFile, KeyError) as e:
        raise ValueError("it is a ZIP archive, and no DOCX document") from e
    if len(xml) > MAX_XML:
        raise ValueError(f"its text is more than {MAX_XML >> 20} MiB unpacked")
    out: list[str] = []
    inside = [False]
    parser = expat.ParserCreate()

    def start(name: str, _: dict[str, str]) -> None:
        inside[0] = name == "w:t"
        if name in ("w:tab", "w:br"):
            out.append("\t" if name == "w:tab" else "\n")

    def end(name: str) -> None:
        inside[0] = False
        if name == "w:p":
            out.append("\n")

    def text(words: str) -> None:
        if inside[0]:
            out.append(words)

    def refuse(*_: Any) -> None:
        raise ValueError("it declares entities, which a DOCX document does not")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as e:
        raise ValueError(f"its text is not XML: {e}") from e
    return "".join(out)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.title: list[str] = []
        self._silent = 0
        self._titled = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - HTMLParser's own
        """Skip what is not shown, and start a line where a block starts."""
        self._silent += tag in _SILENT
        self._titled = tag == "title" or (self._titled and tag != "body")
        if tag in _BLOCKS:
            self.out.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """The end of each."""
        self._silent -= tag in _SILENT and self._silent > 0
        self._titled = self._titled and tag != "title"
        if tag in _BLOCKS:
            self.out.append("\n")

    def handle_data(self, data: str) -> None:
        """Words, unless they are not shown."""
        if self._titled:
            self.title.append(data)
        elif not self._silent:
            self.out.append(data)


def _html(data: bytes) -> dict[str, Any]:
    page = _Page()
    page.feed(data.decode("utf-8", "replace"))
    page.close()
    lines = [" ".join(line.split()) for line in "".join(page.out).splitlines()]
    text = "\n".join(filter(None, lines))
    title = " ".join("".join(page.title).split())
    return {"format": "html", "text": text} | ({"title": title[:1000]} if title else {})
