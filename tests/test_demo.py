"""`etmcp demo`: its figures are right, its steps readable, and its proof holds for nothing but what was returned."""

import csv
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from attest.__main__ import main as verify
from tests.support.rawclient import ETMCP

Json = dict[str, Any]
ROOT = Path(__file__).parents[1]
KEYS = {"steps", "verdict", "kind", "assurance", "result", "receipt_id", "bundle", "trust", "policy", "timings_ms"}
NAMES = ["client", "choose", "verify", "execute", "return"]
COLUMNS = ["code", "amount", "price", "day", "paid", "note"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory, so that the sandbox is compiled once."""
    return tmp_path_factory.mktemp("demo") / "home"


def demo(home: Path, *arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [ETMCP, "--home", str(home), "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=180)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file that nobody has seen before, with quotes, gaps, umlauts and repetitions."""
    path, dice = tmp_path_factory.mktemp("data") / "orders.csv", random.SystemRandom()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for _ in range(dice.randint(150, 300)):
            row = [
                f"K{dice.randrange(10**6):06}",
                dice.randint(-50, 900),
                round(dice.uniform(0.01, 99), 2) + 0.001,
                date(2026, 1, 1) + timedelta(days=dice.randrange(300)),
                dice.choice(["true", "false"]),
                dice.choice(["in Zürich, Bahnhof", 'the "good" one', "plain", "x", "y"]),
            ]
            writer.writerow([cell if dice.random() > 0.1 else "" for cell in row])
    return path


@pytest.fixture(scope="module")
def told(home: Path, table: Path) -> Json:
    """What `--json` says of it."""
    done = demo(home, "--file", str(table), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_json_has_exactly_these_members(told: Json, home: Path) -> None:
    assert set(told) == KEYS
    assert [step["name"] for step in told["steps"]] == NAMES
    assert [step["step"] for step in told["steps"]] == [1, 2, 3, 4, 5]
    assert list(told["timings_ms"]) == NAMES
    assert all(took >= 0 for took in told["timings_ms"].values())
    assert (told["verdict"], told["kind"], told["assurance"]) == ("verified", "executor-attested", "software")
    assert re.fullmatch("[0-9a-f]{64}", told["receipt_id"])
    assert all(Path(told[name]) == home / "demo" / f"{name}.json" for name in ("bundle", "trust", "policy"))


def test_every_figure_is_the_one_that_the_standard_library_finds(told: Json, table: Path) -> None:
    found = told["result"]["value"]
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (found["format"], found["rows"], found["header"], found["delimiter"]) == ("csv", len(rows), True, ",")
    assert (found["bytes"], found["truncated"]) == (table.stat().st_size, False)
    assert found["lines"] == table.read_bytes().count(b"\n")
    described = {column["name"]: column for column in found["columns"]}
    kinds = {name: column["type"] for name, column in described.items()}
    expected = ["string", "integer", "number", "date", "boolean", "string"]
    assert kinds == dict(zip(COLUMNS, expected, strict=True))
    for name, column in described.items():
        cells = [row[name] for row in rows if row[name]]
        assert (column["count"], column["missing"]) == (len(cells), len(rows) - len(cells))
        values: list[Any] = [read(column["type"], cell) for cell in cells]
        counts = Counter(values)
        assert column["distinct"] == len(counts)
        assert [item["count"] for item in column["frequent"]] == [n for _, n in counts.most_common(5)]
        assert all(counts[item["value"]] == item["count"] for item in column["frequent"])
        if column["type"] == "string":
            assert (column["min_length"], column["max_length"]) == (min(map(len, cells)), max(map(len, cells)))
        elif column["type"] != "boolean":
            assert (column["min"], column["max"]) == (min(values), max(values))
        if column["type"] in ("integer", "number"):
            assert column["mean"] == pytest.approx(statistics.fmean(values), rel=1e-15)


def read(kind: str, cell: str) -> Any:
    match kind:
        case "integer":
            return int(cell)
        case "number":
            return float(cell)
        case "boolean":
            return cell == "true"
        case _:
            return cell


def test_one_flipped_byte_anywhere_in_the_bundle_is_refused(told: Json, tmp_path: Path) -> None:
    data, copy = bytearray(Path(told["bundle"]).read_bytes()), tmp_path / "bundle.json"
    brought = ["--policy", told["policy"], "--trust", told["trust"], "--json"]
    copy.write_bytes(data)
    assert exit_code(str(copy), *brought) == 0
    dice = random.SystemRandom()
    for position in dice.sample(range(len(data)), 200):
        flip = 1 << dice.randrange(8)
        data[position] ^= flip
        copy.write_bytes(data)
        assert exit_code(str(copy), *brought) == 1, f"bit {flip} of byte {position} of {len(data)}"
        data[position] ^= flip


def exit_code(*arguments: str) -> int:
    """Of `etmcp-verify`, run in this process for speed."""
    with pytest.raises(SystemExit) as ended:
        verify(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_program_refuses_a_changed_bundle_and_trusts_nobody_by_itself(told: Json, tmp_path: Path) -> None:
    changed = tmp_path / "bundle.json"
    data = bytearray(Path(told["bundle"]).read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    program = str(Path(ETMCP).with_name("etmcp-verify"))
    policy, trust = ["--policy", told["policy"]], ["--trust", told["trust"]]
    for arguments, code in (
        ([told["bundle"], *policy, *trust], 0),
        ([told["bundle"], *policy], 3),
        ([told["bundle"]], 3),
        ([str(changed), *policy, *trust], 1),
        ([str(changed)], 1),
        ([str(tmp_path / "absent"), *policy, *trust], 2),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env={})
        assert done.returncode == code, (arguments, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def printed(home: Path) -> str:
    """What a newcomer sees, on the repository's own lock file."""
    done = demo(home)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_five_numbered_steps_come_first_then_the_check_then_the_snippet(printed: str) -> None:
    steps = re.findall(r"^(\d)\. (.+?) +(\d+) ms$", printed, re.MULTILINE)
    assert [number for number, _, _ in steps] == list("12345")
    marks = ["1. A client calls", "2. The gateway chooses", "3. It has started", "4. The server runs", "5. The gateway"]
    marks += ["What describe_data found in uv.lock", "$ etmcp-verify", "verified, exit code 0", '"mcpServers"']
    places = [printed.index(mark) for mark in marks]
    assert places == sorted(places)
    passed = re.findall(r"^   (\d+) \w+ +passed$", printed, re.MULTILINE)
    assert passed == [*"1234567", "9", "10"]  # what describe_data returns is proven by nobody
    assert re.search(r"^   8 proof +not checked$", printed, re.MULTILINE)


def test_the_output_is_honest_and_fit_for_a_terminal(printed: str) -> None:
    assert '"software": this machine vouches for itself; no hardware proves it' in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert not re.search(r"\d\.\d{5}", printed)
    packages = (ROOT / "uv.lock").read_text(encoding="utf-8").count("[[package]]")
    assert f"$.package: {packages:,} rows" in printed


def test_the_check_that_is_shown_can_be_run_as_it_stands(printed: str) -> None:
    shown = re.search(r"^\$ (etmcp-verify .+?)^   1 ", printed, re.MULTILINE | re.DOTALL)
    assert shown is not None
    path = f"{Path(ETMCP).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", shown[1]], capture_output=True, text=True, check=False, env={"PATH": path})
    assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "verified")


def test_the_snippet_is_json_with_absolute_paths_and_starts_the_gateway(printed: str, home: Path) -> None:
    entry = json.loads(printed[printed.index("{\n") :])["mcpServers"]["etmcp"]
    assert entry == {"command": ETMCP, "args": ["--home", str(home), "stdio"]}
    assert Path(entry["command"]).is_absolute()
    assert printed[: printed.index("{\n")].rstrip().endswith("claude_desktop_config.json:")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The packages without the source tree around them, as a wheel installs them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("attest", "gateway"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    yield folder
    shutil.rmtree(folder)


def test_from_another_folder_the_lock_file_of_the_source_tree_is_taken(home: Path, tmp_path: Path) -> None:
    done = demo(home, "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["result"]["value"]["bytes"] == (ROOT / "uv.lock").stat().st_size


def test_an_installation_without_a_lock_file_says_what_to_do(elsewhere: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "--home", str(tmp_path / "home"), "demo"]
    environment = {"PYTHONPATH": str(elsewhere), "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    said = "etmcp: demo: there is no uv.lock here to describe; name a text file of yours with --file\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"\xff\xfe", "not UTF-8 text"), (b"x" * ((8 << 20) + 1), "larger than 8 MiB")],
)
def test_a_file_that_cannot_be_described_is_named(home: Path, tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "input"
    if content is not None:
        path.write_bytes(content)
    done = demo(home, "--file", str(path), "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"etmcp: {path}: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("words.txt", "to be or not to be\n", "6 words, 4 distinct; most frequent: to (2), be (2)"),
        ("nothing.txt", "", "0 words, 0 distinct; most frequent: none"),
        ("single.json", '{"a":[1,2.5],"b":"\\u001b[31mred"}', "$.a[]"),
        ("empty.json", "[]", "json, 1 lines"),
        ("wide.csv", "\n".join([",".join(f"{'n' * 60}{i}" for i in range(12)), ",".join(["1"] * 12)]), "and 4 more"),
    ],
)
def test_any_text_is_shown_within_the_terminal(home: Path, tmp_path: Path, name: str, content: str, shown: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    done = demo(home, "--file", str(tmp_path / name))
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
