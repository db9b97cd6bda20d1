"""What a configuration says of names is what a user sees, and nothing else can be called."""

from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.cli.programs import Programs
from tests.support.stage import Lean


@pytest.fixture
def place(tmp_path: Path, programs: Programs) -> Place:
    return Place(tmp_path, programs)


def test_a_tool_that_is_excluded_cannot_be_called_and_one_that_is_named_is_called_so(place: Place) -> None:
    other = Lean(place.folder / "other", "echo")
    place.configure(
        lean=place.lean.entry(names={"echo": "say"}),
        other=other.entry(prefix="always"),
        shut=other.entry(exclude=["*"]),
    )
    names = [line.split()[0] for line in place.done("tools").out.splitlines() if "echo" in line or "say" in line]
    assert sorted(names) == ["other_echo", "say"]
    assert place.done("call", "say", "text=hello", "--json").json["_meta"]["com.etmcp/verification"]["server"] == "lean"
    refused = place.run("call", "echo", "text=hello")
    assert refused.code != 0
    assert "'echo'" in refused.err
