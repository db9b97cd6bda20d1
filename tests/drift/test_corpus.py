"""Tool definitions that were written to attack: none is too odd to be reviewed, flagged, shown and approved."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import flags
from gateway.cli.approve import explain
from gateway.member import Listing
from gateway.pins import Offer, Pins
from gateway.store import Store

INVISIBLE = 2
"""At least so many definitions and texts of the corpora hold characters that nobody sees."""


def defined(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the corpus as a server would list it."""
    properties = {str(name): {"type": "string"} for name in row.get("params") or ()}
    schema = {"type": "object", "properties": properties}
    return {"name": row["name"], "description": row.get("description"), "inputSchema": schema}


def servers(attacks: Path) -> dict[str, Offer]:
    """One server for each file that the corpora were taken from; texts without a tool become the description of one."""
    tools: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (attacks / "extracted_tools.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tools[f"{row['origin']} {row['file']}"].append(defined(row))
    for line in (attacks / "bastioncorpus" / "injections.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tools["bastioncorpus"].append(defined({"name": row["id"], "description": row["text"]}))
    patterns = json.loads((attacks / "mcp-stress-test" / "patterns.json").read_text(encoding="utf-8"))
    for number, (_, text) in enumerate(flags.texts(patterns)):
        tools["mcp-stress-test"].append(defined({"name": f"pattern_{number}", "description": text}))
    return {
        alias: Offer.listed(
            {"name": alias}, "observer-attested", tools=listed, prompts=[], templates=[], instructions=None
        )
        for alias, listed in tools.items()
    }


@pytest.fixture
def offers(shared: Path) -> dict[str, Offer]:
    attacks = shared / "data" / "attacks"
    if not (attacks / "extracted_tools.jsonl").is_file():
        pytest.skip(f"there is no file {attacks / 'extracted_tools.jsonl'}")
    return servers(attacks)


@pytest.mark.anyio
async def test_every_attack_is_reviewed_shown_and_approved(
    offers: dict[str, Offer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store.sqlite")
    pins = Pins(store, Ed25519PrivateKey.generate(), lambda: 1)
    counted: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for alias, offer in offers.items():
        first = (await pins.first_sight(alias, offer)).manifest
        found = pins.review(offer, first)
        others = {name: each.definitions() for name, each in offers.items() if name != alias}
        for flag in (*found.flagged, *flags.beside(offer.shown(), others)):
            assert str(flag).isprintable()
            counted[flag.code].add((alias, flag.subject))
        assert set(found.drifted) == {flag.subject for flag in found.flagged if flag.code in flags.BLOCKED}
        lines = explain(Listing(offer, first, found), first, pins)
        assert len(lines) >= len(found.drifted)
        assert all(line.isprintable() for line in lines)
        assert pins.review(offer, (await pins.approve(alias, offer, None)).manifest).clean
    store.close()
    with capsys.disabled():
        total = sum(len(offer.definitions()) for offer in offers.values())
        figures = ", ".join(f"{code} {len(subjects)}" for code, subjects in sorted(counted.items()))
        print(f"\n{total} definitions of {len(offers)} servers; flagged: {figures}")
    assert len(counted["hidden"]) >= INVISIBLE
