"""What is no policy is refused in words that name the place, and by one kind of error only."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.tee.policy import BUILT_IN, BadPolicy, read_policy, read_unsigned
from servers.tee.policy.bounds import Bounds
from servers.tee.sandbox import Limits
from tests.servers.tee.policy.made import SMALLEST, read

AT_LEISURE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULE = {"scheme": "https", "host": "a.example", "ports": [443]}
GRANT = {"path": "/srv/a", "guest": "/a"}
SECRET = {"name": "key", "environment": "API_KEY"}
HEADER = {"host": "a.example", "name": "Authorization"}


def network(**members: Any) -> dict[str, Any]:
    return {"network": {"rules": [RULE | members]}}


def grants(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"files": {"grants": list(entries)}}


def header(**members: Any) -> dict[str, Any]:
    return {"secrets": [{"name": "key", "header": HEADER | members}]}


HOST = "network.rules[0].host: "
PATH = "files.grants[0].path: "
VARIABLE = "secrets[0].environment: "
BAD: list[tuple[dict[str, Any], str]] = [
    ({"tier": "gpu"}, "tier: needs one of 'service', 'process' or 'wasm'"),
    ({"tier": None}, "tier: needs one of 'service', 'process' or 'wasm'"),
    ({"Tier": "wasm"}, "Tier: is not a member of a policy"),
    ({"allowAll": True}, "allowAll: is not a member of a policy"),
    ({"host_calls": ["fetch"]}, "host_calls: is not a member of a policy"),
    ({"bounds": {}}, "bounds: is not a member of a policy"),
    ({"new\nline": 1}, "'new\\nline': is not a member of a policy"),
    ({"network": []}, "network: needs an object"),
    ({"files": {"grants": {}}}, "files.grants: needs an array"),
    (network(scheme="ftp"), "network.rules[0].scheme: needs one of 'http', 'https' or 'tcp'"),
    (network(host="*.com"), HOST + "*.com grants a whole top-level domain; name the domain, or write * for every name"),
    (network(host="*example.com"), HOST + "'*example.com' has a star elsewhere than as its whole first label"),
    (network(host="*.*.example"), HOST + "'*.*.example' has a star elsewhere than as its whole first label"),
    (network(host="api.*.example"), HOST + "'api.*.example' has a star elsewhere than as its whole first label"),
    (network(host="a.example."), HOST + "'a.example.' ends in a dot; leave it out"),
    (network(host="A.example"), HOST + "'A.example' is not a host name in lower case"),
    (network(host=""), HOST + "'' is not a host name in lower case"),
    (network(host="a..example"), HOST + "'a..example' is not a host name in lower case"),
    (network(host="-a.example"), HOST + "'-a.example' is not a host name in lower case"),
    (network(host="user@a.example"), HOST + "'user@a.example' is not a host name in lower case"),
    (network(host="a.example/path"), HOST + "'a.example/path' is not a host name in lower case"),
    (network(host="a.example\r\nX: 1"), HOST + "'a.example\\r\\nX: 1' is neither a host name nor an IPv6 address without brackets"),
    (network(host="\u0430pple.com"), HOST + "'\\u0430pple.com' is not ASCII; its name in DNS is xn--pple-43d.com"),
    (network(host="a.ex\u3002ample"), HOST + "'a.ex\\u3002ample' is not ASCII; its name in DNS is a.ex.ample"),
    (network(host="127.1"), HOST + "'127.1' is not an address in dotted decimal"),
    (network(host="2130706433"), HOST + "'2130706433' is not an address in dotted decimal"),
    (network(host="0x7f.0.0.1"), HOST + "'0x7f.0.0.1' is not an address in dotted decimal"),
    (network(host="0177.0.0.1"), HOST + "'0177.0.0.1' is not an address in dotted decimal"),
    (network(host="*.0.0.1"), HOST + "'0.0.1' is not an address in dotted decimal"),
    (network(host="[::1]"), HOST + "'[::1]' is neither a host name nor an IPv6 address without brackets"),
    (network(host="::0001"), HOST + "'::0001' is not how this address is written; write ::1"),
    (network(host="::ffff:10.0.0.1"), HOST + "'::ffff:10.0.0.1' is not how this address is written; write 10.0.0.1"),
    (network(host="fe80::1%eth0"), HOST + "'fe80::1%eth0' names a network interface"),
    (network(host="a.example:443"), HOST + "'a.example:443' is neither a host name nor an IPv6 address without brackets"),
    (network(ports=[0]), "network.rules[0].ports[0]: must be at least 1"),
    (network(ports=[65_536]), "network.rules[0].ports[0]: must be at most 65535"),
    (network(ports=["443"]), "network.rules[0].ports[0]: needs an integer"),
    (network(ports=[True]), "network.rules[0].ports[0]: needs an integer"),
    (network(ports=[]), "network.rules[0].ports: is empty and would grant nothing; leave it out"),
    (network(ports=[443, 443]), "network.rules[0].ports: names something twice"),
    (network(ports="*"), "network.rules[0].ports: needs an array"),
    (network(methods=[]), "network.rules[0].methods: is empty and would grant nothing; leave it out"),
    (network(methods=["get"]), "network.rules[0].methods[0]: 'get' is not a method in capitals"),
    (network(methods=["GET /\r\n"]), "network.rules[0].methods[0]: 'GET /\\r\\n' is not a method in capitals"),
    (network(maxBytes=-1), "network.rules[0].maxBytes: must be at least 1"),
    (network(maxBytes=10**30), "network.rules[0].maxBytes: must be at most 1125899906842624"),
    (network(maxConnections=0), "network.rules[0].maxConnections: must be at least 1"),
    ({"network": {"rules": [RULE] * 65}}, "network.rules: has more than 64 entries"),
    ({"network": {"denyResolved": ["10.0.0.1/8"]}}, "network.denyResolved[0]: '10.0.0.1/8' is not a range of addresses like 203.0.113.0/24"),
    ({"network": {"denyResolved": ["10.0.0.1"]}}, "network.denyResolved[0]: '10.0.0.1' is not how this range is written; write 10.0.0.1/32"),
    (grants({"path": "/srv/../etc", "guest": "/a"}), PATH + "'/srv/../etc' has .. in it; write where it leads"),
    (grants({"path": "srv", "guest": "/a"}), PATH + "'srv' is not an absolute path"),
    (grants({"path": "~/.ssh", "guest": "/a"}), PATH + "'~/.ssh' is not an absolute path"),
    (grants({"path": "/", "guest": "/a"}), PATH + "/ is everything; name a folder"),
    (grants({"path": "/srv/", "guest": "/a"}), PATH + "'/srv/' is not how this path is written; write '/srv'"),
    (grants({"path": "//srv", "guest": "/a"}), PATH + "'//srv' is not how this path is written; write '/srv'"),
    (grants({"path": "/srv\x00", "guest": "/a"}), PATH + "'/srv\\x00' is not an absolute path"),
    (grants({"path": "/proc/1/environ", "guest": "/a"}), PATH + "'/proc/1/environ' belongs to the kernel"),
    (grants({"path": "/srv", "guest": "/dev/shm"}), "files.grants[0].guest: '/dev/shm' belongs to the kernel"),
    (grants({"guest": "/a"}), "files.grants[0]: needs either path or digest"),
    (grants(GRANT | {"digest": "0" * 64}), "files.grants[0]: needs either path or digest"),
    (grants({"digest": "0" * 64, "guest": "/a", "access": "rw"}), "files.grants[0]: a file that is named by its digest cannot be rw: writing would make it another"),
    (grants({"digest": "A" * 64, "guest": "/a"}), f"files.grants[0].digest: '{'A' * 64}' is not a SHA-256 digest: 64 hex digits in lower case"),
    (grants(GRANT, GRANT), "files: /srv/a is granted twice"),
    (grants(GRANT, {"path": "/srv/a/b", "guest": "/b"}), "files: /srv/a/b is inside /srv/a and must be at /a/b"),
    (grants(GRANT, {"path": "/srv/b", "guest": "/a/b"}), "files: /a/b and /a overlap for the program"),
    (grants(GRANT | {"access": "rwx"}), "files.grants[0].access: needs one of 'ro' or 'rw'"),
    ({"files": {"quotaBytes": -5}}, "files.quotaBytes: must be at least 0"),
    ({"secrets": [{"name": "key"}]}, "secrets[0]: needs exactly one of environment, file and header: a secret goes one way"),
    ({"secrets": [SECRET | {"file": "/k"}]}, "secrets[0]: needs exactly one of environment, file and header: a secret goes one way"),
    ({"secrets": [SECRET | {"argv": 1}]}, "secrets[0].argv: is not a member of a policy"),
    ({"secrets": [SECRET | {"value": "hunter2"}]}, "secrets[0].value: is not a member of a policy"),
    ({"secrets": [SECRET, SECRET | {"environment": "B"}]}, "secrets: key is named twice; a secret goes one way"),
    ({"secrets": [SECRET, SECRET | {"name": "other"}]}, "secrets: key and other go to the same place"),
    ({"secrets": [SECRET | {"environment": "LD_PRELOAD"}]}, VARIABLE + "LD_PRELOAD changes how programs start or connect; choose another variable"),
    ({"secrets": [SECRET | {"environment": "https_proxy"}]}, VARIABLE + "https_proxy changes how programs start or connect; choose another variable"),
    ({"secrets": [SECRET | {"environment": "A=B"}]}, VARIABLE + "'A=B' is not a variable's name"),
    (header(host="*.a.example"), "secrets[0].header.host: '*.a.example' is more than one host; a secret goes to one"),
    (header(host=["a.example", "b.example"]), "secrets[0].header.host: needs a string"),
    (header(name="X\r\nHost"), "secrets[0].header.name: 'X\\r\\nHost' is not a header's name"),
    (header(name="Host"), "secrets[0].header.name: Host frames the message; a secret cannot be put there"),
    (header(name="proxy-authorization"), "secrets[0].header.name: proxy-authorization frames the message; a secret cannot be put there"),
    (header(prefix="Bearer\r\nX: "), "secrets[0].header.prefix: 'Bearer\\r\\nX: ' is not one line of printable ASCII"),
    (grants(GRANT) | {"secrets": [{"name": "key", "file": "/a/key"}]}, "document: the file of secret key overlaps the grant at /a"),
    ({"limits": {"memoryBytes": -1}}, "limits.memoryBytes: must be at least 1"),
    ({"limits": {"memoryBytes": 10**300}}, "limits.memoryBytes: must be at most 1125899906842624"),
    ({"limits": {"memoryBytes": "1 GiB"}}, "limits.memoryBytes: needs an integer"),
    ({"limits": {"memory_bytes": 1}}, "limits.memory_bytes: is not a member of a policy"),
    ({"limits": {"wallSeconds": 0}}, "limits.wallSeconds: must be more than 0"),
    ({"limits": {"wallSeconds": True}}, "limits.wallSeconds: needs a number"),
    ({"limits": {"cpuSeconds": 1e300}}, "limits.cpuSeconds: must be at most 604800"),
    ({"limits": {"depth": 121}}, "limits.depth: must be at most 120"),
    ({"executables": ["/usr/bin/git"]}, "executables[0]: '/usr/bin/git' is not a SHA-256 digest: 64 hex digits in lower case"),
    ({"executables": ["0" * 64, "0" * 64]}, "executables: names something twice"),
    ({"hostCalls": ["*"]}, "hostCalls[0]: '*' is not a host call's name"),
    ({"determinism": "mostly"}, "determinism: needs one of 'none', 'seeded' or 'strict'"),
    ({"egressRecord": "none"}, "egressRecord: needs one of 'connections' or 'requests'"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "message"), BAD, ids=[message[:70] for _, message in BAD])
def test_a_bad_member_is_named_with_what_is_wrong(members: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        read(**members)
    assert str(raised.value) == message


TEXTS: list[tuple[bytes, str]] = [
    (b"", "document: the policy file: Expecting value at character 0"),
    (b"[]", "document: the policy file is not an object"),
    (b"\xff{}", "document: the policy file: byte 0 is not UTF-8"),
    (b'{"kind":"execution","kind":"execution"}', "document: the policy file: an object names one key twice"),
    (b'{"limits":{"wallSeconds":NaN}}', "document: the policy file: NaN is not JSON"),
    (b'{"limits":{"wallSeconds":1e999}}', "document: the policy file: a number is too large for a double"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "document: the policy file: nested deeper than 32 levels"),
    (b'{"a":' * 9999, "document: the policy file: nested deeper than 32 levels"),
    (b'{"a":"\\ud800"}', "document: the policy file: a string holds half of a surrogate pair"),
    (b'{"a":' + b"9" * 5000 + b"}", "document: the policy file: an integer has more digits than can be read"),
    (b" " * 600_000, "document: the policy file is longer than 524288 bytes"),
    (b"{}", 'document: the policy says no kind; this one must say "kind": "execution"'),
    (b'{"kind":"appraisal","version":1}', "document: the policy says kind 'appraisal'; this one must say \"kind\": \"execution\""),
    (b'{"kind":"execution"}', 'document: the policy must say "version": 1'),
    (b'{"kind":"execution","version":true}', 'document: the policy must say "version": 1'),
    (b'{"kind":"execution","version":2}', 'document: the policy must say "version": 1'),
    (b'{"kind":"execution","version":1}', "tier: is missing"),
    (b'{"payloadType":1}', "document: the envelope needs a string of at most 200 characters as 'payloadType'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), TEXTS, ids=[message[-60:] for _, message in TEXTS])
def test_text_without_one_meaning_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        read_unsigned(text)
    assert str(raised.value) == message


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(BadPolicy) as raised:
        read(extra=1, limits={"depth": 0}, hostCalls=[""])
    assert [where for where, _ in raised.value.problems] == ["hostCalls[0]", "limits.depth", "extra"]
    assert str(raised.value).endswith("(and 2 more)")


def test_silence_grants_nothing_and_means_the_default_limits() -> None:
    policy = read()
    assert policy.limits() == Limits()
    assert not (
        policy.network.rules or policy.files.grants or policy.secrets or policy.executables or policy.host_calls
    )
    assert read(tier="process") == BUILT_IN


def test_a_document_of_what_was_read_reads_as_the_same_policy() -> None:
    policy = read(**network(methods=["POST", "GET"]), **grants(GRANT), **header(), limits={"wallSeconds": 5})
    again = read_unsigned(json.dumps(policy.document()).encode())
    assert (again, again.digest()) == (policy, policy.digest())


def test_spelling_and_order_are_not_in_the_digest() -> None:
    one = read(hostCalls=["b", "a"], limits={"wallSeconds": 20}, **network(ports=[443, 80]))
    other = read(**network(ports=[80, 443], maxBytes=16 << 20), hostCalls=["a", "b"])
    assert one.digest() == other.digest()
    assert one.digest() != read(hostCalls=["a"]).digest()


def test_every_limit_of_a_job_is_in_the_document() -> None:
    assert list(Bounds.model_fields) == [field.name for field in fields(Limits)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.dictionaries(
    st.sampled_from([*BUILT_IN.document(), "extra"]),
    json_values
    | st.fixed_dictionaries({"rules": st.lists(st.fixed_dictionaries({"host": json_values, "ports": json_values}))})
    | st.fixed_dictionaries({"grants": st.lists(st.fixed_dictionaries({"path": json_values, "guest": json_values}))}),
)


@AT_LEISURE
@given(members)
def test_only_one_error_comes_out_of_nearly_right_documents(some: dict[str, Any]) -> None:
    try:
        read_unsigned(json.dumps(SMALLEST | some).encode())
    except BadPolicy as e:
        assert "\n" not in str(e)


@AT_LEISURE
@given(st.binary())
def test_only_one_error_comes_out_of_any_bytes(data: bytes) -> None:
    for reader in (read_unsigned, lambda d: read_policy(d, [bytes(32)])):  # pyright: ignore[reportUnknownLambdaType, reportUnknownVariableType]
        with pytest.raises(BadPolicy):
            reader(data)
