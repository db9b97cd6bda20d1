"""`etmcp install`: the gateway is added to a client's configuration, and nothing else there changes."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.install import json_text, toml_text
from gateway.cli.install.clients import CLIENTS
from gateway.cli.install.clients import Place as Surroundings
from gateway.jsonc import plain
from tests.cli.mistakes import CLAUDE
from tests.cli.place import Place
from tests.cli.programs import Programs

ETMCP = str(Path(sys.executable).with_name("etmcp"))
BEFORE = (
    '{"theme":"é\\n","n":12345678901234567890,"mcpServers":{"other":{"command":"x","env":{"TOKEN":"s"},"y":[null]}}}'
)


@pytest.fixture
def place(tmp_path: Path, programs: Programs) -> Place:
    return Place(tmp_path, programs)


def client(place: Place) -> Path:
    return place.folder / CLAUDE


def read(place: Place) -> dict[str, Any]:
    return json.loads(client(place).read_text())


def test_a_new_file_starts_this_installation_with_absolute_paths_only(place: Place) -> None:
    done = place.run("install", "claude-desktop")
    assert (done.code, done.err) == (0, "")
    assert str(client(place)) in done.out
    entry = read(place)["mcpServers"]["etmcp"]
    home, config = str(place.home), str(place.config)
    assert entry == {"command": ETMCP, "args": ["--home", home, "--config", config, "stdio"]}


def test_a_relative_configuration_is_written_as_absolute(place: Place) -> None:
    place.programs.run(place.folder, ["--config", "config.json", "--home", "home", "install", "claude-desktop"])
    paths = [word for word in read(place)["mcpServers"]["etmcp"]["args"] if "/" in word]
    assert paths == [str(place.home), str(place.config)]


def test_without_configuration_and_home_it_is_just_the_command(place: Place) -> None:
    done = place.programs.run(place.folder, ["install", "claude-desktop"], environ={"ETMCP_HOME": ""})
    assert done.code == 0
    assert read(place)["mcpServers"]["etmcp"] == {"command": ETMCP, "args": ["stdio"]}


def test_other_servers_and_unknown_members_stay_and_the_old_file_is_kept(place: Place) -> None:
    place.write(CLAUDE, BEFORE)
    place.done("install", "claude-desktop")
    after = read(place)
    assert after["mcpServers"].pop("etmcp")["command"] == ETMCP
    assert after == json.loads(BEFORE)
    assert client(place).with_name(client(place).name + ".before-etmcp").read_text() == BEFORE


def test_a_file_that_others_may_not_read_stays_so_and_so_does_its_copy(place: Place) -> None:
    place.write(CLAUDE, BEFORE).chmod(0o600)
    place.done("install", "claude-desktop")
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in client(place).parent.iterdir()} == {
        client(place).name: "0o600",
        client(place).name + ".before-etmcp": "0o600",
    }


def test_dry_run_shows_the_file_and_changes_nothing(place: Place) -> None:
    done = place.done("install", "claude-desktop", "--dry-run")
    assert not client(place).parent.exists()
    place.write(CLAUDE, BEFORE)
    done = place.done("install", "claude-desktop", "--dry-run")
    shown = json.loads(done.out.partition("\n")[2])
    assert set(shown["mcpServers"]) == {"other", "etmcp"}
    assert [file.name for file in client(place).parent.iterdir()] == [client(place).name]
    assert client(place).read_text() == BEFORE


def test_twice_is_the_same_as_once_and_keeps_the_first_copy(place: Place) -> None:
    place.write(CLAUDE, BEFORE)
    place.done("install", "claude-desktop")
    once = {file.name: file.read_bytes() for file in client(place).parent.iterdir()}
    place.done("install", "claude-desktop")
    assert {file.name: file.read_bytes() for file in client(place).parent.iterdir()} == once


def test_an_empty_file_counts_as_none(place: Place) -> None:
    place.write(CLAUDE, "")
    place.done("install", "claude-desktop")
    assert set(read(place)["mcpServers"]) == {"etmcp"}


def test_what_is_installed_in_a_client_can_be_the_gateways_own_configuration(place: Place) -> None:
    place.write(CLAUDE, {"mcpServers": {"lean": place.lean.entry()}})
    place.done("install", "claude-desktop")
    done = place.programs.run(place.folder, ["--config", str(client(place)), "tools"])
    assert done.code == 0
    assert "server lean: observer-attested, ready" in done.out
    assert "etmcp" not in done.out


# For each client: the user's file, a project's, the member that holds servers, and the entry over HTTP.
HTTP = "http://127.0.0.1:8400/mcp"
TABLE: dict[str, tuple[str, str | None, str, dict[str, Any] | None]] = {
    "claude-desktop": (CLAUDE, None, "mcpServers", None),
    "claude-code": (".claude.json", ".mcp.json", "mcpServers", {"type": "http", "url": HTTP}),
    "vscode": (".config/Code/User/mcp.json", ".vscode/mcp.json", "servers", {"type": "http", "url": HTTP}),
    "cursor": (".cursor/mcp.json", ".cursor/mcp.json", "mcpServers", {"url": HTTP}),
    "codex": (".codex/config.toml", ".codex/config.toml", "mcp_servers", {"url": HTTP}),
}
JSON_FILE = """{
  // mine
  "theme": "é",
  "%s": {
    "other": {"command": "x", "env": {"TOKEN": "s"}}, // theirs
  },
  "n": 12345678901234567890.0
}
"""
TOML_FILE = """# mine
model = "é"

[mcp_servers.other]  # theirs
command = "x"

# of the next one
[tui]
n = 1
"""


def loaded(text: str, client: str) -> dict[str, Any]:
    return tomllib.loads(text.replace("\r\n", "\n")) if client == "codex" else json.loads(plain(text))


def example(client: str) -> str:
    return TOML_FILE if client == "codex" else JSON_FILE % TABLE[client][2]


@pytest.mark.parametrize("client", TABLE)
def test_each_client_starts_the_gateway_and_uninstall_takes_it_out(place: Place, client: str) -> None:
    path, _, under, _ = TABLE[client]
    done = place.done("install", client)
    assert done.out.startswith(f"{place.folder / path}: etmcp added; ")
    entry = loaded((place.folder / path).read_text(), client)[under]["etmcp"]
    assert (entry["command"], entry["args"][-1]) == (ETMCP, "stdio")
    assert entry.get("type") == (None if client in ("claude-desktop", "codex") else "stdio")
    assert "there already" in place.done("install", client).out
    assert "removed" in place.done("uninstall", client).out
    assert "etmcp" not in loaded((place.folder / path).read_text(), client).get(under, {})
    assert "not there" in place.done("uninstall", client).out


@pytest.mark.parametrize("client", [client for client, row in TABLE.items() if row[3]])
def test_a_running_gateway_is_named_by_its_url_and_its_token_by_a_variable(place: Place, client: str) -> None:
    path, _, under, entry = TABLE[client]
    place.done("install", client)
    place.done("install", client, "--url", HTTP)
    assert loaded((place.folder / path).read_text(), client)[under]["etmcp"] == entry
    for arguments, environ in (("https://gateway.example/mcp", {}), (HTTP, {"ETMCP_TOKEN": "hunter2"})):
        place.done("install", client, "--url", arguments, environ=environ)
        text = (place.folder / path).read_text()
        assert "ETMCP_TOKEN" in text
        assert "hunter2" not in text


@pytest.mark.parametrize("client", [client for client, row in TABLE.items() if row[1]])
def test_a_project_has_a_file_of_its_own(place: Place, client: str) -> None:
    path, project, under, _ = TABLE[client]
    (place.folder / "work").mkdir()
    place.done("install", client, "--project", "work")
    assert "etmcp" in loaded((place.folder / "work" / str(project)).read_text(), client)[under]
    assert not (place.folder / path).exists()
    place.done("uninstall", client, "--project", "work")
    assert "etmcp" not in (place.folder / "work" / str(project)).read_text()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("client", TABLE)
def test_all_that_was_there_stays_to_the_byte(place: Place, client: str, mark: str, line_end: str) -> None:
    path, _, under, _ = TABLE[client]
    before = (mark + example(client)).replace("\n", line_end).encode()
    file = place.write(path, before)
    place.done("install", client)
    after = file.read_bytes()
    missing = [line for line in before.split(b"\n") if line not in after]
    assert not missing
    assert list(loaded(after.decode().removeprefix(mark), client)[under]) == ["other", "etmcp"]
    assert file.with_name(file.name + ".before-etmcp").read_bytes() == before
    place.done("install", client, "--project", ".") if client == "cursor" else None
    place.done("uninstall", client)
    restored = file.read_bytes()
    assert loaded(restored.decode().removeprefix(mark), client) == loaded(before.decode().removeprefix(mark), client)
    assert restored.replace(b",", b"") == before.replace(b",", b"")
    assert file.with_name(file.name + ".before-etmcp").read_bytes() == before


def test_the_first_copy_is_never_written_over(place: Place) -> None:
    file = place.write(CLAUDE, BEFORE)
    place.done("install", "claude-desktop")
    file.write_text('{"mcpServers": {}}')
    place.done("install", "claude-desktop")
    assert file.with_name(file.name + ".before-etmcp").read_text() == BEFORE


@pytest.mark.parametrize("client", TABLE)
def test_a_link_is_followed_even_to_nothing(place: Place, client: str) -> None:
    path, _, under, _ = TABLE[client]
    link, target = place.folder / path, place.folder / "dotfiles" / "file"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    for _ in range(2):
        place.done("install", client)
        assert link.is_symlink()
        assert "etmcp" in loaded(target.read_text(), client)[under]
        target.write_text(example(client))
        target.chmod(0o640)
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("client", TABLE)
def test_a_full_disk_leaves_the_old_file(place: Place, client: str) -> None:
    text = example(client) + ("#" if client == "codex" else "//") + "x" * 9000
    file = place.write(TABLE[client][0], text)
    done = place.run("install", client, largest=8000)
    assert done.code == 2
    assert file.read_text() == text
    assert [each.name for each in file.parent.glob(f"{file.name}*")] == [file.name]


KILLED = """
import os, signal, sys
from gateway.__main__ import main
at, arguments = int(sys.argv[1]), sys.argv[2:]
seen = 0
def hook(event, _):
    global seen
    if event in ("os.link", "os.rename", "os.remove", "os.chmod"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
main(arguments)
"""


@pytest.mark.parametrize("client", ["claude-desktop", "codex"])
def test_a_kill_between_any_two_steps_leaves_one_whole_file(place: Place, client: str) -> None:
    file = place.write(TABLE[client][0], example(client))
    environ = {"HOME": str(place.folder), "PATH": os.environ["PATH"], "ETMCP_HOME": str(place.home)}
    command = [sys.executable, "-c", KILLED]
    root, copy, step = Path(__file__).parents[2], file.with_name(file.name + ".before-etmcp"), 0
    for step in range(1, 30):
        done = subprocess.run(
            [*command, str(step), "install", client], env=environ, cwd=root, capture_output=True, check=False
        )
        assert file.read_text() == example(client) or "etmcp" in loaded(file.read_text(), client)[TABLE[client][2]]
        assert not copy.exists() or copy.read_text() == example(client)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        file.write_text(example(client))
    assert step > 4
    assert {each.name for each in file.parent.glob(f"{file.name}*")} == {file.name, copy.name}


@pytest.mark.parametrize(
    ("platform", "client", "expected"),
    [
        ("darwin", "claude-desktop", "/h/Library/Application Support/Claude/claude_desktop_config.json"),
        ("darwin", "vscode", "/h/Library/Application Support/Code/User/mcp.json"),
        ("win32", "claude-desktop", "/a/Claude/claude_desktop_config.json"),
        ("win32", "vscode", "/a/Code/User/mcp.json"),
        ("linux", "vscode", "/x/Code/User/mcp.json"),
        ("linux", "claude-code", "/c/.claude.json"),
        ("linux", "codex", "/o/config.toml"),
        ("win32", "cursor", "/h/.cursor/mcp.json"),
    ],
)
def test_where_each_system_keeps_it(platform: str, client: str, expected: str) -> None:
    environ = {"APPDATA": "/a", "XDG_CONFIG_HOME": "/x", "CLAUDE_CONFIG_DIR": "/c", "CODEX_HOME": "/o"}
    assert CLIENTS[client].path(Surroundings(Path("/h"), environ, platform)).as_posix() == expected


values = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
ENTRY = {"command": "c", "args": ["a", "b"]}


@given(
    st.dictionaries(st.sampled_from(["a", "s", "etmcp"]), values),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(["a", "etmcp", "é"]), values)),
    st.sampled_from([None, 0, 1, 4, "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_json_holds_the_entry_beside_all_it_held(
    root: dict[str, Any], servers: dict[str, Any] | None, indent: Any, line_end: str
) -> None:
    before = root if servers is None else {**root, "s": servers}
    if not isinstance(before.get("s", {}), dict):
        return
    text = json.dumps(before, indent=indent).replace("\n", line_end)
    after = json_text.put(text, "s", "etmcp", ENTRY)
    wanted = {**before, "s": {**cast(dict[str, Any], before.get("s", {})), "etmcp": ENTRY}}
    assert list(json.loads(after)["s"].items()) == list(wanted["s"].items())
    assert json.loads(after) == wanted
    assert json.loads(json_text.put(after, "s", "etmcp", {})) == {**wanted, "s": {**wanted["s"], "etmcp": {}}}
    dropped = json_text.drop(after, "s", "etmcp")
    del wanted["s"]["etmcp"]
    assert json.loads(dropped) == wanted
    if "s" in before and "etmcp" not in before["s"] and before["s"]:
        assert dropped == text


ODD = [
    "{}",
    "{ }",
    "{\n}",
    '{"s":{}}',
    '{"s": {\n  } /* c */}',
    '{ // c\n "s": { // d\n "a": 1 // e\n } // f\n}',
    '{"s": {"a": 1,}, }',
    '{"s": {"a": 1, /* , */}}',
    '{"s": {"etmcp": 1}}',
    '{"s": {"etmcp": 1,}}',
    '{"s": {"etmcp": 1, "a": 2}}',
    '{"s": {\n  "etmcp": 1, // mine\n  "a": 2}}',
    '{"s": {"a": [1, 2], "etmcp": {"x": "}"}}}',
    '{"s": {"etmcp": 1, "etmcp": 2}, "s": {"etmcp": 3, "b": 1}}',
    '/* { */ {"s": {"a": "//"}}',
]


@pytest.mark.parametrize("text", ODD)
def test_odd_json_keeps_its_comments(text: str) -> None:
    before = json_text.load(text)
    after = json_text.put(text, "s", "etmcp", ENTRY)
    assert json_text.load(after) == {**before, "s": {**before.get("s", {}), "etmcp": ENTRY}}
    dropped = json_text.drop(after, "s", "etmcp")
    assert json_text.load(dropped).get("s", {}) == {n: v for n, v in before.get("s", {}).items() if n != "etmcp"}
    for comment in ("// c", "// d", "// e", "// f", "/* c */", "/* , */", "// mine", "/* { */"):
        assert (comment in text) == (comment in after) == (comment in dropped)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a = 1",
        TOML_FILE,
        '[mcp_servers."etmcp"] # old\ncommand = "o"\n\n[mcp_servers.etmcp.env]\nA = "b"\n# next\n[z]\n',
        "[ mcp_servers . etmcp ]\nurl='x'",
        '[mcp_servers.etmcp]\nurl="x"\n[z]\na=1\n[mcp_servers.etmcp.env]\nb="c"\n',
        '[mcp_servers]\n[mcp_servers.etmcp2]\nurl="x"\n',
    ],
)
def test_a_toml_table_is_put_in_and_taken_out(text: str) -> None:
    before = toml_text.load(text)
    after = toml_text.put(text, "mcp_servers", "etmcp", ENTRY)
    others = {n: v for n, v in before.get("mcp_servers", {}).items() if n != "etmcp"}
    assert toml_text.load(after) == {**before, "mcp_servers": {**others, "etmcp": ENTRY}}
    assert toml_text.put(after, "mcp_servers", "etmcp", ENTRY) == after
    dropped = toml_text.drop(after, "mcp_servers", "etmcp")
    assert toml_text.load(dropped).get("mcp_servers", {}) == others
    assert dropped.strip() == text.strip() or "etmcp" in before.get("mcp_servers", {})
    for comment in ("# mine", "# theirs", "# of the next one", "# next"):
        assert (comment in text) == (comment in dropped)
