"""What a user installs is permissively licensed: nothing under the GPL or AGPL comes with it."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest

# SPDX names and classifiers of licences that reach into what uses them; the LGPL (of a library) does not.
COPYLEFT = re.compile(r"\bA?GPL|GNU (?:Affero )?General Public|SSPL|CC-BY-NC|BUSL", re.I)


def needed(name: str, extras: frozenset[str], seen: dict[str, Distribution]) -> Iterator[str]:
    """Fill `seen` with the packages that `name` brings here, and return the names of those that are not installed."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        yield name
        return
    seen[name] = found
    for requirement in found.requires or ():
        bare, _, marker = requirement.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        if extra is not None and extra[1] not in extras:
            continue
        wanted = re.match(r"[\w.-]+", bare)
        assert wanted is not None
        if (each := re.sub(r"[-_.]+", "-", wanted[0]).lower()) not in seen:
            yield from needed(each, frozenset(re.findall(r"\w+", bare.partition("[")[2].partition("]")[0])), seen)


def licence(found: Distribution) -> str:
    """All that it says of its licence; a whole text only by its first line."""
    said: list[str] = [
        line for name in ("License-Expression", "License") for line in found.metadata.get_all(name) or ()
    ]
    told = [line.split("\n")[0] for line in said]
    told += [c for c in found.metadata.get_all("Classifier") or () if c.startswith("License")]
    if not any(told):
        texts = [found.read_text(f"licenses/{name}") for name in found.metadata.get_all("License-File") or ()]
        told = [next(filter(None, text.splitlines())) for text in texts if text]
    return " | ".join(filter(None, told))


@pytest.mark.parametrize("extras", [(), ("functions", "prove")], ids=["default", "extras"])
def test_p10_nothing_that_we_install_is_under_a_licence_that_spreads(extras: tuple[str, ...]) -> None:
    seen: dict[str, Distribution] = {}
    absent = list(needed("etmcp", frozenset(extras), seen))
    assert {"mcp", "cryptography", "wasmtime"} <= seen.keys(), absent
    told = {name: licence(found) for name, found in seen.items()}
    assert {name: said for name, said in told.items() if COPYLEFT.search(said) or not said} == {}
