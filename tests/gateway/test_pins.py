"""An offer is held against its manifest: each way to differ, and what it does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.errors import ManifestError
from attest.manifest import Pin, TrustedManifest, open_manifest
from gateway.pins import Offer, Pins, Review, review
from gateway.store import Store

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TOOL: dict[str, Any] = {"name": "t", "description": "d", "inputSchema": {"type": "object"}}
PROMPT: dict[str, Any] = {"name": "p", "description": "d"}
OFFER = Offer("server", "1", "executor-attested", {"t": TOOL}, {"p": PROMPT}, "do")
CHANGED, ASIDE, NEW = "changed in what the model is shown", "changed in what only the client sees", "new since"

TABLE: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing": ({}, {}),
    "version": ({"version": "2"}, {}),
    "server": ({"server": "another"}, {}),
    "description": ({"tools": {"t": TOOL | {"description": "e"}}}, {"tool t": CHANGED}),
    "invisible": ({"tools": {"t": TOOL | {"description": "d\u200b"}}}, {"tool t": CHANGED}),
    "title": ({"tools": {"t": TOOL | {"title": "T"}}}, {"tool t": CHANGED}),
    "schema": ({"tools": {"t": TOOL | {"inputSchema": {"type": "object", "x": 1}}}}, {"tool t": CHANGED}),
    "output": ({"tools": {"t": TOOL | {"outputSchema": {"type": "object"}}}}, {"tool t": CHANGED}),
    "annotations": ({"tools": {"t": TOOL | {"annotations": {"readOnlyHint": True}}}}, {"tool t": ASIDE}),
    "unknown": ({"tools": {"t": TOOL | {"vendor": None}}}, {"tool t": ASIDE}),
    "meta": ({"tools": {"t": TOOL | {"_meta": {"a": 1}}}}, {"tool t": ASIDE}),
    "new": ({"tools": {"t": TOOL, "u": TOOL | {"name": "u"}}}, {"tool u": NEW}),
    "prompt": ({"prompts": {"p": PROMPT | {"description": "e"}}}, {"prompt p": CHANGED}),
    "new prompt": ({"prompts": {"p": PROMPT, "q": PROMPT}}, {"prompt q": NEW}),
    "a prompt named as a tool": ({"prompts": {"p": PROMPT, "t": PROMPT}}, {"prompt t": NEW}),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_differs_is_named_and_how(name: str) -> None:
    change, drifted = TABLE[name]
    found = review(replace(OFFER, **change), OFFER.manifest())
    assert set(found.drifted) == set(drifted)
    assert all(found.drifted[key].startswith(said) for key, said in drifted.items())
    assert found.clean == (not drifted)


def test_the_order_of_keys_is_no_difference() -> None:
    turned = dict(reversed(TOOL.items()))
    assert review(replace(OFFER, tools={"t": turned}), OFFER.manifest()).clean


@pytest.mark.parametrize("now", [None, "", "do ", "do\u200b"])
def test_instructions_that_change_are_not_clean(now: str | None) -> None:
    assert review(replace(OFFER, instructions=now), OFFER.manifest()) == Review(instructions_drifted=True)


def test_what_is_gone_is_mentioned_and_blocks_nothing() -> None:
    found = review(replace(OFFER, tools={}), OFFER.manifest())
    assert found.removed == ("tool t",)
    assert found.clean


def test_a_kind_may_rise_and_not_fall() -> None:
    observed = replace(OFFER, kind="observer-attested")
    assert review(observed, OFFER.manifest()) == Review(kind_lowered=True)
    assert not review(observed, OFFER.manifest()).clean
    assert review(OFFER, observed.manifest()).clean


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def published(offer: Offer) -> TrustedManifest:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return open_manifest(offer.manifest().sign(key), key.public_key().public_bytes_raw())


def pins(store: Store, key: Ed25519PrivateKey = KEY) -> Pins:
    return Pins(store, key, lambda: 1)


@pytest.mark.anyio
async def test_what_is_approved_is_in_force_also_after_a_restart(store: Store) -> None:
    assert pins(store).in_force("a", None) is None
    await pins(store).approve("a", OFFER, None)
    held = pins(store).in_force("a", None)
    assert held is not None
    assert held.manifest == OFFER.manifest()
    assert pins(store).in_force("b", None) is None


@pytest.mark.anyio
async def test_what_was_approved_over_a_publishers_manifest_holds_until_that_changes(store: Store) -> None:
    first, second = published(OFFER), published(replace(OFFER, version="2"))
    mine = replace(OFFER, tools={})
    assert pins(store).in_force("a", first) == first
    await pins(store).approve("a", mine, first)
    held = pins(store).in_force("a", first)
    assert held is not None
    assert held.manifest == mine.manifest()
    assert pins(store).in_force("a", second) == second


@pytest.mark.anyio
async def test_a_pin_under_another_key_is_refused(store: Store) -> None:
    await pins(store, Ed25519PrivateKey.generate()).approve("a", OFFER, None)
    with pytest.raises(ManifestError):
        pins(store).in_force("a", None)


@pytest.mark.anyio
async def test_definitions_are_remembered_by_what_they_say(store: Store) -> None:
    await pins(store).remember(OFFER)
    assert pins(store).known(Pin.of(TOOL)) == TOOL
    assert pins(store).known(Pin.of(PROMPT)) == PROMPT
    assert pins(store).known(Pin.of(TOOL | {"description": "e"})) is None
