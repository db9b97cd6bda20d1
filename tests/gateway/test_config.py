"""The configuration: the shape of every client, read strictly where it is ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.note import NoteKey
from gateway.config import SOFTWARE, Config, embedded, load
from gateway.errors import UserError
from gateway.jsonc import plain
from gateway.variables import expand

KEY = "ab" * 32


REGISTRY = {"url": "http://r", "log": str(NoteKey("log.example", bytes(32)))}
OTHER = {"url": "http://other"}


def read(folder: Path, servers: Any, **more: Any) -> Config:
    path = folder / "c.json"
    path.write_text(json.dumps({"mcpServers": servers, **more}))
    return load(path)


def test_a_clients_own_file_works_with_all_that_other_programs_put_there(tmp_path: Path) -> None:
    entry = {"command": "x", "type": "stdio", "alwaysAllow": ["a"], "icon": None}
    config = read(tmp_path, {"My Server": entry, "web": {"url": "https://a/b", "type": "http"}}, theme="dark")
    assert list(config.servers) == ["My Server", "web"]
    assert config.source == str(tmp_path / "c.json")


def test_what_is_disabled_and_what_is_us_is_left_out(tmp_path: Path) -> None:
    servers = {"off": {"command": "x", "disabled": True}, "us": {"command": "/opt/bin/etmcp"}, "on": {"command": "x"}}
    assert list(read(tmp_path, servers).servers) == ["on"]


@pytest.mark.parametrize("entry", [{"disabled": True}, {"command": "etmcp", "url": "http://a"}])
def test_what_is_left_out_need_not_be_right(tmp_path: Path, entry: dict[str, Any]) -> None:
    assert not read(tmp_path, {"a": entry}).servers


def test_a_manifests_path_starts_at_the_configuration_file(tmp_path: Path) -> None:
    for name, found in (("m.json", tmp_path / "m.json"), ("/etc/m.json", Path("/etc/m.json"))):
        settings = {"manifest": name, "publisher": KEY}
        assert read(tmp_path, {"a": {"command": "x", "etmcp": settings}}).servers["a"].etmcp.manifest == found


@pytest.mark.parametrize(
    "etmcp",
    [
        {"requires": "executor-attested"},
        {"require": "hardware"},
        {"publisher": KEY.upper(), "manifest": "m"},
        {"attesters": [KEY + "\n"]},
        {"timeout": 0},
        {"timeout": 1e9},
        {"era": ""},
        {"seal": "maybe"},
        {"seal": "Require"},
        {"include": "a"},
        {"exclude": [""]},
        {"names": {"a": "b c"}},
        {"names": {"a": "x" * 65}},
        {"names": {"a": ""}},
        {"names": {"a": "b\n"}},
        {"prefix": "never"},
        {"store": "some"},
        {"limit": 0},
        {"limit": 1025},
        {"limit": 1.5},
        {"identity": "who"},
        {"name": "no-namespace"},
        {"version": ""},
    ],
)
def test_a_rule_that_is_not_understood_is_an_error_and_not_no_rule(tmp_path: Path, etmcp: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"mcpServers\.a\.etmcp"):
        read(tmp_path, {"a": {"command": "x", "etmcp": etmcp}})


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers":{"a":{"command":"x","etmcp":{"require":"executor-attested"},"etmcp":{}}}}',
        '{"mcpServers":{"a":{"command":"x"}},"mcpServers":{}}',
    ],
)
def test_two_rules_under_one_name_are_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UserError, match="names one key twice"):
        load(path)


@pytest.mark.parametrize("alias", ["", "a/b", "a\nb", "a\x00", "x" * 65])
def test_an_alias_that_could_not_be_part_of_a_uri_is_refused(tmp_path: Path, alias: str) -> None:
    with pytest.raises(UserError):
        read(tmp_path, {alias: {"command": "x"}})


def test_a_receipt_names_the_launch_and_no_secret_of_it(tmp_path: Path) -> None:
    secret = "hunter2"
    servers: dict[str, Any] = {
        "a": {"command": "/opt/bin/x", "args": ["--token", secret], "env": {"TOKEN": secret}},
        "b": {"url": f"https://h/p?token={secret}", "headers": {"authorization": secret}},
    }
    config = read(tmp_path, servers)
    launches = {alias: server.launch() for alias, server in config.servers.items()}
    assert secret not in json.dumps(launches)
    assert launches["a"]["command"] == "x"
    assert launches["b"] == {"url": "https://h/p"}
    servers["a"]["args"] = ["--token", "other"]
    assert read(tmp_path, servers).servers["a"].launch() != launches["a"]


def test_the_digest_changes_with_what_decides_a_verdict_and_with_nothing_else(tmp_path: Path) -> None:
    plain = read(tmp_path, {"a": {"command": "x"}}).digest()
    assert read(tmp_path, {"a": {"command": "x", "icon": "y"}}).digest() == plain
    for entry in ({"command": "y"}, {"command": "x", "args": ["a"]}, {"command": "x", "etmcp": {"seal": False}}):
        assert read(tmp_path, {"a": entry}).digest() != plain


ENVIRON = {"TOKEN": "hunter2", "HOST": "h", "EMPTY": ""}
DIGEST_BASE: dict[str, Any] = {"mcpServers": {"a": {"command": "x"}}}
VSCODE = """\ufeff{
  // what a person wrote
  "inputs": [{"type": "promptString", "id": "token"}],
  "servers": {
    "web": {"type": "http", "url": "https://a/b//c"}, /* two
    lines */
    "local": {"type": "stdio", "command": "x", "args": ["/*", "//", "a,]",],},
  },
}"""


def write(folder: Path, content: str | dict[str, Any], environ: Mapping[str, str] = ENVIRON) -> Config:
    path = folder / "c.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load(path, environ)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_of_vs_code_works_with_its_comments(tmp_path: Path, line_end: str) -> None:
    config = write(tmp_path, VSCODE.replace("\n", line_end))
    assert config.servers["web"].url == "https://a/b//c"
    assert config.servers["local"].args == ("/*", "//", "a,]")


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text('/*",]}\\\n #'), st.text()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text('/*",\\'), inner)),
    )
)
def test_json_is_plain_already(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert plain(text) == text


@given(st.text('{}[]",:/*\\\n1 ', max_size=30))
def test_what_is_no_json_with_comments_stays_so_and_lines_stay_where_they_are(text: str) -> None:
    bare = plain(text)
    assert len(bare) == len(text)
    assert [i for i, c in enumerate(bare) if c == "\n"] == [i for i, c in enumerate(text) if c == "\n"]


@pytest.mark.parametrize("text", ["{,}", "[,]", "[1,,]", "{} /*", "/*/ {}", "{} /", '{"a" 1,}', '"'])
def test_a_mistake_is_not_taken_for_a_comment(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json.loads(plain(text))


@pytest.mark.parametrize(
    ("entry", "transport"),
    [
        ({"command": "x"}, "stdio"),
        ({"command": "x", "type": "stdio"}, "stdio"),
        ({"url": "https://a"}, "http"),
        ({"url": "https://a", "type": "http"}, "http"),
        ({"url": "https://a", "type": "streamable-http"}, "http"),
        ({"url": "https://a", "type": "sse"}, "sse"),
        ({"etmcp": {"name": "com.example/weather", "version": "1.0.0"}}, None),
    ],
)
def test_how_a_server_is_reached(tmp_path: Path, entry: dict[str, Any], transport: str | None) -> None:
    assert read(tmp_path, {"a": entry}, registry=REGISTRY).servers["a"].transport == transport


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({}, "add one"),
        ({"command": "x", "etmcp": {"name": "a/b"}}, "drop the other"),
        ({"url": "http://a", "etmcp": {"name": "a/b"}}, "drop the other"),
        ({"command": "x", "etmcp": {"version": "1"}}, 'give "name"'),
        ({"etmcp": {"name": "a/b"}}, 'needs a "version"'),
        ({"etmcp": {"name": "a/b", "version": "1"}}, 'needs a "registry"'),
        ({"command": "x", "etmcp": {"store": "all"}}, 'needs just one server with "identity"'),
        ({"command": "x", "type": "http"}, "does not fit"),
        ({"url": "http://a", "type": "stdio"}, "does not fit"),
        ({"type": "sse", "etmcp": {"name": "a/b"}}, "does not fit"),
        ({"url": "http://a", "type": "websocket"}, "type: Input"),
    ],
)
def test_members_that_contradict_each_other_are_an_error(tmp_path: Path, entry: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=rf"mcpServers\.a.*{told}"):
        read(tmp_path, {"a": entry})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, '"mcpServers"'),
        ({"mcpServers": {}, "servers": {}}, "either"),
        ({"servers": {"a": {"command": "x", "etmcp": {"x": 1}}}}, r"servers\.a\.etmcp\.x"),
        ({"mcpServers": {}, "registry": {}}, "registry: needs"),
        ({"mcpServers": {}, "registry": {"url": "http://a", "command": "x"}}, "registry: needs"),
        ({"mcpServers": {}, "registry": {"url": "http://a", "receipts": True}}, 'needs "log"'),
        ({"mcpServers": {}, "registry": {"url": "http://a", "logs": "x"}}, r"registry\.logs"),
        ({"mcpServers": {}, "registry": {"url": "http://a", "log": "log.example+0+x"}}, "verifier key"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(tmp_path: Path, content: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        write(tmp_path, content)


def test_a_registry_is_where_names_are_looked_up(tmp_path: Path) -> None:
    log = str(NoteKey("log.example", bytes(32)))
    for registry in ({"url": "https://r"}, {"command": "etmcp-registry", "args": ["stdio"], "log": log}):
        config = write(tmp_path, {"mcpServers": {}, "registry": registry})
        assert config.registry is not None
        assert config.registry.model_dump(exclude_defaults=True) == registry | (
            {"args": ("stdio",)} if "args" in registry else {}
        )


def test_one_name_given_twice_is_an_error(tmp_path: Path) -> None:
    servers = {alias: {"command": "x", "etmcp": {"names": {own: "search"}}} for alias, own in (("a", "s"), ("b", "t"))}
    with pytest.raises(UserError, match="gives search twice"):
        read(tmp_path, servers)


def test_variables_are_filled_in_wherever_a_client_does(tmp_path: Path) -> None:
    entry = {
        "command": "${env:HOST}/x",
        "args": ["--token=${TOKEN}", "${NONE:-a b}${EMPTY:-c}${EMPTY}", "$TOKEN ${TOKEN%x} ${1}"],
        "env": {"T": "${TOKEN}"},
        "headers": {"authorization": "Bearer ${env:TOKEN}"},
        "cwd": "/${HOST}",
    }
    server = write(tmp_path, {"mcpServers": {"a": entry}}).servers["a"]
    assert server.command == "h/x"
    assert server.args == ("--token=hunter2", "a bc", "$TOKEN ${TOKEN%x} ${1}")
    assert (server.env, server.headers) == ({"T": "hunter2"}, {"authorization": "Bearer hunter2"})
    assert server.cwd == Path("/h")


def test_a_value_is_not_looked_into_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "x"}) == "${B}"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"command": "x", "env": {"T": "${GONE}-${TOKEN}"}}, r"a\.env\.T: the variable GONE is not set; set it"),
        ({"url": "http://${env:GONE}"}, r"a\.url: the variable GONE"),
        (
            {"url": "http://a", "headers": {"h": "${TOKEN} ${input:token}"}},
            r"a\.headers\.h: \$\{input:token\} is filled",
        ),
    ],
)
def test_a_variable_without_a_value_is_named_and_no_value_is(tmp_path: Path, entry: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        write(tmp_path, {"mcpServers": {"a": entry}})
    assert "hunter2" not in str(caught.value)


def test_a_receipt_names_variables_and_not_their_values(tmp_path: Path) -> None:
    servers = {
        "a": {"url": "https://me:${TOKEN}@${HOST}:1/${TOKEN}/p#${TOKEN}", "etmcp": {"manifest": "m", "publisher": KEY}},
        "b": {"command": "x", "args": ["${TOKEN}"]},
    }
    config = write(tmp_path, {"mcpServers": servers})
    assert config.servers["a"].url == "https://me:hunter2@h:1/hunter2/p#hunter2"
    assert config.servers["a"].launch() == {"url": "https://${HOST}:1/${TOKEN}/p"}
    rotated = write(tmp_path, {"mcpServers": servers}, ENVIRON | {"TOKEN": "other"})
    assert rotated.servers["b"].launch() == config.servers["b"].launch()
    assert rotated.digest() == config.digest()


@pytest.mark.parametrize(
    "entry",
    [
        {"etmcp": {"name": "a/b", "version": "1"}},
        {"url": "http://a"},
        {"url": "http://a", "type": "sse"},
        {"command": "x", "etmcp": {"identity": True}},
        {"command": "x", "etmcp": {"store": "all", "identity": True}},
        {"command": "x", "etmcp": {"exclude": ["a"]}},
    ],
)
def test_no_two_configurations_that_mean_different_things_have_one_digest(tmp_path: Path, entry: Any) -> None:
    configured = {"registry": REGISTRY}
    digests = {write(tmp_path, file | configured).digest() for file in (DIGEST_BASE, {"mcpServers": {"a": entry}})}
    digests |= {write(tmp_path, DIGEST_BASE).digest(), write(tmp_path, DIGEST_BASE | {"registry": OTHER}).digest()}
    assert len(digests) == 4


def test_this_gateway_over_http_is_us_too(tmp_path: Path) -> None:
    assert not read(tmp_path, {"etmcp": {"url": "http://127.0.0.1:8400/mcp"}}).servers


def test_without_a_file_it_is_our_own_server_which_must_prove_its_results() -> None:
    (server,) = embedded(Path("/bin/etmcp-tee"), Path("/cache")).servers.values()
    assert server.etmcp.require == "executor-attested"
    assert server.command == "/bin/etmcp-tee"
    assert server.args[-2:] == SOFTWARE
