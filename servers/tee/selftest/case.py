"""Reading a case: a Python program whose first comment lines say what it tries and what may come of it."""

import re
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 256 << 10
PAIRS = ("-", "2", "concurrent")
_MEMBER = re.compile(r"# (class|tiers|expect|pair|must): (.*)")
_WORD = re.compile(r"[A-Z_]+")


class CaseError(Exception):
    """A file is not a case. One line that names it and says what is missing."""


@dataclass(frozen=True)
class Case:
    """One program. It prints `VERDICT <word> <detail>`; the last such line counts."""

    name: str
    kind: str
    tiers: frozenset[str]
    """Where it means something; `all` is every tier."""
    expect: frozenset[str]
    """The verdicts with which it passes."""
    pair: str
    """`2`: run twice, the second is judged. `concurrent`: two at once, both are judged. `-`: once."""
    must: str
    """The property that it holds the sandbox to, in words."""
    code: str

    def applies(self, tier: str) -> bool:
        """Whether it is to be run in this tier."""
        return bool({"all", tier} & self.tiers)


def read(path: Path) -> Case:
    """Read one file. Raises `CaseError`."""
    try:
        data = path.read_bytes()
        code = data.decode()
    except OSError as e:
        raise CaseError(f"{path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise CaseError(f"{path}: it is not UTF-8") from e
    if len(data) > MAX_BYTES:
        raise CaseError(f"{path}: it is {len(data)} bytes; the limit is {MAX_BYTES}")
    found: dict[str, str] = {}
    for line in code.splitlines():
        if not line.startswith("#"):
            break
        if member := _MEMBER.fullmatch(line):
            found[member[1]] = member[2].strip()
    if missing := [name for name in ("class", "tiers", "expect", "pair", "must") if name not in found]:
        raise CaseError(f"{path}: it has no line '# {missing[0]}: …' at its beginning")
    expect = frozenset(found["expect"].split("|"))
    if bad := sorted(word for word in expect if not _WORD.fullmatch(word)):
        raise CaseError(f"{path}: expect: {bad[0]!r} is not a verdict")
    if found["pair"] not in PAIRS:
        raise CaseError(f"{path}: pair: {found['pair']!r} is none of {', '.join(PAIRS)}")
    tiers = frozenset(re.split(r"[\s,|]+", found["tiers"]))
    return Case(path.stem, found["class"], tiers, expect, found["pair"], found["must"], code)


def folder(path: Path) -> list[Case]:
    """All cases of a folder, by name. Raises `CaseError`, also where there is none."""
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == ".py")
    except OSError as e:
        raise CaseError(f"{path}: {e.strerror}; name a folder of cases") from e
    if not files:
        raise CaseError(f"{path}: there is no case (*.py) in it")
    return [read(file) for file in files]
