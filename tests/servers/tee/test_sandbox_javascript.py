"""What a JavaScript program in the sandbox sees, by table: programs and what must come back."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from servers.tee.sandbox import Job, Limits, Outcome
from servers.tee.sandbox.wasm import WasmSandbox

pytestmark = pytest.mark.anyio

CLOCK = 1_767_225_600_000
FILES = {"data.csv": b"a,b\n1,2\n", "x.bin": bytes([0, 255, 128]), "e.txt": "é😀".encode()}


def _job(code: str, **more: Any) -> Job:
    return Job(code, {"x": 21}, FILES, language="javascript", clock_ms=CLOCK, **more)


TIMERS = """
const seen = [];
setTimeout(() => seen.push(2), 20);
setTimeout(() => seen.push(1), 10);
const id = setInterval(() => { seen.push(0); if (seen.length > 5) clearInterval(id) }, 9);
new Promise((done) => setTimeout(done, 100)).then(() => seen)
"""

VALUES: list[tuple[str, Any]] = [
    ("1 + 1", 2),
    ("x * 2", 42),
    ("function main({x}) { return x + 1 }", 22),
    ("const main = (given) => given; 5", {"x": 21}),
    ("async function main({x}) { await null; return x }", 21),
    ("Promise.resolve([1]).then((a) => a[0])", 1),
    ("let y = x", None),
    ("", None),
    ("undefined", None),
    ("[undefined, , null]", [None, None, None]),
    ("({a: undefined, b: 1})", {"b": 1}),
    ("({['__proto__']: 1})", {"__proto__": 1}),
    ("-0", 0),
    ("[1.5, 1e300, 9007199254740991]", [1.5, 1e300, 9007199254740991]),
    ("'é\\u{1f600}'", "é😀"),
    ("[new String('a'), new Number(1)]", ["a", 1]),
    ("new Date()", "2026-01-01T00:00:00.000Z"),
    ("[new Date().getHours(), new Date(2026, 0, 1).getTimezoneOffset()]", [0, 0]),
    ("[files.list(), files.read('data.csv'), [...files.bytes('x.bin')], files.read('e.txt')]",
     [["data.csv", "e.txt", "x.bin"], "a,b\n1,2\n", [0, 255, 128], "é😀"]),
    ("new Promise((done) => setTimeout(done, 3.6e6)).then(() => Date.now())", CLOCK + 3_600_000),
    ("let t = Date.now(), n = 0; while (Date.now() < t + 3) n++; n > 1000", True),
    (TIMERS, [0, 1, 0, 2, 0, 0]),
    ("new TextDecoder().decode(new TextEncoder().encode('é😀'))", "é😀"),
    ("JSON.parse = JSON.stringify = Object.keys = Math.max = null; [{a: 1}]", [{"a": 1}]),
    ("typeof fetch + typeof require + typeof process + typeof std + typeof os + typeof __host", "undefined" * 6),
    ("let deep = (n) => n ? 1 + deep(n - 1) : 0; deep(1500)", 1500),
]  # fmt: skip


@pytest.mark.parametrize(("code", "value"), VALUES)
async def test_values(sandbox: WasmSandbox, code: str, value: Any) -> None:
    outcome = await sandbox.run(_job(code))
    assert outcome.error is None
    assert (outcome.status, outcome.value) == ("ok", value)
    assert 0 < outcome.fuel_used < Limits().fuel
    assert outcome.usage["memory_bytes"] > 1 << 20


FAILURES: list[tuple[str, str, str, str]] = [
    ("error", "throw new TypeError('bad')", "TypeError", "bad"),
    ("error", "null.x", "TypeError", "cannot read property 'x' of null"),
    ("error", "function main() { throw 42 }", "Thrown", "42"),
    ("error", "Promise.reject(new RangeError('r'))", "RangeError", "r"),
    ("error", "new Promise(() => {})", "Error", "never settled"),
    ("error", "setTimeout(() => { throw new Error('late') }); new Promise(() => {})", "Error", "late"),
    ("error", "x = (", "SyntaxError", "unexpected token"),
    ("error", "import a from 'b'", "SyntaxError", "a"),
    ("error", "import('fs')", "ReferenceError", "'fs'"),
    ("error", "files.read('no')", "Error", "only those passed with the call: data.csv, e.txt, x.bin"),
    ("error", "files.read('x.bin')", "TypeError", "not UTF-8"),
    ("error", "throw {get name() { throw 1 }, toString() { throw 2 }}", "Thrown", ""),
    ("error", "class E extends Error { get message() { throw 1 } }; throw new E()", "Error", "its message failed"),
    ("error", "let s = 'x'; while (true) s += s", "InternalError", "string too long"),
    ("trap", "function f(n) { return 1 + f(n + 1) } f(0)", "SandboxTrap", "nested calls or data too deeply"),
    ("trap", "Array.prototype.join = Array.prototype.map = null; throw new Error('x')", "SandboxTrap", "broke what"),
    ("fuel", "while (true);", "OutOfFuel", "used up"),
    ("fuel", "/(x+)+y/.test('x'.repeat(100))", "OutOfFuel", "used up"),
    ("memory", "let a = []; while (true) a.push(new Uint8Array(1 << 20))", "MemoryError", "64 MiB"),
    ("output", "NaN", "OutputError", "NaN at $ is not JSON"),
    ("output", "[{a: 1n}]", "OutputError", "the bigint at $[0].a is not JSON: use String()"),
    ("output", "new Map()", "OutputError", "the Map at $ is not JSON: use Object.fromEntries()"),
    ("output", "() => 1", "OutputError", "the function at $"),
    ("output", "let o = {}; o.o = o; o", "OutputError", "deeper than 64 levels"),
    ("output", "'\\ud800'", "OutputError", "surrogate"),
    ("output", "'x'.repeat(2000)", "OutputError", "the limit"),
    (
        "output",
        "let a = [1]; for (let i = 0; i < 60; i++) a = [a, a]; a",
        "OutputError",
        "1000 bytes of JSON, the limit",
    ),
    ("output", "files.write('a', 'x'.repeat(2000))", "OutputError", "the limit"),
    ("output", "files.write('../a', 'x')", "OutputError", "not a plain relative path"),
]


@pytest.mark.parametrize(("status", "code", "kind", "message"), FAILURES)
async def test_failures(sandbox: WasmSandbox, status: str, code: str, kind: str, message: str) -> None:
    limits = Limits(fuel=300_000_000, memory_bytes=64 << 20, result_bytes=1000, files_bytes=1000)
    outcome = await sandbox.run(_job(code, limits=limits))
    assert outcome.error is not None
    assert (outcome.status, outcome.error.type) == (status, kind)
    assert message in outcome.error.message
    assert outcome.value is None
    assert outcome.files == {}
    assert bool(outcome.error.traceback) == (status == "error")


async def test_a_traceback_shows_the_programs_lines_only(sandbox: WasmSandbox) -> None:
    outcome = await sandbox.run(_job("function inner() {\n  host.call('x')\n}\nfunction main() {\n  inner()\n}"))
    assert outcome.error is not None
    assert outcome.error.traceback.splitlines() == [
        "HostError: no host call 'x' is allowed here; allowed: none",
        "    at inner (tool.js:2:8)",
        "    at main (tool.js:5:3)",
    ]


async def test_the_console_is_captured_and_cut(sandbox: WasmSandbox) -> None:
    code = "console.log('a', 1, {b: [null]}, undefined); console.error(new Error('e').message); console.info('é')"
    outcome = await sandbox.run(_job(code))
    assert (outcome.stdout, outcome.stderr) == ('a 1 {"b":[null]} undefined\né\n', "e\n")
    assert not outcome.truncated
    cut = await sandbox.run(_job("console.log('aé😀'.repeat(9)); console.warn('x')", limits=Limits(stdout_bytes=10)))
    assert (cut.stdout, cut.stderr, cut.truncated) == ("aé😀aé", "x\n", True)
    unsound = await sandbox.run(_job("console.log('\\ud800')"))
    assert unsound.stdout == "\ufffd\n"


async def test_files_come_back_if_changed(sandbox: WasmSandbox) -> None:
    code = "files.write('n/a.txt', 'é'); files.write('x.bin', [1, 2]); files.write('e.txt', files.read('e.txt'));"
    outcome = await sandbox.run(_job(code + "files.remove('data.csv')"))
    assert outcome.files == {"n/a.txt": "é".encode(), "x.bin": b"\1\2"}


RESTLESS = """
[Math.random(), Math.random(), Date.now(), new Date().toString(), String(Symbol()), Object.keys({b: 1, a: 2}),
 [3, 1, 2].sort(() => Math.random() - 0.5), new Error('x').stack, files.list()]
"""


async def _elsewhere(cache: Path, job: Job) -> Outcome:
    async with WasmSandbox(cache) as sandbox:
        return await sandbox.run(job)


async def test_two_processes_agree_and_the_seed_decides(sandbox: WasmSandbox, component_cache: Path) -> None:
    job = _job(RESTLESS)
    first = await sandbox.run(job)
    assert first.status == "ok"
    assert await sandbox.run(job) == first
    assert await _elsewhere(component_cache, job) == first
    seeded = await sandbox.run(dataclasses.replace(job, seed=b"s" * 32))
    assert first.value[:2] != seeded.value[:2]
    assert first.value[2] == seeded.value[2] == CLOCK
    assert all(0 <= number < 1 for number in (*first.value[:2], *seeded.value[:2]))


async def test_nothing_of_one_call_is_in_the_next(sandbox: WasmSandbox) -> None:
    await sandbox.run(_job("globalThis.left = 'canary'; Object.prototype.canary = 1; files.write('canary', 'x')"))
    after = await sandbox.run(_job("[typeof left, ({}).canary === undefined, files.list().includes('canary')]"))
    assert after.value == ["undefined", True, False]


async def test_the_deadline_stops_a_program(sandbox: WasmSandbox) -> None:
    outcome = await sandbox.run(_job("while (true);", limits=Limits(fuel=10**15, wall_seconds=0.2)))
    assert outcome.status == "deadline"
