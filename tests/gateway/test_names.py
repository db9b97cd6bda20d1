"""Advertised names: what every client accepts, the same every time, and never two servers under one."""

import re
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.names import AIM, advertise

ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,64}")
Offers = Mapping[str, Sequence[str]]

aliases = st.text(min_size=1, max_size=64)
# Few letters, so that names meet; long ones and strange ones, so that they are changed and meet afterwards.
names = st.one_of(
    st.text("ab_.-/", min_size=1, max_size=4),
    st.text(max_size=80),
    st.integers(38, 80).map(lambda n: "x" * n),
    st.sampled_from(["search", "a_search", "b_a_search", "é", "é" * 70, "", "\ud800"]),
)
offers = st.dictionaries(st.one_of(st.sampled_from(["a", "b", "b_a", "ä"]), aliases), st.lists(names, unique=True))


@given(offers)
def test_every_name_is_one_that_clients_accept(offers: Offers) -> None:
    assert all(ALLOWED.fullmatch(name) for name in advertise(offers)[0])


@given(offers)
def test_each_name_leads_to_one_tool_that_is_offered_and_no_tool_has_two(offers: Offers) -> None:
    table, _ = advertise(offers)
    assert len(set(table.values())) == len(table)
    assert all(name in offers[alias] for alias, name in table.values())


@given(offers)
def test_the_order_of_servers_and_tools_changes_nothing(offers: Offers) -> None:
    turned = {alias: list(reversed(offers[alias])) for alias in reversed(list(offers))}
    assert advertise(offers) == advertise(offers)
    assert advertise(turned) == advertise(offers)


@given(offers)
def test_what_is_missing_was_dropped_by_name(offers: Offers) -> None:
    table, dropped = advertise(offers)
    offered = sum(len(names) for names in offers.values())
    assert dropped == sorted(set(dropped))
    assert not set(dropped) & set(table)
    assert (offered - len(table) >= 2 * len(dropped)) if dropped else (offered == len(table))


@given(offers, aliases, st.lists(names, unique=True))
def test_a_server_that_comes_moves_no_name_that_it_does_not_collide_with(
    offers: Offers, alias: str, more: list[str]
) -> None:
    if alias in offers:
        return
    before, _ = advertise(offers)
    after, dropped = advertise({**offers, alias: more})
    alone, _ = advertise({alias: more})
    taken = set(alone) | {name for name, owner in after.items() if owner[0] == alias} | set(dropped)
    assert all(after.get(name) == owner for name, owner in before.items() if name not in taken)


def test_a_name_of_one_server_alone_stays_as_it_is() -> None:
    assert advertise({"a": ["search", "x" * 64]})[0] == {"search": ("a", "search"), "x" * 64: ("a", "x" * 64)}


def test_a_name_of_several_servers_is_prefixed_for_each_of_them() -> None:
    table, dropped = advertise({"a": ["search"], "b": ["search", "other"]})
    assert table == {"a_search": ("a", "search"), "b_search": ("b", "search"), "other": ("b", "other")}
    assert dropped == []


def test_two_that_meet_all_the_same_are_both_dropped_and_named() -> None:
    table, dropped = advertise({"a": ["search", "b_search"], "a_b": ["search"], "c": ["other"]})
    assert table == {"a_search": ("a", "search"), "b_search": ("a", "b_search"), "other": ("c", "other")} | {
        "a_b_search": ("a_b", "search")
    }
    assert dropped == []
    table, dropped = advertise({"a": ["search", "b_search"], "a_b": ["search"], "c": ["b_search"]})
    assert dropped == ["a_b_search"]
    assert set(table.values()) == {("a", "search"), ("c", "b_search")}


def test_what_no_client_accepts_is_cleaned_cut_and_marked() -> None:
    (name,) = advertise({"a": ["files/read all: " + "x" * 50]})[0]
    assert name.startswith("files_read_all__xx")
    assert len(name) == AIM
    assert len(advertise({"a": ["é", "è"]})[0]) == 2
