"""`etmcp-tee replay` as a process: what it prints, and its exit codes."""

import base64
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.servers.tee.replay.bundles import Lie, Maker, maker, put

pytestmark = pytest.mark.anyio
PROGRAM = str(Path(sys.executable).with_name("etmcp-tee"))
CALL = {"code": "print('hi')\n[1, 2]"}


@pytest.fixture
async def made(component_cache: Path, anyio_backend: str) -> AsyncGenerator[Maker]:
    async with maker(component_cache) as made:
        yield made


def run(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "--cache", str(cache), "replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


async def test_each_verdict_has_its_words_and_its_exit_code(made: Maker, component_cache: Path, tmp_path: Path) -> None:
    bundle = await made.bundle("run_python", CALL)
    escape = put("structuredContent", "stdout", value="\u001b[2J")
    files = {
        "identical": (bundle.encode(), 0, "re-executed: identical"),
        "different": (made.forged(bundle, Lie(result=escape)), 1, "re-executed: different: result.structuredContent"),
        "no bundle": (bundle.encode()[:-1], 2, ""),
        "result identical": (
            made.forged(bundle, Lie(environment={"engine": "wasmtime 1"})),
            3,
            're-executed: result identical: engine: recorded "wasmtime 1", now "wasmtime ',
        ),
        "not re-executable": (
            made.forged(bundle, Lie(environment={"tier": "process"})),
            3,
            "not re-executable: it ran in the tier 'process'",
        ),
    }
    for name, (data, code, words) in files.items():
        path = tmp_path / "bundle.json"
        path.write_bytes(data)
        said = run(component_cache, str(path))
        assert (said.returncode, said.stdout[: len(words)]) == (code, words), name
        assert "\u001b" not in said.stdout
        if code == 2:
            assert said.stderr.startswith(f"etmcp-tee: {path}: ")
            assert said.stderr.count("\n") == 1
            continue
        assert said.stderr == ""
        if name == "different":
            document = json.loads(run(component_cache, str(path), "--json").stdout)
            assert document["outcome"] == name
            assert document["receipt"]["outcome"] == "untrusted"  # never more than self-consistent


async def test_a_receipt_that_does_not_hold_is_refused_and_nothing_is_run(
    made: Maker, component_cache: Path, tmp_path: Path
) -> None:
    bundle = await made.bundle("run_python", CALL)
    other = await made.bundle("run_python", {"code": "2"})
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle.encode().replace(_b64(bundle.result), _b64(other.result)))
    said = run(component_cache, str(path))
    assert (said.returncode, said.stderr) == (1, "")
    assert said.stdout.startswith("refused: the receipt does not hold: result: ")
    assert "fuel" not in said.stdout


def _b64(data: bytes) -> bytes:
    return b'"' + base64.b64encode(data) + b'"'


def test_a_file_that_is_none_is_one_line(component_cache: Path, tmp_path: Path) -> None:
    said = run(component_cache, str(tmp_path / "none.json"))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(f"etmcp-tee: {tmp_path / 'none.json'}: No such file or directory; name a file")
    assert said.stderr.count("\n") == 1
