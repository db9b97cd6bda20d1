"""The same programs on another code generator: the same outcome, to the unit of fuel."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from servers.tee.sandbox import Job, Limits
from servers.tee.sandbox.wasm import WasmSandbox
from tests.servers.tee import wat

pytestmark = pytest.mark.anyio

PYTHON = """
import decimal, hashlib, host, json, math, random, re, statistics, zlib
def main(n):
    waves = [math.sin(i * .1) * math.exp(-i * .01) + random.random() for i in range(n)]
    roots = sum(decimal.Decimal(i).sqrt() for i in range(50))
    return [hashlib.sha256(repr(waves).encode()).hexdigest(), str(roots), statistics.stdev(waves), zlib.crc32(b"x" * n),
            len(re.findall(r"\\d+", repr(waves))), list({str(i) for i in range(9)}), host.call("echo", {"n": n})]
"""
JAVASCRIPT = """
function main({n}) {
  const waves = Array.from({length: n}, (_, i) => Math.sin(i * .1) * Math.exp(-i * .01) + Math.random());
  return [waves, waves.reduce((a, b) => a + b), 0 / -1, 2 ** 0.5, new Date(), "x".repeat(n).replace(/x+/, "y"),
          [..."hello"].sort(), host.call("echo", {n}), (0.1).toFixed(20), 1e21 + ""];
}
"""


async def _echo(arguments: dict[str, Any]) -> Any:
    return arguments


JOBS = {
    "python": Job(PYTHON, {"n": 300}, seed=b"s" * 32, host_calls={"echo": _echo}),
    "javascript": Job(JAVASCRIPT, {"n": 300}, seed=b"s" * 32, language="javascript", host_calls={"echo": _echo}),
    "module": Job("", {"n": 1}, component=wat.module("(drop (f32.sqrt (f32.const -1)))")),
    "error": Job("def main(n): return [1][n]", {"n": 3}),
    "fuel": Job("while True: pass", limits=Limits(fuel=20_000_000)),
    "memory": Job("x = []\nwhile True: x.append(bytearray(1 << 20))", limits=Limits(memory_bytes=64 << 20)),
}


@pytest.fixture(scope="module")
async def unoptimised(component_cache: Path, anyio_backend: str) -> AsyncGenerator[WasmSandbox]:
    """A sandbox whose machine code is made without optimisation."""
    async with WasmSandbox(component_cache, settings={"cranelift_opt_level": "none"}) as sandbox:
        await sandbox.prepare(lambda _: None)
        yield sandbox


@pytest.mark.parametrize("name", JOBS)
async def test_another_generator_gives_the_same(sandbox: WasmSandbox, unoptimised: WasmSandbox, name: str) -> None:
    first, second = await sandbox.run(JOBS[name]), await unoptimised.run(JOBS[name])
    assert second == first
    assert second.fuel_used == first.fuel_used > 0
    assert first.status in ("ok", name)


def test_the_environment_tells_them_apart(sandbox: WasmSandbox, unoptimised: WasmSandbox) -> None:
    ours, other = sandbox.environment, unoptimised.environment
    assert ours["settings"]["cranelift_opt_level"] == "speed"
    assert other["settings"]["cranelift_opt_level"] == "none"
    assert {**ours, "settings": 0} == {**other, "settings": 0}
