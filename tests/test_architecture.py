"""The rules of the code that no tool knows: names, direction, effects, sizes."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attest
import gateway
import registry
import servers

ROOT = Path(__file__).parent.parent
PACKAGES = {"attest": attest, "gateway": gateway, "registry": registry, "servers": servers}
LONGEST = 400
MEDIAN = 150

AMBIENT = {
    *("os.environ", "os.environb", "os.getenv", "os.getenvb"),
    *("time.time", "time.time_ns", "time.gmtime", "time.localtime"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
}
"""The environment and the wall clock; a monotonic clock is a deadline and allowed."""

AMBIENT_EXEMPT = {
    "servers/prove.py": "the composition root of programs that have no __main__ of ours",
    "servers/tee/process/child.py": "becomes the program in a sandbox, and leaves it the environment that was meant",
    "servers/tee/library/shipped": "programs that run inside a sandbox, whose environment is its own",
    "servers/tee/guest": "runs inside the sandbox, where clock and environment are its own imitations",
    "gateway/upstream/keeper.py": "a program of its own that the gateway starts; hands on the environment it was given",
}

EFFECTS = {
    *("asyncio", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil"),
    *("signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request"),
}
EFFECTS_EXEMPT = {"attest/groth16/pyecc.py": "puts the recursion limit back that its import of py-ecc raises"}
EFFECTFUL_CALLS = {"open", "print", "input", "breakpoint", "exec", "eval", "__import__"}


CASES = ROOT / "servers/tee/selftest/cases"
"""Hostile programs, which keep no rule on purpose."""


def sources(*packages: str) -> list[Path]:
    found = sorted(path for package in packages or PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [path for path in found if path.parent != CASES]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_main(path: Path) -> bool:
    return path.name == "__main__.py"


def imports(module: ast.Module) -> Iterator[tuple[str, str, str, int]]:
    """Each import: the name that it binds, what that stands for, the dotted name that it loads, its line."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, alias.name if alias.asname else first, alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                dotted = f"{'.' * node.level}{node.module or ''}.{alias.name}"
                yield alias.asname or alias.name, dotted, dotted, node.lineno


def uses(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Each dotted name that the module imports, or reads through an import, with its line."""
    bound: dict[str, str] = {}
    for local, stands_for, dotted, line in imports(module):
        bound[local] = stands_for
        yield dotted, line
    for node in ast.walk(module):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if parts and isinstance(inner, ast.Name) and inner.id in bound:
            yield ".".join([bound[inner.id], *reversed(parts)]), inner.lineno


def ambient(module: ast.Module) -> list[tuple[str, int]]:
    return [(dotted, line) for dotted, line in uses(module) if dotted in AMBIENT]


def effects(module: ast.Module) -> list[tuple[str, int]]:
    found = [
        (dotted, line)
        for _, _, dotted, line in imports(module)
        if any(dotted == effect or dotted.startswith(f"{effect}.") for effect in EFFECTS)
    ]
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EFFECTFUL_CALLS:
            found.append((node.func.id, node.lineno))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_four_names_are_ours_and_not_a_strangers(package: str) -> None:
    origin = PACKAGES[package].__file__
    assert origin is not None
    assert Path(origin) == ROOT / package / "__init__.py"


def test_only_a_main_reads_the_environment_or_the_clock() -> None:
    read = [
        f"{name(path)}:{line} {dotted}"
        for path in sources()
        if not is_main(path) and not name(path).startswith(tuple(AMBIENT_EXEMPT))
        for dotted, line in ambient(tree(path))
    ]
    assert not read


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.environ['A']",
        "from os import getenv",
        "import os as o; o.getenv('A')",
        "import time as t; t.time()",
        "from time import time_ns as now",
        "from datetime import datetime, UTC; datetime.now(UTC)",
        "import datetime; datetime.datetime.now(datetime.UTC)",
        "import datetime as dt; dt.date.today()",
    ],
)
def test_that_rule_sees_each_spelling(code: str) -> None:
    assert ambient(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.monotonic()",
        "import os.path; os.fspath('a')",
        "message.time.time()",
        "from .time import time",
    ],
)
def test_that_rule_lets_deadlines_and_strangers_pass(code: str) -> None:
    assert not ambient(ast.parse(code))


def test_attest_has_no_effects() -> None:
    done = [
        f"{name(path)}:{line} {effect}"
        for path in sources("attest")
        if not is_main(path) and name(path) not in EFFECTS_EXEMPT
        for effect, line in effects(tree(path))
    ]
    assert not done


def test_servers_use_the_registry_only_from_a_main() -> None:
    used = [
        f"{name(path)}:{line} {dotted}"
        for path in sources("servers")
        if not is_main(path)
        for _, _, dotted, line in imports(tree(path))
        if dotted.partition(".")[0] == "registry"
    ]
    assert not used


def test_no_file_is_long() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert not {path: length for path, length in lengths.items() if length > LONGEST}
    written = {path: length for path, length in lengths.items() if length}
    longest_first = sorted(written.items(), key=lambda item: -item[1])
    assert statistics.median(written.values()) <= MEDIAN, longest_first[:10]


def test_every_module_says_what_it_is() -> None:
    assert not [name(path) for path in sources() if path.stat().st_size and not ast.get_docstring(tree(path))]


def test_imports_go_one_way() -> None:
    run = _tool("lint-imports", "--no-cache", "--no-logo")
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_lock_agrees_with_the_project() -> None:
    run = _tool("uv", "lock", "--check", "--offline", "--python", sys.executable)
    assert run.returncode == 0, run.stdout + run.stderr


def _tool(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        pytest.skip(f"{path} is missing: run `make setup`")
    return subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
