"""Advertised names: what every client accepts, the same every time, and never two servers under one."""

import re
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.names import AIM, Rules, advertise

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


# What one server's rules may be; explicit names from few, so that they meet each other and automatic ones.
rules = st.builds(
    Rules,
    include=st.sampled_from([("*",), ("*",), ("a*", "s*"), ()]),
    exclude=st.sampled_from([(), (), ("*_b",), ("se?rch",)]),
    names=st.dictionaries(
        st.sampled_from(["search", "a", "é", "gone"]),
        st.sampled_from(["search", "a_search", "find", "b_a"]),
        max_size=3,
    ),
    prefix=st.sampled_from(["always", "collision", "collision"]),
)
ruled = st.dictionaries(st.sampled_from(["a", "b", "b_a", "ä", "away"]), rules)


@given(offers, ruled)
def test_under_rules_each_name_is_valid_and_leads_to_one_tool_that_may_be_offered(
    offers: Offers, rules: Mapping[str, Rules]
) -> None:
    table, dropped = advertise(offers, rules)
    assert all(ALLOWED.fullmatch(name) for name in [*table, *dropped])
    assert len(set(table.values())) == len(table)
    assert all(name in offers[alias] and rules.get(alias, Rules()).offers(name) for alias, name in table.values())
    assert dropped == sorted(set(dropped))


@given(offers, ruled)
def test_under_rules_the_order_of_servers_changes_nothing(offers: Offers, rules: Mapping[str, Rules]) -> None:
    turned = {alias: list(reversed(offers[alias])) for alias in reversed(list(offers))}
    assert advertise(turned, dict(reversed(list(rules.items())))) == advertise(offers, rules)


@given(offers, ruled)
def test_an_explicit_name_loses_to_no_automatic_one_and_is_nobody_elses(
    offers: Offers, rules: Mapping[str, Rules]
) -> None:
    table, dropped = advertise(offers, rules)
    explicit = [(name, (alias, own)) for alias, rule in rules.items() for own, name in rule.names.items()]
    offered = [(n, (a, own)) for n, (a, own) in explicit if own in offers.get(a, ()) and rules[a].offers(own)]
    for name, owner in offered:
        if [n for n, _ in offered].count(name) == 1:
            assert table[name] == owner
        else:
            assert name not in table
            assert name in dropped
    assert all(table[name] in [owner for n, owner in explicit if n == name] for name, _ in explicit if name in table)


@given(offers, ruled, st.sampled_from(["a", "b"]), st.lists(names, unique=True))
def test_what_one_server_offers_moves_no_name_of_another_without_meeting_it(
    offers: Offers, rules: Mapping[str, Rules], alias: str, more: list[str]
) -> None:
    """Every name that the changed server would take by any rule is a place where two could meet; elsewhere nothing."""
    without = {a: own for a, own in offers.items() if a != alias}
    before, _ = advertise({**without, alias: offers.get(alias, ())}, rules)
    after, dropped = advertise({**without, alias: more}, rules)
    rule = {a: r for a, r in rules.items() if a == alias}
    bare = {alias: Rules(include=rules[alias].include, exclude=rules[alias].exclude)} if alias in rules else {}
    near: set[str] = set(dropped)
    for own in (more, offers.get(alias, ())):
        for policy in (rule, bare, {alias: Rules(prefix="always")}):
            table, lost = advertise({alias: own}, policy)
            near |= {*table, *lost}
    others = {name: owner for name, owner in before.items() if owner[0] != alias and name not in near}
    moved = {name: owner for name, owner in others.items() if after.get(name) != owner}
    # A name that was prefixed for the changed server's sake alone may be plain again: it met one of `near` before.
    assert all(name.startswith(f"{owner[0]}_") or not ALLOWED.fullmatch(owner[0]) for name, owner in moved.items())


def test_globs_choose_and_exclude_wins() -> None:
    rules = {"git": Rules(include=("git_*",), exclude=("*_push", "git_[Rr]eset"))}
    table, dropped = advertise({"git": ["git_log", "git_push", "git_reset", "Git_log", "log"]}, rules)
    assert (list(table), dropped) == (["git_log"], [])


def test_a_server_that_says_always_is_prefixed_and_moves_nobody() -> None:
    table, _ = advertise({"a": ["search"], "b": ["search"]}, {"a": Rules(prefix="always")})
    assert table == {"a_search": ("a", "search"), "search": ("b", "search")}


def test_an_automatic_name_gives_way_to_an_explicit_one() -> None:
    rules = {"a": Rules(names={"find": "search"})}
    table, dropped = advertise({"a": ["find"], "b": ["search"]}, rules)
    assert (table, dropped) == ({"search": ("a", "find"), "b_search": ("b", "search")}, [])
    assert advertise({"a": [], "b": ["search"]}, rules)[0] == {"b_search": ("b", "search")}
    rules = {"a": Rules(names={"find": "search", "seek": "b_search"})}
    table, dropped = advertise({"a": ["find", "seek"], "b": ["search"]}, rules)
    assert (set(table), dropped) == ({"search", "b_search"}, ["b_search"])
    assert ("b", "search") not in table.values()


def test_two_explicit_names_that_are_one_are_both_dropped() -> None:
    rules = {"a": Rules(names={"x": "go"}), "b": Rules(names={"y": "go"})}
    assert advertise({"a": ["x"], "b": ["y"], "c": ["go"]}, rules) == ({"c_go": ("c", "go")}, ["go"])
