"""Every error that a user can cause is one line (what, where, what to do) and exit code 2; these are all of them."""

import ast
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.place import Busy, Place
from tests.cli.programs import Done, Programs
from tests.cli.row import Row
from tests.cli.rows import ROWS

ROOT = Path(__file__).parents[2]
CALLS = [sys.executable, "-m", "gateway"]
UNREACHABLE = {
    ("gateway/cli/demo.py", "_input"): "the source tree that the tests run from always has a lock file",
}


@pytest.fixture(scope="module")
def busy() -> Iterator[Busy]:
    """A port that is taken."""
    busy = Busy()
    with busy.socket:
        yield busy


@pytest.fixture(scope="module")
def reached() -> set[str]:
    """The `file:line` of the errors that the rows below ended with."""
    return set()


def execute(row: Row, place: Place, busy: Busy) -> tuple[Done, dict[str, str]]:
    row.make(place)
    words = {"x": str(place.folder), "port": str(busy.port)}
    if "receipts" in row.command and "{" in row.command:
        ids = [entry.split()[0] for entry in place.done("receipts", "list").out.splitlines()]
        firsts = [receipt[0] for receipt in ids]
        words |= {"id": ids[0], "digit": max(firsts, key=firsts.count)}
    options = dict(row.options)
    if "executable" in options:
        (place.folder / "bin" / "python").symlink_to(sys.executable)
        options["executable"] = str(place.folder / "bin" / "python")
    environ = {"ETMCP_CONFIG": str(place.config)} | options.pop("environ", {})
    arguments = shlex.split(row.command.format(**words).replace("\n", "'\n'"))
    done = place.programs.run(place.folder, arguments, program=row.program, environ=environ, **options)
    return done, words


@pytest.mark.parametrize("name", ROWS)
def test_a_mistake_is_one_line_with_exit_code_2(
    tmp_path: Path, programs: Programs, busy: Busy, reached: set[str], name: str
) -> None:
    row = ROWS[name]
    done, words = execute(row, Place(tmp_path, programs), busy)
    assert done.code == 2, done
    assert done.err.endswith("\n")
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith(f"{row.program}: ")
    assert "Traceback" not in done.err
    assert [part for part in row.told if part.format(**words) not in done.err] == [], done.err
    reached.update(done.sites)


def sites() -> Iterator[tuple[str, str, range]]:
    """Each `raise UserError(...)` of the gateway: its file, its function and its lines."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    match node:
                        case ast.Raise(exc=ast.Call(func=ast.Name("UserError"))):
                            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                            yield path.relative_to(ROOT).as_posix(), function.name, lines
                        case _:
                            pass


def test_the_table_reaches_each_place_that_raises_one(reached: set[str], request: pytest.FixtureRequest) -> None:
    mine = [item for item in request.session.items if item.fspath == request.node.fspath]
    if len(mine) <= len(ROWS):
        pytest.skip("not all rows ran")
    found = list(sites())
    assert len(found) > 30
    missing = [
        f"{file}:{lines.start} in {function}"
        for file, function, lines in found
        if not any(f"{ROOT / file}:{line}" in reached for line in lines) and (file, function) not in UNREACHABLE
    ]
    assert not missing


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, programs: Programs) -> None:
    place = Place(tmp_path, programs)
    place.call()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = place.run("receipts", "list", stdout=f"/proc/{os.getpid()}/fd/{writer}")
    finally:
        os.close(writer)
    assert (done.code, done.err) == (0, "")
