"""Flags: what an operator should look at in the texts that servers show a model. Pure functions over raw definitions.

What blocks depends on the definition alone, never on other servers: else a server could have another's tool blocked by
imitating it, and which of two is blocked would depend on who connected first. LIMITATIONS.md has the table.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

from attest.canonical import canonical
from gateway.letters import disguised, hidden, mistakable, plain, spelled, visible

Code = Literal["hidden", "confusable", "duplicate", "nameless", "renamed", "same-name", "lookalike", "shadow"]
BLOCKED: frozenset[Code] = frozenset({"hidden", "confusable"})
"""Not offered until approved."""
DROPPED: frozenset[Code] = frozenset({"duplicate", "nameless"})
"""Never offered: there is nothing that an approval could be of."""

INSTRUCTIONS = "instructions"
_TOKEN = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True, order=True)
class Flag:
    """One finding. `subject`: `tool NAME`, `prompt NAME`, `template URI` or `instructions`, raw. `said` is visible."""

    subject: str
    code: Code
    said: str

    def __str__(self) -> str:
        return f"{plain(self.subject)} [{self.code}]: {self.said}"


def alone(shown: Mapping[str, Any]) -> Iterator[Flag]:
    """Flags of what one server shows (subject to definition or text), by itself: `hidden` and `confusable`."""
    for subject, value in shown.items():
        what, _, name = subject.partition(" ")
        found = [*hidden(name), *(c for c in name if c in "\n\r\t\u2028\u2029")]
        places = {"its name": found} if found else {}
        for where, text in texts(value):
            if strange := list(hidden(text)):
                places[visible(where) or "it"] = strange
        for where, strange in list(places.items())[:3]:
            listed = ", ".join(sorted({spelled(character) for character in strange})[:4])
            yield Flag(subject, "hidden", f"{where} holds invisible characters ({len(strange)}): {listed}")
        if what in ("tool", "prompt") and disguised(name):
            yield Flag(subject, "confusable", f"it is not what it reads as: {visible(name, ascii_only=True)}")


def beside(shown: Mapping[str, Any], others: Mapping[str, Collection[str]]) -> Iterator[Flag]:
    """Flags of what one server shows, next to the subjects of the others (by alias).

    `same-name`, `lookalike`, and `shadow`: a text of this server names a tool that it does not offer and another does.
    """
    owners = {subject: alias for alias, subjects in others.items() for subject in subjects}
    drawn = {_drawn(subject): subject for subject in owners}
    tools = {subject[5:]: alias for subject, alias in owners.items() if subject.startswith("tool ")}
    tools |= {f"{alias}_{name}": alias for name, alias in tools.items()}
    named = {name: alias for name, alias in tools.items() if f"tool {name}" not in shown}
    for subject, value in shown.items():
        if subject in owners:
            yield Flag(subject, "same-name", f"{visible(owners[subject])} offers the same name")
        elif (like := drawn.get(_drawn(subject))) and subject != INSTRUCTIONS:
            yield Flag(subject, "lookalike", f"it can be taken for {plain(like)} of {visible(owners[like])}")
        for name in sorted(_mentioned(value, named)):
            yield Flag(subject, "shadow", f"it speaks of tool {plain(name)} of {visible(named[name])}")


def renamed(gone: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Flag]:
    """Flags of new definitions that say what one that is gone said, under another name. Both: subject to definition."""
    before = {_nameless(old, definition): old for old, definition in gone.items()}
    for subject, definition in new.items():
        if old := before.get(_nameless(subject, definition)):
            yield Flag(subject, "renamed", f"it is what {plain(old)} was, under another name")


def texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a JSON value, keys too, with the place where it stands."""
    match value:
        case str():
            yield where, value
        case dict():
            for key, member in cast("dict[str, Any]", value).items():
                yield f"a key of {where}" if where else "a key", key
                yield from texts(member, f"{where}.{key}" if where else key)
        case list():
            for index, item in enumerate(cast("list[Any]", value)):
                yield from texts(item, f"{where}[{index}]")
        case _:
            pass


def _nameless(subject: str, definition: Any) -> bytes:
    """What makes two definitions of one sort the same but for their names."""
    said = {key: definition.get(key) for key in ("description", "inputSchema", "arguments", "mimeType")}
    return canonical([subject.partition(" ")[0], said])


def _mentioned(value: Any, names: Mapping[str, str]) -> set[str]:
    """Which of the names a definition's texts mention. A name that could be an ordinary word counts where it is marked
    as a name: quoted, called, or beside the word `tool`."""
    found: set[str] = set()
    for _, text in texts(value):
        tokens = {token.strip(".-") for token in _TOKEN.findall(text)} & names.keys()
        found |= {name for name in tokens if not _word(name) or _marked(name).search(text)}
    return found


def _word(name: str) -> bool:
    return name.isalpha() and name[1:].islower()


@lru_cache(1024)
def _marked(name: str) -> re.Pattern[str]:
    word = re.escape(name)
    ways = (rf"[`'\"<]{word}[`'\">]", rf"\b{word}\(", rf"\btools?:? {word}\b", rf"\b{word} (?:tool|function)\b")
    return re.compile("|".join(ways), re.IGNORECASE)


def _drawn(subject: str) -> tuple[str, str]:
    what, _, name = subject.partition(" ")
    return what, name if what == "template" else mistakable(name)
