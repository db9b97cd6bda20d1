"""Every promise has a test and every test file a promise (`requirements.toml`)."""

import ast
import tomllib
from pathlib import Path

TESTS = Path(__file__).parent
PROMISES: dict[str, list[str]] = tomllib.loads((TESTS / "requirements.toml").read_text(encoding="utf-8"))["promise"]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_test_that_is_named_exists() -> None:
    for promise, tests in PROMISES.items():
        assert tests, promise
        for test in tests:
            file, _, function = test.partition("::")
            assert (TESTS / file).is_file(), f"{promise}: {file}"
            assert not function or function in functions(TESTS / file), f"{promise}: {test}"


def test_every_test_file_stands_behind_a_promise() -> None:
    named = {test.partition("::")[0] for tests in PROMISES.values() for test in tests}
    there = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert there == named
