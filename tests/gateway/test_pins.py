"""An offer is held against its manifest: each way to differ, and what it does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest import wire
from attest.manifest import Pin, TrustedManifest, open_manifest, text_digest
from gateway.errors import Withheld
from gateway.flags import Flag
from gateway.pins import Offer, Pins, Review, review
from gateway.store import Store
from tests.attest.zk import minted

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TOOL: dict[str, Any] = {"name": "t", "description": "d", "inputSchema": {"type": "object"}}
PROMPT: dict[str, Any] = {"name": "p", "description": "d"}
TEMPLATE: dict[str, Any] = {"name": "x", "uriTemplate": "x://{y}"}
OFFER = Offer("server", "1", "executor-attested", {"t": TOOL}, {"p": PROMPT}, {"x://{y}": TEMPLATE}, "do")
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
    "template": ({"templates": {"x://{y}": TEMPLATE | {"description": "e"}}}, {"template x://{y}": CHANGED}),
    "template's type": ({"templates": {"x://{y}": TEMPLATE | {"mimeType": "a/b"}}}, {"template x://{y}": ASIDE}),
    "new template": ({"templates": {"x://{y}": TEMPLATE, "x://{z}": TEMPLATE}}, {"template x://{z}": NEW}),
    "a prompt named as a tool": ({"prompts": {"p": PROMPT, "t": PROMPT}}, {"prompt t": NEW}),
}


def unknown(_: str) -> None:
    """No text is remembered."""


@pytest.mark.parametrize("name", TABLE)
def test_what_differs_is_named_and_how(name: str) -> None:
    change, drifted = TABLE[name]
    found = review(replace(OFFER, **change), OFFER.manifest(), unknown)
    assert set(found.drifted) == set(drifted)
    assert all(found.drifted[key].startswith(said) for key, said in drifted.items())
    assert found.clean == (not drifted)


def proven(program: Any) -> Offer:
    return replace(OFFER, tools={"t": TOOL | {"_meta": {wire.PROGRAM: program}}})


def test_a_tool_whose_program_is_refused_is_blocked_and_no_manifest_of_ours_has_it() -> None:
    offer = proven({"format": "something else"})
    found = review(offer, offer.manifest(), unknown)
    assert found.drifted["tool t"].startswith("its program is refused [malformed]: ")
    assert found.refused == {"tool t"}
    assert offer.manifest().tools == {}


def test_only_so_many_tools_of_a_server_may_name_programs() -> None:
    tool = TOOL | {"_meta": {wire.PROGRAM: minted.program().to_json()}}
    offer = replace(OFFER, tools={f"t{number:02}": tool | {"name": f"t{number:02}"} for number in range(18)})
    found = review(offer, offer.manifest(), unknown)
    assert found.refused == {"tool t16", "tool t17"}
    assert len(offer.manifest().programs) == len(offer.manifest().tools) == 16


def test_the_program_of_a_tool_is_the_one_that_the_manifest_names() -> None:
    offer = proven(minted.program().to_json())
    manifest = offer.manifest()
    assert manifest.programs == {"t": minted.program()}
    assert review(offer, manifest, unknown).clean
    for programs in ({}, {"t": minted.program(minted.PLAIN_SIGNALS, minted.PLAIN)}):
        found = review(offer, replace(manifest, programs=programs), unknown)
        assert found.drifted == {"tool t": "its program is not the one in the manifest"}
        assert not found.refused
    gone = review(OFFER, manifest, unknown)
    assert gone.drifted["tool t"].startswith(ASIDE)


def test_the_order_of_keys_is_no_difference() -> None:
    turned = dict(reversed(TOOL.items()))
    assert review(replace(OFFER, tools={"t": turned}), OFFER.manifest(), unknown).clean


@pytest.mark.parametrize("now", [None, "", "do ", "do\u200b"])
def test_instructions_that_change_are_not_clean(now: str | None) -> None:
    found = review(replace(OFFER, instructions=now), OFFER.manifest(), unknown)
    assert replace(found, flagged=()) == Review(instructions_drifted=True)


def test_what_is_gone_is_mentioned_and_blocks_nothing() -> None:
    found = review(replace(OFFER, tools={}, prompts={}, templates={}), OFFER.manifest(), unknown)
    assert found.removed == ("tool t", "prompt p", "template x://{y}")
    assert found.clean


def test_a_kind_may_rise_and_not_fall() -> None:
    observed = replace(OFFER, kind="observer-attested")
    assert review(observed, OFFER.manifest(), unknown) == Review(kind_lowered=True)
    assert not review(observed, OFFER.manifest(), unknown).clean
    assert review(OFFER, observed.manifest(), unknown).clean


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
async def test_a_pin_under_another_key_is_refused_and_says_what_to_do_until_it_is_forgotten(store: Store) -> None:
    await pins(store, Ed25519PrivateKey.generate()).approve("a", OFFER, None)
    with pytest.raises(Withheld, match=r"\[pin\]: .* restore gateway.key .*`etmcp approve a`"):
        pins(store).in_force("a", None)
    assert pins(store).subjects("a") == frozenset()
    await pins(store).forget("a")
    assert pins(store).in_force("a", None) is None


@pytest.mark.anyio
async def test_at_first_sight_what_nobody_can_see_is_not_signed(store: Store) -> None:
    seen = replace(
        OFFER,
        tools={"t": TOOL, "u": TOOL | {"description": "d\u200b"}, "\u0441opy": TOOL},
        templates={"x://{y}": TEMPLATE | {"_meta": {"note": "\U000e0041"}}},
        instructions="do\u202e",
    )
    manifest = (await pins(store).first_sight("a", seen)).manifest
    assert (set(manifest.tools), set(manifest.templates), manifest.instructions) == ({"t"}, set(), None)
    found = pins(store).review(seen, manifest)
    assert set(found.drifted) == {"tool u", "tool \u0441opy", "template x://{y}"}
    assert found.instructions_drifted
    assert pins(store).subjects("a") == {"tool t", "prompt p"}
    approved = await pins(store).approve("a", seen, None)
    again = pins(store).review(seen, approved.manifest)
    assert again.clean
    assert again.flagged == found.flagged, "approved is not forgotten"


@pytest.mark.anyio
async def test_a_tool_under_another_name_is_flagged_where_the_old_text_is_known(store: Store) -> None:
    now = replace(OFFER, tools={"u": TOOL | {"name": "u"}})
    assert pins(store).review(now, OFFER.manifest()).flagged == ()
    await pins(store).remember(OFFER)
    found = pins(store).review(now, OFFER.manifest())
    assert found.flagged == (Flag("tool u", "renamed", "it is what tool t was, under another name"),)
    assert (set(found.drifted), found.removed) == ({"tool u"}, ("tool t",))


def listed(*tools: dict[str, Any]) -> Offer:
    info = {"name": "server", "version": "1"}
    return Offer.listed(info, "observer-attested", tools=tools, prompts=[], templates=[], instructions=None)


def test_of_two_definitions_under_one_name_neither_is_offered_and_both_are_named() -> None:
    other = {"name": "other"}
    offer = listed(TOOL, TOOL | {"description": "2"}, other)
    assert offer.tools == {"other": other}
    found = review(offer, offer.manifest(), unknown)
    assert found.flagged == (Flag("tool t", "duplicate", "it is listed 2 times; none of them is offered"),)
    assert found.clean
    assert found.state == "ready, without tool t [duplicate]"


def test_a_definition_without_a_name_is_not_offered_and_mentioned() -> None:
    found = listed({"description": "nameless"}, {"name": 7}, TOOL)
    assert found.tools == {"t": TOOL}
    assert found.dropped == (Flag("tool", "nameless", "2 without name; none of them is offered"),)


def test_the_state_names_three_that_are_dropped_and_counts_the_rest() -> None:
    offer = listed(*({"name": f"{n}\n"} for n in range(5) for _ in range(2)))
    state = review(offer, offer.manifest(), unknown).state
    assert state.startswith("ready, without tool 0\\u{a} [duplicate], ")
    assert state.endswith("tool 2\\u{a} [duplicate] and 2 more")


@pytest.mark.anyio
async def test_definitions_are_remembered_by_what_they_say(store: Store) -> None:
    await pins(store).remember(OFFER)
    for definition in (TOOL, PROMPT, TEMPLATE):
        assert pins(store).known(Pin.of(definition).full) == definition
    assert pins(store).known(text_digest("do")) == "do"
    assert pins(store).known(Pin.of(TOOL | {"description": "e"}).full) is None
