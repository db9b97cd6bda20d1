"""WebAssembly of the caller's: compiled in a locked process, run in a worker of its own, refused by name if it asks for
more than there is."""

from pathlib import Path
from typing import Any

import pytest

from servers.tee.sandbox import HostCallError, Job, Limits, pool
from servers.tee.sandbox import compile as compiling
from servers.tee.sandbox.wasm import WasmSandbox
from tests.servers.tee import wat

pytestmark = pytest.mark.anyio


async def _echo(arguments: dict[str, Any]) -> Any:
    return {"told": arguments}


async def _no(_: dict[str, Any]) -> Any:
    raise HostCallError('"no"')  # as JSON, since the component hands it on


async def test_a_module_gets_its_arguments_and_gives_its_value(sandbox: WasmSandbox) -> None:
    job = Job("", {"a": [1, "é"]}, component=wat.module())
    outcome = await sandbox.run(job)
    assert (outcome.status, outcome.value) == ("ok", {"a": [1, "é"]})
    assert outcome.usage["memory_bytes"] == 128 << 10
    assert 0 < outcome.fuel_used < 1000
    assert await sandbox.run(job) == outcome


async def test_a_component_may_ask_its_host(sandbox: WasmSandbox) -> None:
    component = wat.binary(wat.COMPONENT)
    outcome = await sandbox.run(Job("", {"a": 1}, component=component, host_calls={"echo": _echo}))
    assert outcome.value == {"told": {"a": 1}}
    assert [(e.name, e.request, e.response, e.ok) for e in outcome.transcript] == [
        ("echo", '{"a":1}', '{"told":{"a":1}}', True)
    ]
    assert await sandbox.run(Job("", {"a": 1}, component=component, replay=outcome.transcript)) == outcome
    refused = await sandbox.run(Job("", {"a": 1}, component=component, host_calls={"echo": _no}))
    assert refused.value == "no"


BAD = [
    (b"\0asm\x02\0\0\0", "is not WebAssembly"),
    (b"not wasm", "is not WebAssembly"),
    (b"\0asm\x01\0\0\0\x01", "the component cannot be compiled: "),
    (wat.binary('(module (import "env" "now" (func)) (import "wasi" "exit" (func)))'), "not have: env.now, wasi.exit"),
    (wat.binary('(component (import "clock" (func)))'), "not have: clock"),
    (wat.binary('(component (import "host" (func)))'), "import host is not func"),
    (wat.binary("(component)"), "does not export run"),
    (wat.binary("(module)"), "does not export its memory"),
    (wat.binary('(module (memory (export "memory") 1))'), r"alloc: \(i32\) -> i32"),
    (
        wat.binary(
            '(module (memory (export "memory") 1) (func (export "alloc") (param i32) (result i32) local.get 0)'
            '(func (export "run") (param i32) (result i32) local.get 0))'
        ),
        r"run: \(i32, i32\) -> i64",
    ),
]


@pytest.mark.parametrize(("wasm", "message"), BAD)
async def test_what_is_refused_says_why(sandbox: WasmSandbox, wasm: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await sandbox.run(Job("", component=wasm))
    assert (await sandbox.run(Job("1"))).value == 1


ENDS = [
    ("unreachable", "trap", "made the interpreter fail"),
    ("(loop (br 0))", "fuel", "used up"),
    ("(local.set $at (i32.const -8))", "trap", "its answer is not inside its memory"),
    ("(local.set $size (i32.const -1))", "trap", "its answer is not inside its memory"),
    ("(local.set $size (i32.const 1))", "output", "not sound JSON"),
    ("(i32.store (i32.const 1024) (i32.const 0x22ff22))", "output", "not sound JSON"),
    ("(drop (i32.load (i32.const 1000000)))", "trap", "out of bounds"),
    ("(if (i32.eq (memory.grow (i32.const 4000)) (i32.const -1)) (then unreachable))", "trap", "fail"),
]


@pytest.mark.parametrize(("body", "status", "message"), ENDS)
async def test_how_a_module_ends(sandbox: WasmSandbox, body: str, status: str, message: str) -> None:
    limits = Limits(fuel=10_000_000, memory_bytes=16 << 20)
    outcome = await sandbox.run(Job("", {"a": 1}, component=wat.module(body), limits=limits))
    assert outcome.error is not None
    assert outcome.status == status
    assert message in outcome.error.message


async def test_a_memory_beyond_the_limit_is_not_made(sandbox: WasmSandbox) -> None:
    wasm = wat.binary(
        '(module (memory (export "memory") 1000) (func (export "alloc") (param i32) (result i32) i32.const 0)'
        ' (func (export "run") (param i32 i32) (result i64) i64.const 0))'
    )
    assert (await sandbox.run(Job("", component=wasm, limits=Limits(memory_bytes=1 << 20)))).status == "memory"


async def test_a_component_takes_neither_code_nor_files(sandbox: WasmSandbox) -> None:
    for job in (Job("1", component=wat.module()), Job("", files={"a": b""}, component=wat.module())):
        with pytest.raises(ValueError, match="in place of the code"):
            await sandbox.run(job)


async def test_a_large_component_is_refused(sandbox: WasmSandbox) -> None:
    with pytest.raises(ValueError, match="the limit is 16777216"):
        await sandbox.run(Job("", component=b"\0asm\x01\0\0\0" + bytes(compiling.MAX_GIVEN)))


async def test_compiling_has_a_time(component_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wasm = wat.module("nop nop nop nop")
    async with WasmSandbox(component_cache) as sandbox:
        with monkeypatch.context() as patched:
            patched.setattr(pool, "_COMPILE_SECONDS", 0.0)
            with pytest.raises(ValueError, match="more memory or time than it may"):
                await sandbox.run(Job("", component=wasm))
        assert (await sandbox.run(Job("", component=wasm))).value == {}


def _compiled(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (cache / "given").iterdir()}


async def test_it_is_compiled_once_and_has_a_worker_of_its_own(component_cache: Path) -> None:
    async with WasmSandbox(component_cache, workers=2) as sandbox:
        await sandbox.run(Job("1"))
        ours = sandbox.processes
        wasm = wat.module("nop nop")
        await sandbox.run(Job("", component=wasm))
        both = sandbox.processes
        assert set(ours) < set(both)
        files = _compiled(component_cache)
        await sandbox.run(Job("", component=wasm))
        await sandbox.run(Job("1"))
        assert sandbox.processes == both
        assert _compiled(component_cache) == files
        await sandbox.run(Job("", component=wat.module("nop nop nop")))
        assert len(sandbox.processes) == 2  # the longest idle one went
        assert set(ours) < set(sandbox.processes)
