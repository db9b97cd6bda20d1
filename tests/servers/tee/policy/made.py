"""Documents and strategies that the policy tests share."""

import json
from typing import Any

from hypothesis import strategies as st

from servers.tee.policy import Policy, read_unsigned
from servers.tee.policy.files import FileGrant, Files
from servers.tee.policy.network import Network, Rule

SMALLEST: dict[str, Any] = {"kind": "execution", "version": 1, "tier": "wasm"}


def read(**members: Any) -> Policy:
    """A policy from a document with these members beside the ones that it needs."""
    return read_unsigned(json.dumps(SMALLEST | members).encode())


HOSTS = ("a.example", "b.a.example", "c.b.a.example", "xa.example", "example", "10.0.0.1", "2001:db8::1", "192.0.2.7")
PATTERNS = ("*", "*.a.example", "*.b.a.example", *HOSTS)
PORTS = (80, 443, 8443)
METHODS = ("GET", "POST")
PATHS = ("/d", "/d/x", "/d/x/y", "/d/xy", "/e")
ADDRESSES = ("10.0.0.1", "1.1.1.1", "192.0.2.7", "2001:db8::1", "64:ff9b::a00:1", "::ffff:10.0.0.1", "8.8.8.8")

small = st.integers(1, 3)
some_methods = st.none() | st.sets(st.sampled_from(METHODS), min_size=1).map(tuple)
rules = st.builds(
    Rule,
    scheme=st.sampled_from(["http", "https"]),
    host=st.sampled_from(PATTERNS),
    ports=st.sets(st.sampled_from(PORTS), min_size=1).map(tuple),
    methods=some_methods,
    max_bytes=small,
    max_connections=small,
)
networks = st.builds(
    Network,
    rules=st.lists(rules, max_size=4).map(tuple),
    deny=st.sets(st.sampled_from([*PATTERNS, "*.example"]), max_size=1).map(tuple),
    deny_resolved=st.sets(st.sampled_from(["10.0.0.0/8", "1.1.1.0/24", "2001:db8::/32"]), max_size=1).map(tuple),
    max_bytes=small,
    max_connections=small,
)
"""Few names and ports, so that what two of them allow often has something in common."""


@st.composite
def files(draw: st.DrawFn) -> Files:
    """Nested grants at places that agree, of which the innermost decides."""
    root = draw(st.sampled_from(["", "/in"]))
    paths = draw(st.sets(st.sampled_from(PATHS)))
    grants = [
        FileGrant(path=path, guest=root + path, access=draw(st.sampled_from(["ro", "rw"]))) for path in sorted(paths)
    ]
    pinned = [FileGrant(digest=one * 64, guest=f"/pin/{one}") for one in draw(st.sets(st.sampled_from("ab")))]
    return Files(grants=(*grants, *pinned), quota_bytes=draw(small), quota_inodes=draw(small))
