"""What a policy allows is told in full and in plain words, and so is what a new one allows more."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from attest.explain import Sentence, render
from attest.explain import explain as explain_appraisal
from attest.policy import AllOf, AnyOf, Measurement, MinAssurance, NotDebug
from servers.tee.policy import read_unsigned
from servers.tee.policy.changes import Change, changes
from servers.tee.policy.files import Files
from servers.tee.policy.network import Network
from servers.tee.policy.words import explain
from tests.servers.tee.policy.made import files, networks, read
from tests.servers.tee.policy.test_meet import both, bounds, opened

SNAPSHOTS = Path(__file__).parent / "snapshots"
AT_LEISURE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULE = {"scheme": "https", "host": "*.a.example", "ports": [443]}
HEADER = {"host": "b.a.example", "name": "X-Key"}
REQUESTS = "https requests to b.a.example port 443"
BELOW = (
    "https to every host below a.example, port 443: tunnels and any request, 16 MiB and 16 connections to each host "
    "and port"
)


@pytest.mark.parametrize("name", ["weather", "open", "nothing"])
def test_a_policy_is_explained_as_on_file(name: str) -> None:
    policy = read_unsigned((SNAPSHOTS / f"{name}.json").read_bytes())
    assert render(explain(policy)) == (SNAPSHOTS / f"{name}.txt").read_text()


def test_an_appraisal_policy_is_explained_in_the_same_words() -> None:
    policy = AllOf(
        [MinAssurance("software"), AnyOf([Measurement("mrtd", frozenset({"b", "a"})), AllOf([])]), NotDebug()]
    )
    assert render(explain_appraisal(policy)) == (
        "Requires all of the following.\n"
        "  Requires an assurance of software or more.\n"
        "  Requires one of the following.\n"
        "    Requires the platform's measurement mrtd to be one of: a, b.\n"
        "    Denies everything: an empty rule accepts nothing.\n"
        "  Denies evidence that says debug mode.\n"
    )


def test_what_a_terminal_would_act_on_is_shown_escaped() -> None:
    assert render([Sentence("Allows", "a\x1b[2Jb\u202e")]) == "Allows a\\x1b[2Jb\\u202e.\n"


def network(**members: Any) -> dict[str, Any]:
    return {"network": {"rules": [RULE | members]}}


DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], list[tuple[bool, str]]]] = [
    ({}, {}, []),
    (network(ports=[80, 443]), network(ports=[443, 80]), []),
    ({"limits": {}}, {"limits": {"depth": 64}}, []),
    ({"tier": "wasm"}, {"tier": "service"}, [(True, "tier was wasm and is service, which asks for less")]),
    ({"tier": "service"}, {"tier": "process"}, [(False, "tier was service and is process, which asks for more")]),
    ({"network": {"maxBytes": 1}}, {"files": {"quotaBytes": 5}}, []),
    ({}, {"namespaces": "optional"}, [(True, "namespaces was required and is optional, which asks for less")]),
    (
        {"determinism": "strict"},
        {"determinism": "seeded"},
        [(True, "determinism was strict and is seeded, which asks for less")],
    ),
    (
        {"limits": {"memoryBytes": 1 << 20}},
        {"limits": {"memoryBytes": 1 << 30, "wallSeconds": 1}},
        [
            (True, "limits memory to 1 GiB; before, memory to 1 MiB"),
            (False, "limits a call to 1 s; before, a call to 20 s"),
        ],
    ),
    (
        {},
        network(),
        [(True, f"newly allowed: {BELOW}")],
    ),
    (
        network(),
        network(host="b.a.example"),
        [(False, f"no longer allowed: {BELOW}")],
    ),
    (
        {"network": {"rules": [RULE | {"ports": [443]}, RULE | {"ports": [80]}]}},
        network(ports=[80, 443]),
        [],
    ),
    (
        {"network": {"rules": [RULE], "deny": ["a.example"], "denyResolved": ["10.0.0.0/24"]}},
        {"network": {"rules": [RULE], "deny": ["*"], "denyResolved": ["10.0.0.0/8"]}},
        [(False, "newly denied: every host that has a name"), (False, "newly denied: addresses in 10.0.0.0/8")],
    ),
    (
        {"network": {"rules": [RULE], "deny": ["a.example"], "denyResolved": ["10.0.0.0/8"]}},
        {"network": {"rules": [RULE], "maxConnections": 65}},
        [
            (True, "no longer denied: a.example"),
            (True, "no longer denied: addresses in 10.0.0.0/8"),
            (True, "the network's total of connections was 64 and is 65"),
        ],
    ),
    (
        {"files": {"grants": [{"path": "/a", "guest": "/a"}, {"path": "/b", "guest": "/b"}]}},
        {"files": {"grants": [{"path": "/a", "guest": "/a", "access": "rw"}], "quotaBytes": 1024}},
        [
            (True, "/a was at /a, ro, and is at /a, rw"),
            (False, "no longer allowed: /b"),
            (True, "the quota of bytes was 0 bytes and is 1 KiB"),
        ],
    ),
    (
        {"files": {"grants": [{"path": "/a", "guest": "/a"}]}},
        {"files": {"grants": [{"path": "/a/b", "guest": "/x"}, {"digest": "0" * 64, "guest": "/d"}]}},
        [
            (False, "no longer allowed: /a"),
            (True, "/a/b was at /a/b, ro, and is at /x, ro"),
            (True, f"newly allowed: the file with SHA-256 {'0' * 64} as /d"),
        ],
    ),
    (
        {"secrets": [{"name": "key", "header": HEADER}]},
        {"secrets": [{"name": "key", "header": HEADER | {"prefix": "Bearer "}}]},
        [
            (True, f"newly allowed: secret key in header X-Key behind 'Bearer ' of {REQUESTS}"),
            (False, f"no longer allowed: secret key in header X-Key of {REQUESTS}"),
        ],
    ),
    (
        {"hostCalls": ["a"], "executables": []},
        {"hostCalls": ["b"], "executables": ["0" * 64]},
        [
            (True, f"newly allowed: starting the program with SHA-256 {'0' * 64}"),
            (True, "newly allowed: host call b"),
            (False, "no longer allowed: host call a"),
        ],
    ),
    (
        {"egressRecord": "requests"},
        {},
        [(True, "egressRecord was requests and is connections, which asks for less")],
    ),
]


@pytest.mark.parametrize(("old", "new", "told"), DIFFERENCES)
def test_a_difference_is_told_and_marked(
    old: dict[str, Any], new: dict[str, Any], told: list[tuple[bool, str]]
) -> None:
    assert changes(read(**old), read(**new)) == [Change(widens, text) for widens, text in told]


@AT_LEISURE
@given(networks, networks)
def test_a_network_that_widens_says_so(old: Network, new: Network) -> None:
    found = changes(read().model_copy(update={"network": old}), read().model_copy(update={"network": new}))
    if not any(change.widens for change in found):
        assert both(bounds(old), bounds(new)) == bounds(new)


@AT_LEISURE
@given(files(), files())
def test_files_that_widen_say_so(old: Files, new: Files) -> None:
    found = changes(read().model_copy(update={"files": old}), read().model_copy(update={"files": new}))
    before, after = opened(old), opened(new)
    if not any(change.widens for change in found):
        assert all(key in before and before[key].guest == after[key].guest for key in after)


@AT_LEISURE
@given(networks, files())
def test_what_is_the_same_has_no_difference(some: Network, granted: Files) -> None:
    policy = read().model_copy(update={"network": some, "files": granted})
    assert changes(policy, policy) == []
    assert not any(change.widens for change in changes(policy, policy.meet(policy)))
