"""`etmcp install`: the gateway is added to a client's configuration, and nothing else there changes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.place import Place
from tests.cli.programs import Programs
from tests.cli.rows import CLAUDE

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
