"""Equal jobs give equal outcomes, to the unit of fuel, in any process: what re-execution rests on."""

import dataclasses
from pathlib import Path

import pytest

from servers.tee.sandbox import Job, Outcome
from servers.tee.sandbox.wasm import WasmSandbox

pytestmark = pytest.mark.anyio

# Everything that differs between two runs of an ordinary Python.
RESTLESS = """
import datetime, os, random, secrets, tempfile, time, uuid
def main(**arguments):
    print(object())
    return dict(
        random=[random.random(), random.Random().random(), random.SystemRandom().random(), random.randbytes(4).hex()],
        secrets=[secrets.token_hex(4), os.urandom(4).hex(), str(uuid.uuid4()), str(uuid.uuid1()), uuid.getnode()],
        time=[time.time(), time.time_ns(), time.monotonic(), time.perf_counter_ns(), time.process_time()],
        calendar=[time.localtime(), time.gmtime(), time.ctime(), time.asctime(), time.strftime("%c")],
        now=[repr(datetime.datetime.now()), str(datetime.datetime.now(datetime.timezone.utc))],
        today=[str(datetime.date.today()), str(datetime.datetime.today()), str(datetime.datetime.utcnow())],
        order=[list({"a", "b", "c", "d"}), hash("a"), hash(b"a"), hash((1, "x")), id(object())],
        names=[tempfile.mkdtemp(), os.getpid(), sorted(arguments)],
        float=[sum(0.1 for _ in range(1000)), 2 ** 0.5, __import__("math").sin(1e22)],
    )
"""


async def _in_a_new_process(cache: Path, job: Job) -> Outcome:
    async with WasmSandbox(cache) as sandbox:
        return await sandbox.run(job)


async def test_two_processes_agree(sandbox: WasmSandbox, component_cache: Path) -> None:
    job = Job(RESTLESS, {"b": 1, "a": 2}, {"x": b"1"}, bytes(range(32)), 1_767_225_600_000)
    first = await sandbox.run(job)
    assert first.status == "ok"
    assert await sandbox.run(job) == first
    assert await _in_a_new_process(component_cache, job) == first
    # The order of members is no part of a JSON object.
    assert await sandbox.run(dataclasses.replace(job, arguments={"a": 2, "b": 1})) == first


async def test_seed_and_clock_decide(sandbox: WasmSandbox) -> None:
    job = Job(RESTLESS)
    base = (await sandbox.run(job)).value
    seeded = (await sandbox.run(dataclasses.replace(job, seed=b"s" * 32))).value
    later = (await sandbox.run(dataclasses.replace(job, clock_ms=86_400_000))).value
    assert all(
        a != b for a, b in zip(base["random"] + base["secrets"], seeded["random"] + seeded["secrets"], strict=True)
    )
    assert base["order"][:4] == seeded["order"][:4]
    assert base["today"][0] == seeded["today"][0] == "1970-01-01"
    assert later["today"][0] == "1970-01-02"
    assert later["random"] == base["random"]


@pytest.mark.parametrize("code", ["1 / 0", "float('nan')", "import queue; queue.Queue().get(timeout=1)", "x = 1 +"])
async def test_failures_repeat_as_well(sandbox: WasmSandbox, component_cache: Path, code: str) -> None:
    assert await sandbox.run(Job(code)) == await _in_a_new_process(component_cache, Job(code))


async def test_the_environment_names_all_that_decides(sandbox: WasmSandbox) -> None:
    environment = dict(sandbox.environment)
    assert environment["tier"] == "wasm"
    assert environment["component"].startswith("sha256:")
    assert environment["engine"].startswith("wasmtime 50.")
    assert environment["settings"]["cranelift_nan_canonicalization"] is True
