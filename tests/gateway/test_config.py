"""The configuration: the shape of every client, read strictly where it is ours."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, embedded, load
from gateway.errors import UserError

KEY = "ab" * 32


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
    for given, found in (("m.json", tmp_path / "m.json"), ("/etc/m.json", Path("/etc/m.json"))):
        settings = {"manifest": given, "publisher": KEY}
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


def test_without_a_file_it_is_our_own_server_which_must_prove_its_results() -> None:
    (server,) = embedded(Path("/bin/etmcp-tee"), Path("/cache")).servers.values()
    assert server.etmcp.require == "executor-attested"
    assert server.command == "/bin/etmcp-tee"
