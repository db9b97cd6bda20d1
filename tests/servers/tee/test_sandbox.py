"""What a program in the sandbox sees, by table: programs and what must come back."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from servers.tee.sandbox import Job, Limits, Outcome, answer
from servers.tee.sandbox.wasm import WasmSandbox

pytestmark = pytest.mark.anyio

FILES = {"data.csv": b"a,b\n1,2\n3,4\n", "sub/x.json": b'{"k": [1]}', "latin.txt": "é".encode("latin-1")}

VALUES: list[tuple[str, Mapping[str, Any], Any]] = [
    ("def main(x): return x + 1", {"x": 1}, 2),
    ("def main(format): return format + str(len(list('ab')))", {"format": "f"}, "f2"),  # not in the way of built-ins
    ("main = lambda x: x", {"x": [1]}, [1]),
    ("x * 2", {"x": 21}, 42),
    ("y = x * 2", {"x": 21}, None),
    ("", {}, None),
    ("(1, (2,))", {}, [1, [2]]),
    ("__name__", {}, "__main__"),
    ("def main(): return __name__", {}, "tool"),
    ("import sys; sys.exit()", {}, None),
    ("2 ** 200", {}, 2**200),
    ("n - 1", {"n": 2**70}, 2**70 - 1),
    ("'\\u00e9\\U0001f600'", {}, "é😀"),
    ("from enum import IntEnum\nclass E(IntEnum):\n A = 1\n{'e': E.A}", {}, {"e": 1}),
    ("from collections import Counter\nCounter('aab')", {}, {"a": 2, "b": 1}),
    ("from dataclasses import dataclass\n@dataclass\nclass A:\n x: 'int'\nA(1).x", {}, 1),
    ("import zlib, decimal, statistics, tomllib, difflib, graphlib, secrets, html, struct\n1", {}, 1),
    ("import unicodedata, ipaddress, configparser, email.utils, colorsys, cmath, array, queue, shlex\n1", {}, 1),
    ("from xml.etree import ElementTree as E\nE.fromstring('<a><b>1</b></a>')[0].text", {}, "1"),
    ("import csv\nwith open('data.csv', newline='') as f: r = list(csv.reader(f))\nr[1]", {}, ["1", "2"]),
    ("import json\nfrom pathlib import Path\njson.loads(Path('sub/x.json').read_text())", {}, {"k": [1]}),
    ("open('latin.txt', encoding='latin-1').read()", {}, "é"),
    ("open('data.csv', 'rb').read().hex()", {}, FILES["data.csv"].hex()),
    ("[len(line) for line in open('data.csv')]", {}, [4, 4, 4]),
    ("import os\nsorted(os.listdir()), os.path.exists('no'), os.path.getsize('data.csv')", {},
     [["data.csv", "latin.txt", "sub"], False, 12]),
    ("from pathlib import Path\nsorted(str(p) for p in Path('.').rglob('*'))", {},
     ["data.csv", "latin.txt", "sub", "sub/x.json"]),
    ("import glob, os\nglob.glob('*.csv'), [r for r, _, _ in os.walk('.')], os.getcwd()", {},
     [["data.csv"], [".", "./sub"], "/work"]),
    ("import os\nos.remove('data.csv')\nos.path.exists('data.csv')", {}, False),
    ("f = open('data.csv', 'r+b'); f.seek(2); f.write(b'XY'); f.seek(0); f.read(5).decode()", {}, "a,XY1"),
    ("import time\na = time.time(); time.sleep(3600); round(time.time() - a)", {}, 3600),
    ("import os\n[len(os.urandom(5)), dict(os.environ), os.getpid() > 0]", {}, [5, {}, True]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "arguments", "value"), VALUES)
async def test_values(sandbox: WasmSandbox, code: str, arguments: dict[str, Any], value: Any) -> None:
    outcome = await sandbox.run(Job(code, arguments, FILES))
    assert outcome.error is None
    assert (outcome.status, outcome.value) == ("ok", value)
    assert 0 < outcome.fuel_used < Limits().fuel


FAILURES: list[tuple[str, str, str, str]] = [
    ("error", "1 / 0", "ZeroDivisionError", "division by zero"),
    ("error", "def main(x: return", "SyntaxError", "invalid syntax"),
    ("error", "def main(): pass", "TypeError", "unexpected keyword argument 'x'"),
    ("error", "async def main(x): pass", "TypeError", "no event loop"),
    ("error", "open('/etc/passwd')", "FileNotFoundError", "only the files passed with the call: data.csv, latin.txt"),
    ("error", "open('new/file', 'w')", "FileNotFoundError", "make it first"),
    ("error", "open('data.csv', 'x')", "FileExistsError", "File exists"),
    ("error", "open('sub')", "IsADirectoryError", "Is a directory"),
    ("error", "open('data.csv').write('x')", "UnsupportedOperation", "not writable"),
    ("error", "open('latin.txt').read()", "UnicodeDecodeError", "utf-8"),
    ("error", "open(3)", "OSError", "file descriptors do not exist"),
    ("error", "import _io; _io.FileIO('/etc/passwd')", "OSError", "does not exist in this sandbox"),
    ("error", "import numpy", "ModuleNotFoundError", "fixed, and packages cannot be installed: abc, "),
    ("error", "import socket", "ModuleNotFoundError", "no network"),
    ("error", "import urllib.request", "ModuleNotFoundError", "no network"),
    ("error", "import subprocess", "ModuleNotFoundError", "no processes"),
    ("error", "import os; os.system('ls')", "OSError", "os.system does not exist in this sandbox"),
    ("error", "import os; os._exit(0)", "OSError", "os._exit does not exist"),
    ("error", "import threading; threading.Thread(target=print).start()", "RuntimeError", "starting a thread"),
    ("error", "import zoneinfo; zoneinfo.ZoneInfo('Europe/Paris')", "ZoneInfoNotFoundError", "no time zone data"),
    ("error", "input()", "EOFError", "EOF"),
    ("error", "import sys; sys.exit('bye')", "SystemExit", "bye"),
    ("error", "def f(n): return f(n + 1)\nf(0)", "RecursionError", "maximum recursion depth"),
    ("error", "class E(BaseException):\n def __str__(self): raise SystemExit\nraise E", "E", "its message failed"),
    ("error", "raise type('X' * 5000, (Exception,), {})('m' * 100_000)", "X" * 200, "m" * 100),
    ("error", "eval('(' * 5000 + ')' * 5000)", "MemoryError", "too complex to parse"),
    ("error", "raise GeneratorExit", "GeneratorExit", ""),
    ("error", "raise KeyboardInterrupt", "KeyboardInterrupt", ""),
    ("trap", "import queue; queue.Queue().get(timeout=1)", "SandboxTrap", "waited for a lock, a queue or a timer"),
    ("trap", "x = []\nfor _ in range(100_000): x = [x]\nrepr(x)", "SandboxTrap", "nested calls or data too deeply"),
    ("memory", "x = []\nwhile True: x.append(bytearray(1 << 20))", "MemoryError", "256 MiB"),
    ("output", "float('nan')", "OutputError", "nan at $ is not JSON"),
    ("output", "{'a': [1, {'b': {1}}]}", "OutputError", "the set at $.a[1].b is not JSON: use sorted()"),
    ("output", "{'a': b''}", "OutputError", "the bytes at $.a"),
    ("output", "{'a': {1: 2}}", "OutputError", "the key 1 (int) at $.a is not text"),
    ("output", "import datetime; [datetime.datetime.now()]", "OutputError", "the datetime at $[0]"),
    ("output", "object()", "OutputError", "the object at $"),
    ("output", "'\\ud800'", "OutputError", "surrogate"),
    ("output", "10 ** 5000", "OutputError", "4300 digits"),
    ("output", "x = []\nfor _ in range(64): x = [x]\nx", "OutputError", "deeper than 64 levels"),
    ("output", "x = []\nx.append(x)\nx", "OutputError", "deeper than 64 levels"),
    ("output", "x = [1]\nfor _ in range(60): x = [x, x]\nx", "OutputError", "1048576 bytes of JSON, the limit"),
    ("output", "'x' * 1048577", "OutputError", "1048576"),
    ("output", "open('big', 'wb').write(bytes((8 << 20) + 1))", "OutputError", "the limit is 8388608"),
    ("output", "open('a\\nb', 'w').write('x')", "OutputError", "not printable"),
    ("output", "open('a:b', 'w').write('x')", "OutputError", "not a plain relative path"),
]


@pytest.mark.parametrize(("status", "code", "kind", "message"), FAILURES)
async def test_failures(sandbox: WasmSandbox, status: str, code: str, kind: str, message: str) -> None:
    outcome = await sandbox.run(Job(code, {"x": 1} if "main" in code else {}, FILES))
    assert outcome.error is not None
    assert (outcome.status, outcome.error.type) == (status, kind)
    assert message in outcome.error.message
    assert outcome.value is None
    assert len(outcome.error.message) <= 4096
    assert bool(outcome.error.traceback) == (status == "error")


async def test_the_limits_themselves_are_allowed(sandbox: WasmSandbox) -> None:
    nested = await sandbox.run(Job("x = 1\nfor _ in range(64): x = [x]\nx"))
    assert nested.status == "ok"
    assert json.dumps(nested.value).count("[") == 64
    long = await sandbox.run(Job("'x' * ((1 << 20) - 2)"))
    assert long.status == "ok"
    file = await sandbox.run(Job("open('big', 'wb').write(bytes(8 << 20))"))
    assert [len(data) for data in file.files.values()] == [8 << 20]


async def test_files_come_back_if_made_or_changed(sandbox: WasmSandbox) -> None:
    code = """
import os, shutil, zipfile, gzip, tempfile
from pathlib import Path
open("data.csv", "a").write("5,6\\n")
Path("out/deep").mkdir(parents=True)
Path("out/deep/b.bin").write_bytes(bytes(range(256)))
open("never-closed.txt", "w").write("kept")
shutil.copy("sub/x.json", "copy.json")
os.rename("copy.json", "moved.json")
with gzip.open("a.gz", "wt") as f: f.write("hello")
with zipfile.ZipFile("a.zip", "w") as z: z.writestr("q.txt", "inside")
with tempfile.TemporaryDirectory() as d: open(d + "/x", "w").write("scratch")
[gzip.open("a.gz", "rt").read(), zipfile.ZipFile("a.zip").read("q.txt").decode()]
"""
    outcome = await sandbox.run(Job(code, files=FILES, clock_ms=1_767_225_600_000))  # ZIP knows no year before 1980
    assert outcome.error is None
    assert outcome.value == ["hello", "inside"]
    files = dict(outcome.files)
    assert files.pop("data.csv") == FILES["data.csv"] + b"5,6\n"
    assert files.pop("out/deep/b.bin") == bytes(range(256))
    assert files.pop("never-closed.txt") == b"kept"
    assert files.pop("moved.json") == FILES["sub/x.json"]
    assert set(files) == {"a.gz", "a.zip"}


async def test_a_traceback_shows_only_the_programs_lines(sandbox: WasmSandbox) -> None:
    code = """import json
def main(text):
    try:
        json.loads(text)
    except ValueError as e:
        raise KeyError('k') from e
"""
    outcome = await sandbox.run(Job(code, {"text": "{"}))
    assert outcome.error is not None
    lines = outcome.error.traceback.splitlines()
    assert {line.split(",")[0] for line in lines if line.startswith("  File")} == {'  File "tool.py"'}
    assert "    json.loads(text)" in lines
    assert "    raise KeyError('k') from e" in lines
    assert lines[-1] == "KeyError: 'k'"


async def test_a_syntax_error_quotes_the_line(sandbox: WasmSandbox) -> None:
    outcome = await sandbox.run(Job("ok = 1\nx = = 2\n"))
    assert outcome.error is not None
    assert "line 2" in outcome.error.traceback
    assert "x = = 2" in outcome.error.traceback


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_output_is_kept_up_to_its_limit(sandbox: WasmSandbox, stream: str) -> None:
    code = f"import sys\nfor _ in range(n): print('é' * 50, file=sys.{stream})"
    whole = await sandbox.run(Job(code, {"n": 2}))
    assert (getattr(whole, stream), whole.truncated) == (("é" * 50 + "\n") * 2, False)
    cut = await sandbox.run(Job(code, {"n": 10}, limits=Limits(stdout_bytes=112, stderr_bytes=112)))
    assert (getattr(cut, stream), cut.truncated) == ("é" * 50 + "\n" + "é" * 5, True)


async def test_each_stream_has_a_limit_of_its_own(sandbox: WasmSandbox) -> None:
    code = "import sys\nprint('o' * 50)\nprint('e' * 50, file=sys.stderr)"
    outcome = await sandbox.run(Job(code, limits=Limits(stdout_bytes=10)))
    assert (outcome.stdout, outcome.stderr, outcome.truncated) == ("o" * 10, "e" * 50 + "\n", True)


async def test_fuel_stops_alike_everywhere(sandbox: WasmSandbox) -> None:
    outcome = await sandbox.run(Job("while True: pass", limits=Limits(fuel=5_000_000)))
    assert (outcome.status, outcome.fuel_used) == ("fuel", 5_000_000)


async def test_files_larger_than_the_memory(sandbox: WasmSandbox) -> None:
    outcome = await sandbox.run(Job("1", files={"a": bytes(8 << 20)}, limits=Limits(memory_bytes=40 << 20)))
    assert outcome.status == "memory"


async def test_too_little_memory_to_start(sandbox: WasmSandbox) -> None:
    assert (await sandbox.run(Job("1", limits=Limits(memory_bytes=1 << 20)))).status == "memory"


BAD_JOBS: list[Job] = [
    Job("1", seed=b"short"),
    Job("1", clock_ms=-1),
    Job("1", {"x": float("nan")}),
    Job("1", {"x": object()}),
    Job("1", {"x": "\ud800"}),
    *(Job("1", files={name: b""}) for name in ("", "/a", "../a", "a/../b", "a//b", "a\\b", "c:x", "a\0", "a/")),
    Job("1", files={"a": bytes(11)}, limits=Limits(files_bytes=10)),
]


@pytest.mark.parametrize("job", BAD_JOBS)
async def test_what_is_not_a_job(sandbox: WasmSandbox, job: Job) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the table covers many messages
        await sandbox.run(job)


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="wall_seconds must be positive"):
        Limits(wall_seconds=0)
    with pytest.raises(ValueError, match="at most 120"):
        Limits(depth=121)


ENVELOPE: dict[str, Any] = {
    "status": "ok",
    "value": 1,
    "error": None,
    "stdout": "",
    "stderr": "",
    "files": {},
    "truncated": False,
}
FORGED = [
    "",
    "null",
    '{"status": "ok"}',
    json.dumps(ENVELOPE | {"fuel_used": 0}),
    json.dumps(ENVELOPE | {"status": "fuel"}),
    json.dumps(ENVELOPE | {"status": "error"}),
    json.dumps(ENVELOPE | {"error": {"type": "x", "message": "y", "traceback": ""}}),
    json.dumps(ENVELOPE | {"stdout": "x" * 1000}),
    json.dumps(ENVELOPE | {"value": "x" * 1000}),
    json.dumps(ENVELOPE | {"value": [[[[[]]]]]}),
    json.dumps(ENVELOPE | {"files": {"../x": ""}}),
    json.dumps(ENVELOPE | {"files": {"x": "not base64!"}}),
    json.dumps(ENVELOPE | {"files": {"x": 1}}),
    json.dumps(ENVELOPE | {"files": {"x": base64.b64encode(bytes(1000)).decode()}}),
    json.dumps(ENVELOPE | {"files": []}),
    json.dumps(ENVELOPE | {"truncated": 1}),
    json.dumps(ENVELOPE)[:-1] + ', "value": 2}',
    json.dumps(ENVELOPE | {"value": float("nan")}),
    json.dumps(ENVELOPE | {"value": "\ud800"}),
]


SMALL = Limits(result_bytes=500, stdout_bytes=500, stderr_bytes=500, files_bytes=500, depth=3)


@pytest.mark.parametrize("text", FORGED)
async def test_a_forged_answer_is_refused(text: str) -> None:
    outcome = answer.outcome({"status": "ok", "detail": "", "fuel_used": 7}, text.encode(), Job("1", limits=SMALL))
    assert (outcome.status, outcome.value, outcome.fuel_used) == ("output", None, 7)
    assert outcome.error is not None


FORGED_BY_A_PROGRAM: list[tuple[dict[str, Any], str, str]] = [
    ({}, '"forged"', "ok"),  # its own result, which it may choose: the forgery works, so that the others mean something
    ({"status": "error", "error": {"type": "T", "message": "m", "traceback": ""}}, "null", "error"),
    ({"status": "fuel", "error": {"type": "T", "message": "m", "traceback": ""}}, "null", "output"),
    ({"fuel_used": 0}, "1", "output"),
    ({"stdout": "x" * 501}, "1", "output"),
    ({"files": {"../x": ""}}, "1", "output"),
    ({}, '1, "value": 2', "output"),
    ({}, "NaN", "output"),
    ({}, "[[[[]]]]", "output"),
    ({}, '"' + "x" * 500 + '"', "output"),
]


@pytest.mark.parametrize(("members", "value", "status"), FORGED_BY_A_PROGRAM)
async def test_a_program_can_forge_only_its_own_result(
    sandbox: WasmSandbox, members: dict[str, Any], value: str, status: str
) -> None:
    head = json.dumps({key: member for key, member in (ENVELOPE | members).items() if key != "value"})
    code = f"""
import sys, types
class Head:
    def __getitem__(self, key): return {head[:-1]!r}
class Value:
    def encode(self): return b""
    def __format__(self, spec): return {value!r}
sys.modules["guest.app"].json = types.SimpleNamespace(dumps=lambda *a, **k: Head())
sys.modules["guest.value"].json = types.SimpleNamespace(dumps=lambda *a, **k: Value())
"""
    before = await sandbox.run(Job("1"))
    outcome = await sandbox.run(Job(code, limits=SMALL))
    assert outcome.status == status
    assert outcome.value == ("forged" if status == "ok" else None)
    assert outcome.fuel_used > 100_000
    assert await sandbox.run(Job("1")) == before


async def test_tricks_change_only_their_own_result(sandbox: WasmSandbox) -> None:
    before = await sandbox.run(Job("1"))
    tricks = [
        'import json\njson.dumps = lambda *a, **k: \'{"status": "ok", "value": 1, "fuel_used": 0}}\'\n1',
        "import builtins\nbuiltins.isinstance = lambda *a: True\n{1}",
        "import builtins\nbuiltins.len = builtins.str = builtins.type = None\n1",
        'print(\'{"status": "ok", "value": 2}\')\n1',
        "__name__ = 'guest.app'\n1",
        "class S(str):\n def __str__(self): return 'lie'\n def __len__(self): return 0\n[S('truth')]",
        "class D(dict):\n def items(self): return [('k', float('inf'))]\nD()",
        "import sys\nsys.stdout = sys.stderr = None\n1",
        "import sys\nsys.modules.clear()\n1",
        "import gc\nfor o in gc.get_objects():\n if isinstance(o, dict): o.clear()\n1",
    ]
    for code in tricks:
        outcome = await sandbox.run(Job(code))
        assert isinstance(outcome, Outcome)
        assert outcome.fuel_used > 100_000
        assert await sandbox.run(Job("1")) == before, code
