"""Advertised names: a pure function of (server alias, name, rules) and of which names the others have.

Every result matches `[A-Za-z0-9_-]{1,64}`, since clients refuse a whole session for one name that does not.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

LIMIT = 64
AIM = 40
_BAD = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True)
class Rules:
    """How one server's own names are offered. Globs are those of `fnmatch`, case counts, and `exclude` wins."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    # Own name to advertised name; each of the latter is `[A-Za-z0-9_-]{1,64}`.
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    prefix: Literal["always", "collision"] = "collision"

    def offers(self, name: str) -> bool:
        """Whether this one of the server's own names is offered at all."""
        return any(fnmatchcase(name, glob) for glob in self.include) and not any(
            fnmatchcase(name, glob) for glob in self.exclude
        )


PLAIN = Rules()


def advertise(
    offered: Mapping[str, Iterable[str]], rules: Mapping[str, Rules] = MappingProxyType({})
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Map advertised name to (alias, name), and list the advertised names that something was dropped under.

    An explicit name is taken as it is, and is nobody else's even while its server is away: a call must never reach a
    server that was not meant. Of the others, a name that one server alone offers stays as it is; one that several
    offer, that is an explicit name, or whose server says `always` is prefixed by its server's alias. Two that still
    meet are both dropped; one that still meets an explicit name is dropped alone.
    """
    pairs = [(a, name) for a, names in offered.items() for name in names if rules.get(a, PLAIN).offers(name)]
    taken = {name for rule in rules.values() for name in rule.names.values()}
    chosen: dict[str, list[tuple[str, str]]] = {}
    automatic: list[tuple[str, str]] = []
    for alias, name in pairs:
        explicit = rules.get(alias, PLAIN).names.get(name)
        if explicit is None:
            automatic.append((alias, name))
        else:
            chosen.setdefault(explicit, []).append((alias, name))
    dropped: set[str] = set()
    for advertised, pair in _automatic(automatic, rules, taken):
        if advertised in taken:
            dropped.add(advertised)
        else:
            chosen.setdefault(advertised, []).append(pair)
    unique = {advertised: owners[0] for advertised, owners in chosen.items() if len(owners) == 1}
    dropped |= {advertised for advertised, owners in chosen.items() if len(owners) > 1}
    return unique, sorted(dropped)


def _automatic(
    pairs: list[tuple[str, str]], rules: Mapping[str, Rules], taken: set[str]
) -> Iterable[tuple[str, tuple[str, str]]]:
    """What each is called before it is known whether two meet."""
    free = {pair for pair in pairs if rules.get(pair[0], PLAIN).prefix == "collision"}
    plain = Counter(_fit(name) for _, name in free)
    for alias, name in pairs:
        short = _fit(name)
        stays = (alias, name) in free and plain[short] == 1 and short not in taken
        yield (short if stays else _fit(f"{alias}_{name}")), (alias, name)


def _fit(name: str) -> str:
    """The name itself where it is allowed; else cleaned, cut to the aim, and marked with 8 digits of its hash."""
    clean = _BAD.sub("_", name)
    if clean == name and 0 < len(name) <= LIMIT:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: AIM - 9]}_{mark}"
