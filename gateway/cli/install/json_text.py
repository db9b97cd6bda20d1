"""One entry in a client's JSON file, put in and taken out as text: every other byte stays, comments too."""

import json
import re
from dataclasses import dataclass
from typing import Any

from gateway.jsonc import BOM, plain, uncommented

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def load(text: str) -> Any:
    """The file's value; an empty one is an empty object. Raises `ValueError` or `RecursionError`."""
    bare = plain(text)
    return json.loads(bare) if bare.strip() else {}


def show(under: str, alias: str, entry: Any) -> str:
    """The entry as a file of its own."""
    return json.dumps({under: {alias: entry}}, indent=2, ensure_ascii=False) + "\n"


def put(text: str, under: str, alias: str, entry: Any) -> str:
    """With `entry` as member `alias` of `under`; the text must be an object, and so must `under` if it is there."""
    if not plain(text).strip():
        return show(under, alias, entry)
    mark, body = _split(text)
    root = _Object.at(body, plain(body).index("{"))
    held = root.find(under)
    if held is None:
        return mark + root.added(under, {alias: entry}, level=1)
    servers = _Object.at(body, held.start)
    ours = servers.find(alias)
    return mark + (servers.added(alias, entry, level=2) if ours is None else servers.changed(ours, entry))


def drop(text: str, under: str, alias: str) -> str:
    """Without that member; of several under one name without any."""
    mark, body = _split(text)
    while True:
        held = _Object.at(body, plain(body).index("{")).find(under)
        servers = None if held is None or body[held.start] != "{" else _Object.at(body, held.start)
        ours = None if servers is None else servers.find(alias)
        if servers is None or ours is None:
            return mark + body
        body = servers.without(ours)


def _split(text: str) -> tuple[str, str]:
    return (BOM, text[1:]) if text.startswith(BOM) else ("", text)


@dataclass(frozen=True)
class _Member:
    """Where its name begins, and its value begins and ends."""

    name: str
    key: int
    start: int
    end: int


@dataclass(frozen=True)
class _Object:
    """An object in a text: its braces and members. Positions are the same with and without comments."""

    text: str
    opening: int
    closing: int
    members: list[_Member]

    @classmethod
    def at(cls, text: str, opening: int) -> "_Object":
        bare = plain(text)

        def skip(position: int) -> int:
            found = _SPACE.match(bare, position)
            return position if found is None else found.end()

        members: list[_Member] = []
        position = skip(opening + 1)
        while bare[position] != "}":
            key = skip(position + 1) if bare[position] == "," else position
            name, end = _DECODER.raw_decode(bare, key)
            start = skip(skip(end) + 1)
            _, end = _DECODER.raw_decode(bare, start)
            members.append(_Member(name, key, start, end))
            position = skip(end)
        return cls(text, opening, position, members)

    def find(self, name: str) -> _Member | None:
        """The last of that name: the one that parsers keep."""
        return next((member for member in reversed(self.members) if member.name == name), None)

    def changed(self, member: _Member, value: Any) -> str:
        """The whole text with another value for it."""
        indent = self._indent(member.key)
        unit = None if indent is None else indent[: len(indent) // 2]
        return self.text[: member.start] + self._dump(value, indent, unit) + self.text[member.end :]

    def added(self, name: str, value: Any, *, level: int) -> str:
        """The whole text with one more member at the end."""
        last = self.members[-1] if self.members else None
        if last is None:
            outer = re.match(r"[ \t]*", self.text[self._line(self.opening) :])
            around = outer[0] if outer else ""
            unit = around[: len(around) // (level - 1)] if level > 1 and around else "  "
            indent: str | None = around + unit
            end, after = self.opening + 1, self._newline() + around
        else:
            indent = self._indent(last.key)
            unit = None if indent is None else indent[: len(indent) // level]
            end, after = last.end, None
        between = self.text[end : self.closing]
        comma = "," if last is not None and "," not in uncommented(self.text)[end : self.closing] else ""
        kept = between.rstrip(" \t\r\n")
        before = " " if indent is None else self._newline() + indent
        member = f"{json.dumps(name)}: {self._dump(value, indent, unit)}"
        rest = between[len(kept) :] if after is None else after
        return f"{self.text[:end]}{comma}{kept}{before}{member}{rest}{self.text[self.closing :]}"

    def without(self, member: _Member) -> str:
        """The whole text without it and one comma."""
        index = self.members.index(member)
        commas = uncommented(self.text)
        text, end = self.text, member.end
        following = commas.find(",", member.end, self._next(index))
        if following >= 0:
            text, end = text[: member.end] + text[member.end : following] + text[following + 1 :], following
        lines = self._indent(member.key) is not None
        head, rest = text[: member.key], text[end:]
        if following < 0 and index > 0:
            comma = commas.rindex(",", self.members[index - 1].end, member.key)
            between = head[comma + 1 :]
            head = head[:comma] + (between if lines or between.strip() else "")
        if not lines:
            return head + (rest.lstrip(" ") if following >= 0 else rest)
        head, blank = head.rstrip(" \t"), re.match(r"[ \t]*(\r?\n|\Z)", rest)
        return head + (rest[blank.end() :] if blank and head.endswith("\n") else rest)

    def _next(self, index: int) -> int:
        return self.members[index + 1].key if index + 1 < len(self.members) else self.closing

    def _line(self, position: int) -> int:
        return max(self.text.rfind("\n", 0, position), self.text.rfind("\r", 0, position)) + 1

    def _indent(self, position: int) -> str | None:
        """What its line begins with; None if that is more than space."""
        before = self.text[self._line(position) : position]
        return before if not before.strip(" \t") and self._line(position) > self.opening else None

    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _dump(self, value: Any, indent: str | None, unit: str | None) -> str:
        if indent is None:
            return json.dumps(value, ensure_ascii=False)
        lines = json.dumps(value, indent=unit or "  ", ensure_ascii=False).split("\n")
        return (self._newline() + indent).join(lines)
