"""One table in Codex's TOML file, put in and taken out as text: every other byte stays."""

import json
import re
import tomllib
from typing import Any

from gateway.jsonc import BOM

_HEADER = re.compile(r"[ \t]*\[")


def load(text: str) -> Any:
    """The file's value. Raises `ValueError` or `RecursionError`."""
    return tomllib.loads(text.removeprefix(BOM).replace("\r\n", "\n"))


def show(under: str, alias: str, entry: Any) -> str:
    """The entry as a table. JSON's strings and lists of strings are TOML's."""
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    return "\n".join([f"[{under}.{alias}]", *lines]) + "\n"


def put(text: str, under: str, alias: str, entry: Any) -> str:
    """With that table in place of the one there is, else at the end.

    Tables are found by the lines that look like their headers. A string that holds such a line, or a file that says the
    same in another way, comes out wrong: compare what `load` makes of it.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    table = show(under, alias, entry).replace("\n", newline)
    lines = text.splitlines(keepends=True)
    block = _block(lines, under, alias)
    if block is None:
        gap = "" if not text.strip() else newline if text.endswith("\n") else newline * 2
        return text + gap + table
    rest = drop("".join(lines[block.stop :]), under, alias)
    return "".join(lines[: block.start]) + table + (newline if rest and not rest[0].isspace() else "") + rest


def drop(text: str, under: str, alias: str) -> str:
    """Without that table and those below it."""
    lines = text.splitlines(keepends=True)
    while block := _block(lines, under, alias):
        del lines[block.start : block.stop]
        at = block.start
        if at and not lines[at - 1].strip() and not "".join(lines[at : at + 1]).strip():
            del lines[at - 1]
    return "".join(lines)


def _block(lines: list[str], under: str, alias: str) -> range | None:
    """The first lines that are our table's. Comments before the next table are the next table's."""
    headers = [(n, _ours(line, under, alias)) for n, line in enumerate(lines) if _HEADER.match(line)]
    start = next((n for n, ours in headers if ours), None)
    if start is None:
        return None
    stop = next((n for n, ours in headers if n > start and not ours), len(lines))
    while stop > start + 1 and (not lines[stop - 1].strip() or lines[stop - 1].lstrip().startswith("#")):
        stop -= 1
    return range(start, stop)


def _ours(line: str, under: str, alias: str) -> bool:
    part = rf"(?:{alias}|\"{alias}\"|'{alias}')"
    header = rf"\[[ \t]*{under}[ \t]*\.[ \t]*{part}[ \t]*(?:\.[^\]]*)?\][ \t]*(?:#.*)?"
    return re.fullmatch(header, line.strip()) is not None
