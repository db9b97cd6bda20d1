"""Advertised names: a pure function of (server alias, name) and of which names the others have.

Every result matches `[A-Za-z0-9_-]{1,64}`, since clients refuse a whole session for one name that does not.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

LIMIT = 64
AIM = 40
_BAD = re.compile(r"[^A-Za-z0-9_-]")


def advertise(offered: Mapping[str, Iterable[str]]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Map advertised name to (alias, name), and list the advertised names that were dropped as ambiguous.

    A name that one server alone offers stays as it is; one that several offer is prefixed by each server's alias.
    Two that still meet are both dropped: a call must never reach the server that was not meant.
    """
    pairs = [(alias, name) for alias, names in offered.items() for name in names]
    plain = Counter(_fit(name) for _, name in pairs)
    chosen: dict[str, list[tuple[str, str]]] = {}
    for alias, name in pairs:
        short = _fit(name)
        chosen.setdefault(short if plain[short] == 1 else _fit(f"{alias}_{name}"), []).append((alias, name))
    unique = {advertised: owners[0] for advertised, owners in chosen.items() if len(owners) == 1}
    return unique, sorted(advertised for advertised, owners in chosen.items() if len(owners) > 1)


def _fit(name: str) -> str:
    """The name itself where it is allowed; else cleaned, cut to the aim, and marked with 8 digits of its hash."""
    clean = _BAD.sub("_", name)
    if clean == name and 0 < len(name) <= LIMIT:
        return name
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: AIM - 9]}_{mark}"
