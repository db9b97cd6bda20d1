"""What two policies have in common is exactly what both allow: nothing more, whoever wrote which, in any order."""

from dataclasses import fields
from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.tee.policy import Denied, Granted, Policy
from servers.tee.policy.files import Files, Opened
from servers.tee.policy.model import DETERMINISM, NAMESPACES, TIERS
from servers.tee.policy.network import Network, Rule
from servers.tee.policy.secrets import Secret
from servers.tee.sandbox import Limits
from tests.servers.tee.policy.made import ADDRESSES, HOSTS, METHODS, PATHS, PORTS, files, networks, read, rules

AT_LEISURE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
REQUESTS = list(product(("http", "https"), HOSTS, PORTS, (None, *METHODS)))
BELOW = [*PATHS, "/d/x/y/z", "/d/q", "/", "/x"]


def bounds(network: Network) -> dict[tuple[object, ...], tuple[int, int]]:
    """Every request that is granted, with what is granted."""
    found: dict[tuple[object, ...], tuple[int, int]] = {}
    for request in REQUESTS:
        decision = network.decide(*request)
        if isinstance(decision, Granted):
            found[request] = (decision.max_bytes, decision.max_connections)
    return found


def both(one: dict[tuple[object, ...], tuple[int, int]], other: dict[tuple[object, ...], tuple[int, int]]) -> object:
    return {
        request: (min(one[request][0], other[request][0]), min(one[request][1], other[request][1]))
        for request in one.keys() & other.keys()
    }


@AT_LEISURE
@given(networks, networks)
def test_a_request_is_granted_where_both_grant_it_within_the_smaller_bounds(one: Network, other: Network) -> None:
    common = one.meet(other)
    assert bounds(common) == both(bounds(one), bounds(other)) == bounds(other.meet(one))
    assert (common.max_bytes, common.max_connections) == (
        min(one.max_bytes, other.max_bytes),
        min(one.max_connections, other.max_connections),
    )


@AT_LEISURE
@given(networks, networks)
def test_an_address_is_dialled_where_both_would_dial_it(one: Network, other: Network) -> None:
    common = one.meet(other)
    for scheme, address, port, method in product(("http", "https"), ADDRESSES, PORTS, (None, "GET")):
        request = (scheme, address, port, method)
        allowed = one.decide_address(*request) is None and other.decide_address(*request) is None
        assert (common.decide_address(*request) is None) == allowed, request


def opened(granted: Files) -> dict[tuple[str, bool], Opened]:
    decisions = {(path, write): granted.decide(path, write=write) for path in BELOW for write in (False, True)}
    return {key: decision for key, decision in decisions.items() if isinstance(decision, Opened)}


@AT_LEISURE
@given(files(), files())
def test_a_file_is_opened_where_both_open_it_at_the_same_place(one: Files, other: Files) -> None:
    common = one.meet(other)
    mine, theirs = opened(one), opened(other)
    assert {key: decision.guest for key, decision in opened(common).items()} == {
        key: mine[key].guest for key in mine.keys() & theirs.keys() if mine[key].guest == theirs[key].guest
    }
    for digest in ("a" * 64, "b" * 64):
        places = set(one.decide_digest(digest)) & set(other.decide_digest(digest))
        assert set(common.decide_digest(digest)) == places
    assert common.quota_bytes == min(one.quota_bytes, other.quota_bytes)
    assert common.quota_inodes == min(one.quota_inodes, other.quota_inodes)


secrets = st.lists(
    st.sampled_from(
        [Secret(name="a", environment="A"), Secret(name="a", file="/k"), Secret(name="b", environment="B")]
    ),
    unique_by=lambda secret: secret.name,
).map(tuple)
names = st.sets(st.sampled_from(["fetch", "resolve"])).map(tuple)
policies = st.builds(
    Policy,
    tier=st.sampled_from(TIERS),
    namespaces=st.sampled_from(NAMESPACES),
    determinism=st.sampled_from(DETERMINISM),
    files=files(),
    network=networks,
    secrets=secrets,
    executables=st.sets(st.sampled_from(["a" * 64, "b" * 64])).map(tuple),
    host_calls=names,
)


def decisions(policy: Policy) -> object:
    """Everything that a policy decides, on the requests of these tests."""
    tiers = [policy.decide_tier(tier, namespaces=there) is None for tier in TIERS for there in (False, True)]
    addresses = [policy.network.decide_address("https", one, 443, None) is None for one in ADDRESSES]
    sets = [set(policy.secrets), set(policy.executables), set(policy.host_calls)]
    network = (bounds(policy.network), addresses, policy.network.max_bytes)
    return (tiers, policy.determinism, opened(policy.files), network, sets, policy.limits())


@AT_LEISURE
@given(policies, policies, policies)
def test_order_grouping_and_repetition_do_not_matter(a: Policy, b: Policy, c: Policy) -> None:
    assert decisions(a.meet(b)) == decisions(b.meet(a))
    assert decisions(a.meet(b).meet(c)) == decisions(a.meet(b.meet(c)))
    assert decisions(a.meet(a)) == decisions(a)


@AT_LEISURE
@given(policies, policies)
def test_nothing_is_granted_that_either_lacks(a: Policy, b: Policy) -> None:
    common = a.meet(b)
    assert set(common.secrets) == set(a.secrets) & set(b.secrets)
    assert set(common.executables) == set(a.executables) & set(b.executables)
    assert set(common.host_calls) == set(a.host_calls) & set(b.host_calls)
    for tier, there in product(TIERS, (False, True)):
        each = [policy.decide_tier(tier, namespaces=there) is None for policy in (common, a, b)]
        assert each[0] == (each[1] and each[2])


@given(st.lists(st.integers(1, 9), min_size=32, max_size=32))
def test_each_limit_is_the_smaller(values: list[int]) -> None:
    names = [field.name for field in fields(Limits)]
    one, other = (
        read().model_copy(update={"bounds": read().bounds.model_copy(update=dict(zip(names, half, strict=False)))})
        for half in (values[:16], values[16:])
    )
    common = one.meet(other).limits()
    assert len(names) == 16
    assert [getattr(common, name) for name in names] == [
        min(pair) for pair in zip(values[:16], values[16:], strict=True)
    ]


def test_a_tool_that_names_no_limit_takes_the_operators_and_never_more() -> None:
    operator = read(limits={"memoryBytes": 1 << 30, "wallSeconds": 60})
    tool = read(limits={"wallSeconds": 90, "stdoutBytes": 1 << 40})
    limits = operator.for_tool(tool).limits()
    assert (limits.memory_bytes, limits.wall_seconds, limits.stdout_bytes) == (1 << 30, 60, Limits().stdout_bytes)
    assert not operator.for_tool(tool).network.rules


def test_a_tool_that_names_no_network_gets_none() -> None:
    rule = {"scheme": "https", "host": "*.a.example", "ports": [443]}
    operator = read(network={"rules": [rule]}, hostCalls=["fetch"])
    assert operator.for_tool(read()) == operator.meet(read())
    assert not operator.for_tool(read()).network.rules
    narrow = operator.for_tool(read(network={"rules": [rule | {"host": "b.a.example"}]}))
    assert [one.host for one in narrow.network.rules] == ["b.a.example"]


def test_the_largest_documents_meet_in_bounded_size() -> None:
    def wide(ports: range) -> Network:
        hosts = [f"{'*.' if number % 2 else ''}{'x.' * (number // 2)}a.example" for number in range(64)]
        return Network(
            rules=tuple(
                Rule(scheme="https", host=host, ports=tuple(ports), max_bytes=1 + number, max_connections=64 - number)
                for number, host in enumerate(hosts)
            )
        )

    common = wide(range(1, 65)).meet(wide(range(1, 65)))
    assert 0 < len(common.rules) <= 64 * 64


@AT_LEISURE
@given(rules, rules)
def test_a_rule_that_covers_another_grants_all_that_it_grants(one: Rule, other: Rule) -> None:
    wide, narrow = bounds(Network(rules=(one,))), bounds(Network(rules=(other,)))
    if one.covers(other):
        assert both(wide, narrow) == narrow
    assert isinstance(Network().decide("https", "a.example", 443, None), Denied)
