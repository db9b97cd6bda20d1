"""Attempts to get more out of a policy than it grants: one case each, each refused."""

import os
from pathlib import Path

import pytest

from attest.encoding import sha256_hex
from servers.tee.policy import BadPolicy, Denied, Granted, Policy
from servers.tee.policy.files import Opened
from servers.tee.policy.secrets import resolve
from servers.tee.policy.sources import open_digest, open_source
from tests.servers.tee.policy.made import read

OPERATOR = read(
    tier="process",
    network={
        "rules": [
            {"scheme": "https", "host": "*.a.example", "ports": [443]},
            {"scheme": "http", "host": "b.example", "ports": [80], "methods": ["GET", "HEAD"]},
            {"scheme": "http", "host": "10.0.0.1", "ports": [8080]},
        ],
        "deny": ["secret.a.example"],
        "denyResolved": ["203.0.113.0/24"],
    },
    files={"grants": [{"path": "/srv/a", "guest": "/srv/a"}]},
    secrets=[{"name": "key", "header": {"host": "api.a.example", "name": "Authorization"}}],
    hostCalls=["fetch"],
)
NETWORK = OPERATOR.network

REFUSED = [
    ("the apex of a wildcard", "https", "a.example", 443, None, "no-rule"),
    ("a name that only ends alike", "https", "evila.example", 443, None, "no-rule"),
    ("the name as a prefix of another", "https", "api.a.example.evil.test", 443, None, "no-rule"),
    ("a denied host, in capitals and with a final dot", "https", "SECRET.a.example.", 443, None, "denied"),
    ("a look-alike letter", "https", "\u0430pi.a.example", 443, None, "host"),
    ("a letter that is ASCII in small", "https", "\u212aey.a.example", 443, None, "host"),
    ("a full-width dot", "https", "api.a\uff0eexample", 443, None, "host"),
    ("two final dots", "https", "api.a.example..", 443, None, "host"),
    ("a user before the host", "https", "x@api.a.example", 443, None, "host"),
    ("a port inside the host", "https", "api.a.example:443", 443, None, "host"),
    ("a NUL in the host", "https", "api.a.example\x00.evil.test", 443, None, "host"),
    ("a line break in the host", "https", "api.a.example\r\nHost: evil", 443, None, "host"),
    ("an empty host", "https", "", 443, None, "host"),
    ("a host that is a dot", "https", ".", 443, None, "host"),
    ("a very long host", "https", "a." * 200 + "a.example", 443, None, "host"),
    ("a star", "https", "*.a.example", 443, None, "host"),
    ("another scheme", "http", "api.a.example", 443, None, "no-rule"),
    ("raw tcp to a host granted by https", "tcp", "api.a.example", 443, None, "no-rule"),
    ("another port", "https", "api.a.example", 8443, None, "no-rule"),
    ("port 0", "https", "api.a.example", 0, None, "no-rule"),
    ("a negative port", "https", "api.a.example", -443, None, "no-rule"),
    ("another method", "http", "b.example", 80, "POST", "no-rule"),
    ("a method in another case", "http", "b.example", 80, "get", "no-rule"),
    ("a tunnel, where methods are named", "http", "b.example", 80, None, "no-rule"),
    ("loopback by address", "http", "127.0.0.1", 8080, "GET", "no-rule"),
    ("an address in decimal", "http", "167772161", 8080, "GET", "host"),
    ("an address in octal", "http", "012.0.0.1", 8080, "GET", "host"),
    ("an address in hexadecimal", "http", "0xa000001", 8080, "GET", "host"),
    ("a short address", "http", "10.1", 8080, "GET", "host"),
    ("an address with an interface", "http", "[fe80::1%1]", 8080, "GET", "host"),
    ("NAT64 of a granted address", "http", "64:ff9b::a00:1", 8080, "GET", "no-rule"),
]


@pytest.mark.parametrize(
    ("scheme", "host", "port", "method", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_request_that_no_rule_grants_is_denied(
    scheme: str, host: str, port: int, method: str | None, code: str
) -> None:
    decision = NETWORK.decide(scheme, host, port, method)
    assert isinstance(decision, Denied)
    assert decision.code == code
    assert decision.reason.isprintable()


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.a.example", "api.a.example"),
        ("API.A.EXAMPLE.", "api.a.example"),
        ("x.y.a.example", "x.y.a.example"),
        ("xn--pple-43d.a.example", "xn--pple-43d.a.example"),
    ],
)
def test_a_host_that_is_granted_has_one_spelling_afterwards(host: str, name: str) -> None:
    decision = NETWORK.decide("https", host, 443, None)
    assert isinstance(decision, Granted)
    assert decision.host.name == name


@pytest.mark.parametrize("host", ["10.0.0.1", "::ffff:10.0.0.1", "[::ffff:a00:1]"])
def test_an_address_is_granted_in_every_spelling_that_is_surely_it(host: str) -> None:
    decision = NETWORK.decide("http", host, 8080, "PUT")
    assert isinstance(decision, Granted)
    assert decision.host.name == "10.0.0.1"


SPECIAL = [
    *("127.0.0.1", "127.9.9.9", "0.1.2.3", "10.0.0.2", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "198.18.0.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "::7f00:1"),
    *("2001:0:7f00:1::", "2002:a9fe:a9fe::1"),
]


@pytest.mark.parametrize("address", SPECIAL)
def test_a_granted_name_that_leads_inside_is_not_dialled(address: str) -> None:
    denied = NETWORK.decide_address("https", address, 443, None)
    assert denied is not None
    assert denied.code == "special-address"


@pytest.mark.parametrize("address", ["203.0.113.9", "::ffff:203.0.113.9", "64:ff9b::cb00:7109"])
def test_a_denied_range_is_not_dialled_under_any_name(address: str) -> None:
    denied = NETWORK.decide_address("https", address, 443, None)
    assert denied is not None
    assert denied.code == "denied-address"


def test_a_denied_range_beats_a_rule_that_names_the_address() -> None:
    rule = {"scheme": "http", "host": "10.0.0.1", "ports": [80]}
    network = read(network={"rules": [rule], "denyResolved": ["10.0.0.0/8"]}).network
    assert isinstance(network.decide("http", "10.0.0.1", 80, "GET"), Granted)
    assert network.decide_address("http", "10.0.0.1", 80, "GET") is not None
    assert NETWORK.decide_address("http", "10.0.0.1", 8080, "GET") is None
    assert NETWORK.decide_address("http", "10.0.0.1", 80, "GET") is not None


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_a_public_address_is_dialled(address: str) -> None:
    assert NETWORK.decide_address("https", address, 443, None) is None


def widened(**members: object) -> Policy:
    """What a tool gets under `OPERATOR` that asks for this."""
    return OPERATOR.for_tool(read(**members))


def test_a_tool_that_asks_for_every_host_gets_the_operators() -> None:
    policy = widened(network={"rules": [{"scheme": "https", "host": "*", "ports": [443, 22]}]})
    assert [(rule.host, rule.ports) for rule in policy.network.rules] == [("*.a.example", (443,))]
    assert isinstance(policy.network.decide("https", "secret.a.example", 443, None), Denied)


def test_a_tool_cannot_lift_a_denial() -> None:
    policy = widened(network={"rules": [{"scheme": "https", "host": "secret.a.example", "ports": [443]}]})
    assert isinstance(policy.network.decide("https", "secret.a.example", 443, None), Denied)


def test_a_tool_cannot_ask_for_a_parent_folder_or_another_place() -> None:
    assert not widened(files={"grants": [{"path": "/srv", "guest": "/in"}]}).files.grants
    assert not widened(files={"grants": [{"path": "/srv/ab", "guest": "/srv/ab"}]}).files.grants
    inside = widened(files={"grants": [{"path": "/srv", "guest": "/srv", "access": "rw"}]}).files
    assert [(one.path, one.access) for one in inside.grants] == [("/srv/a", "ro")]


@pytest.mark.parametrize("path", ["/srv/a/../b", "/srv/ab", "/srv", "/srv/a\x00b", "/srv//a", "/srv/./a", "", "srv/a"])
def test_a_path_beside_a_grant_is_not_opened(path: str) -> None:
    assert isinstance(OPERATOR.files.decide(path, write=False), Denied)
    assert isinstance(OPERATOR.files.decide("/srv/a/b", write=False), Opened)
    assert isinstance(OPERATOR.files.decide("/srv/a/b", write=True), Denied)


def test_a_tool_cannot_send_a_secret_to_another_host_or_hold_it() -> None:
    other = {"name": "key", "header": {"host": "evil.a.example", "name": "Authorization"}}
    assert not widened(secrets=[other]).secrets
    assert not widened(secrets=[{"name": "key", "environment": "KEY"}]).secrets
    assert not widened(secrets=[{"name": "other", "environment": "KEY"}]).secrets


def test_a_secret_goes_to_its_host_over_https_only() -> None:
    assert [name for name, _ in OPERATOR.headers("https", "api.a.example", 443)] == ["key"]
    for elsewhere in (("http", "api.a.example", 443), ("https", "x.a.example", 443), ("https", "api.a.example", 8443)):
        assert not OPERATOR.headers(*elsewhere)


def test_a_tool_cannot_lower_the_tier_or_the_rest() -> None:
    policy = OPERATOR.for_tool(read(tier="service", namespaces="optional", hostCalls=["fetch", "exec"]))
    assert (policy.tier, policy.namespaces, policy.host_calls) == ("process", "required", ("fetch",))
    assert policy.decide_tier("service", namespaces=True) is not None
    assert policy.decide_tier("process", namespaces=False) is not None
    assert policy.decide_tier("process", namespaces=True) is None
    assert policy.decide_tier("wasm", namespaces=False) is None


@pytest.mark.parametrize("value", ["", "a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\x7f", "a\x85b", "\u2028", "x" * 20_000])
def test_a_value_that_could_end_a_header_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(BadPolicy) as raised:
        resolve(OPERATOR.secrets, {"ETMCP_SECRET_KEY": value})
    assert str(raised.value).startswith("secrets.key: ")
    assert "ETMCP_SECRET_KEY" in str(raised.value)
    assert not value or value not in str(raised.value)


def test_a_key_of_several_lines_goes_into_a_variable_or_file() -> None:
    secrets = read(secrets=[{"name": "key", "file": "/run/key"}, {"name": "pem", "environment": "PEM"}]).secrets
    lines = "-----BEGIN\nabc\n-----END\n"
    assert resolve(secrets, {"ETMCP_SECRET_KEY": lines, "ETMCP_SECRET_PEM": lines}) == {"key": lines, "pem": lines}
    with pytest.raises(BadPolicy):
        resolve(secrets, {"ETMCP_SECRET_KEY": lines, "ETMCP_SECRET_PEM": "a\0b"})


def test_a_value_comes_from_the_operators_environment_and_is_in_no_document() -> None:
    assert resolve(OPERATOR.secrets, {"ETMCP_SECRET_KEY": "hunter2", "KEY": "no"}) == {"key": "hunter2"}
    assert "hunter2" not in str(OPERATOR.document())
    with pytest.raises(BadPolicy, match="no value; set ETMCP_SECRET_KEY"):
        resolve(OPERATOR.secrets, {"KEY": "no"})


def test_a_granted_path_that_is_or_holds_a_link_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for path, told in (
        ("link", "is a symbolic link"),
        ("link/file", "is a symbolic link"),
        ("real/out", "is a symbolic link"),
        ("pipe", "is neither a file nor a folder"),
        ("none", "No such file"),
        ("real/file/x", "is neither a file nor a folder"),
    ):
        with pytest.raises(BadPolicy, match=told):
            open_source(str(tmp_path / path))
    descriptor = open_source(str(tmp_path / "real" / "file"))
    assert Path(f"/proc/self/fd/{descriptor}").read_text() == "x"
    os.close(descriptor)


def test_a_file_by_digest_is_that_file_or_none(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"weights")
    descriptor = open_digest(str(file), sha256_hex(b"weights"))
    assert os.read(descriptor, 100) == b"weights"
    os.close(descriptor)
    file.write_bytes(b"others")
    with pytest.raises(BadPolicy, match="its SHA-256 is"):
        open_digest(str(file), sha256_hex(b"weights"))
    with pytest.raises(BadPolicy, match="name a file"):
        open_digest(str(tmp_path), "0" * 64)
