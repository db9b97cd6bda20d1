"""Function folders of an enemy: each is refused in one line that names it, and hides no other function."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.tee.library import FunctionError
from servers.tee.library.catalogue import Catalogue
from servers.tee.library.folder import MAX_BYTES, load
from servers.tee.library.library import Library
from tests.servers.tee.library.scene import HINTS, folder, run

TIERS = {"wasm": None, "process": None}
Abuse = Callable[[Path], Path]


def with_file(name: str, make: Callable[[Path], object]) -> Abuse:
    def build(place: Path) -> Path:
        make(folder(place) / name)
        return place

    return build


def with_(**members: Any) -> Abuse:
    return lambda place: folder(place, **members)


def schema(**members: Any) -> Abuse:
    return with_(input={"type": "object", "properties": {"x": members}})


def program(**members: Any) -> Abuse:
    return with_(program={"language": "python", "file": "main.py", **members})


def nested(depth: int) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        told = {"type": "array", "items": told}
    return told


def deep(place: Path) -> Path:
    folder(place)
    (place / "function.toml").write_text("x = " + "[" * 100_000)
    return place


OPEN = {
    "annotations": HINTS | {"open_world": True},
    "program": {"language": "python", "file": "main.py", "host_calls": ["fetch"]},
}

CASES: dict[str, tuple[Abuse, str]] = {
    "a file that is a link": (with_file("passwd", lambda at: at.symlink_to("/etc/passwd")), "it is a link"),
    "a folder in the folder": (with_file("sub", lambda at: at.mkdir()), "not a regular file"),
    "a pipe, which would wait for ever": (with_file("pipe", os.mkfifo), "not a regular file"),
    "a name that hides itself": (with_file(".hidden", lambda at: at.touch()), "no name for a file"),
    "a name with a line break": (with_file("a\nb", lambda at: at.touch()), "no name for a file"),
    "too large": (with_file("big", lambda at: os.truncate(_touched(at), MAX_BYTES + 1)), "more than 32 MiB"),
    "too many files": (
        with_file("f", lambda at: [_touched(Path(f"{at}{n}")) for n in range(40)]),
        "more than 32",
    ),
    "a digest that is not its files'": (with_(digest="0" * 64), "digest says 000000000000"),
    "a program that leads out": (program(file="../../etc/passwd"), "program.file"),
    "a program by an absolute path": (program(file="/etc/passwd"), "program.file"),
    "a program that is not there": (program(file="other.py"), "not in the folder"),
    "data that is not there": (program(data=["other.json"]), "not in the folder"),
    "a key that nobody knows": (with_(extra=True), "extra"),
    "a host call that is not there": (program(host_calls=["exec"]), "host_calls"),
    "a tier that is not there": (with_(tier="root"), "tier"),
    "a name that is a path": (with_(name="../up"), "name"),
    "a name in capitals": (with_(name="Run_Python"), "name"),
    "text that cannot be seen": (with_(description="Harmless\u202e\u200b"), "cannot be seen"),
    "hints that are not true: it reaches the network": (
        with_(program={"language": "python", "file": "main.py", "host_calls": ["fetch"]}),
        "open_world",
    ),
    "hints that are not true: read only and destructive": (
        with_(annotations=HINTS | {"destructive": True}),
        "annotations",
    ),
    "host calls that its own policy does not ask for": (with_(**OPEN), "hostCalls lacks 'fetch'"),
    "host calls to no host": (with_(**OPEN, policy={"hostCalls": ["fetch"]}), "network has no rule"),
    "all that is granted, by no host call": (program(reach="granted"), "program.reach"),
    "hints that are left out": (with_(annotations={"read_only": True}), "annotations"),
    "packages in the tier without any": (program(packages=["numpy"]), "packages"),
    "a schema with a reference": (schema(**{"$ref": "#/x"}), "no type"),
    "a schema with several types": (schema(type=["string", "integer"]), "one only"),
    "a schema with anyOf": (schema(type="string", anyOf=[]), "anyOf"),
    "a schema with a pattern that never ends": (schema(type="string", pattern="(a+)+$"), "pattern"),
    "a schema that nests without end": (schema(**nested(40)), "nests deeper"),
    "TOML that nests without end": (deep, "not TOML"),
    "TOML that is too long": (with_(title="x" * 300_000), "bytes"),
    "a number that is no number": (with_(input={"type": "object", "properties": {}, "x": 1e999}), "function.toml"),
    "a program that is not text": (with_file("main.py", lambda at: at.write_bytes(b"\xff")), "UTF-8"),
    "a policy with an unknown member": (with_(policy={"root": True}), "policy: root"),
    "a policy for another kind": (with_(policy={"kind": "appraisal"}), "policy"),
    "a version in words": (with_(version="latest"), "version"),
}


def _touched(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_folder_is_refused(case: str, tmp_path: Path) -> None:
    build, said = CASES[case]
    with pytest.raises(FunctionError) as refused:
        load(build(tmp_path / "bad"))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "good")
    (tmp_path / "link").symlink_to(tmp_path / "good")
    with pytest.raises(FunctionError, match="it is a link"):
        load(tmp_path / "link")


def test_a_name_that_ships_cannot_be_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("library", "add", "--library", tmp_path / "lib", folder(tmp_path / "run_python")) == 2
    assert "ships with the package" in capsys.readouterr().err
    # Past the command line: whoever writes the catalogue by hand gets no further.
    Catalogue(tmp_path / "lib").add(load(tmp_path / "run_python"))
    library = Library(tmp_path / "lib", TIERS)
    assert library.entries["run_python"].function.title == "Run Python"
    assert [problem.name for problem in library.problems] == ["run_python"]


def test_what_changes_after_it_was_added_is_not_offered_and_hides_nothing(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "lib")
    one = catalogue.add(load(folder(tmp_path / "one")))
    catalogue.add(load(folder(tmp_path / "two")))
    library = Library(tmp_path / "lib", TIERS)
    assert {"one", "two"} <= set(library.entries)
    (catalogue.place("one", one) / "main.py").write_text("def main():\n    return 'changed'\n")
    assert library.refresh()
    assert "one" not in library.entries
    assert "two" in library.entries
    assert "not those that were added" in next(each.detail for each in library.problems if each.name == "one")
    assert not library.refresh()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version":1,"functions":{"../../etc":{"version":"1.0.0","digest":"' + "0" * 64 + '"}}}',
        '{"version":1,"functions":{"a":{"version":"1.0.0","digest":"../../../etc"}}}',
        '{"version":2,"functions":{}}',
        "[" * 100_000,
    ],
)
def test_a_broken_catalogue_leaves_what_ships(tmp_path: Path, text: str) -> None:
    (tmp_path / "library.json").write_text(text)
    library = Library(tmp_path, TIERS)
    assert "run_python" in library.entries
    assert [problem.name for problem in library.problems if problem.unsound] == ["library.json"]


def test_what_was_never_added_is_never_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("library", "add", "--library", tmp_path / "lib", folder(tmp_path / "one"))
    folder(tmp_path / "lib" / "two")
    assert "two" not in Library(tmp_path / "lib", TIERS).entries
    capsys.readouterr()
    assert run("library", "verify", "--library", tmp_path / "lib", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] == ["one"]
    assert [each["name"] for each in told["problems"]] == ["two"]
