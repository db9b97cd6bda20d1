"""Host calls: only what a job allows, everything written down, and the same call again from the transcript."""

import dataclasses
import json
from typing import Any

import anyio
import pytest

from servers.tee.sandbox import Exchange, HostCallError, Job, Limits, Outcome, SandboxError
from servers.tee.sandbox.wasm import WasmSandbox

pytestmark = pytest.mark.anyio


async def _add(arguments: dict[str, Any]) -> Any:
    return arguments["a"] + arguments["b"]


async def _fail(_: dict[str, Any]) -> Any:
    raise HostCallError("the other side is closed")


CALLS = {"add": _add, "fail": _fail}
PYTHON = """
import host
out = [host.call("add", {"a": 1, "b": 2}), host.call("add", {"a": "é", "b": "\\U0001f600"})]
for name in ("fail", "other"):
    try: host.call(name)
    except host.HostError as e: out.append(str(e))
out
"""
JAVASCRIPT = """
const out = [host.call("add", {a: 1, b: 2}), host.call("add", {a: "é", b: "\\u{1f600}"})];
for (const name of ["fail", "other"]) try { host.call(name) } catch (e) { out.push(e.message) }
out
"""
VALUE = [3, "é😀", "the other side is closed", "no host call 'other' is allowed here; allowed: add, fail"]
BOTH = pytest.mark.parametrize(
    "job", [Job(PYTHON, host_calls=CALLS), Job(JAVASCRIPT, language="javascript", host_calls=CALLS)], ids=["py", "js"]
)


@BOTH
async def test_what_was_said_is_the_transcript(sandbox: WasmSandbox, job: Job) -> None:
    outcome = await sandbox.run(job)
    assert outcome.error is None
    assert outcome.value == VALUE
    assert [(e.name, e.ok) for e in outcome.transcript] == [("add", True)] * 2 + [("fail", False), ("other", False)]
    assert json.loads(outcome.transcript[1].request) == {"a": "é", "b": "😀"}
    assert outcome.transcript[1].response == '"é😀"'
    told = outcome.usage["host_calls"]
    sizes = [len(f"{e.name}{e.request}{e.response}".encode()) for e in outcome.transcript]
    assert told == {"count": 4, "bytes": sum(sizes), "names": {"add": 2, "fail": 1, "other": 1}}


@BOTH
async def test_the_transcript_alone_gives_the_same_outcome(sandbox: WasmSandbox, job: Job) -> None:
    outcome = await sandbox.run(job)
    again = await sandbox.run(dataclasses.replace(job, host_calls={}, replay=outcome.transcript))
    assert again == outcome
    assert again.fuel_used == outcome.fuel_used > 0


async def _replayed(sandbox: WasmSandbox, transcript: tuple[Exchange, ...]) -> Outcome:
    return await sandbox.run(Job(PYTHON, replay=transcript))


async def test_any_difference_is_a_divergence(sandbox: WasmSandbox) -> None:
    said = (await sandbox.run(Job(PYTHON, host_calls=CALLS))).transcript
    changed = {
        "call 1, 'add', asks for something else": (dataclasses.replace(said[0], request='{"a":1,"b":3}'), *said[1:]),
        "call 2 is 'add'; the transcript has 'ask'": (said[0], dataclasses.replace(said[1], name="ask"), *said[2:]),
        "one host call more than the 3": said[:3],
        "the transcript goes on with 'add'": (*said, said[0]),
    }
    for message, transcript in changed.items():
        outcome = await _replayed(sandbox, transcript)
        assert (outcome.status, outcome.value) == ("divergence", None)
        assert outcome.error is not None
        assert message in outcome.error.message
    answered = (dataclasses.replace(said[0], response="4"), *said[1:])
    assert (await _replayed(sandbox, answered)).value[0] == 4  # the caller's digest of the transcript sees this one
    assert (await _replayed(sandbox, said)).status == "ok"


async def test_a_program_cannot_catch_a_divergence(sandbox: WasmSandbox) -> None:
    code = "import host\ntry: host.call('x')\nexcept BaseException: pass\n1"
    assert (await sandbox.run(Job(code, replay=()))).status == "divergence"


LIMITS = [
    ("for _ in range(5): host.call('add', {'a': 1, 'b': 2})", "more than 4 host calls"),
    ("host.call('add', {'a': 'x' * 20_000, 'b': ''})", "more than 10000 bytes of host calls, the limit"),
    ("host.call('x' * 300)", "more than 10000 bytes"),
    ("host.call('\\n')", "printable"),
]


@pytest.mark.parametrize(("code", "message"), LIMITS)
async def test_the_bounds_end_the_call(sandbox: WasmSandbox, code: str, message: str) -> None:
    job = Job(f"import host\n{code}", host_calls=CALLS, limits=Limits(host_calls=4, host_bytes=10_000))
    outcome = await sandbox.run(job)
    assert outcome.status == "host"
    assert outcome.error is not None
    assert message in outcome.error.message or "size" in outcome.error.message
    again = await sandbox.run(dataclasses.replace(job, host_calls={}, replay=outcome.transcript))
    assert again == outcome


async def test_an_answer_beyond_the_bounds_is_told_to_the_program(sandbox: WasmSandbox) -> None:
    async def flood(_: dict[str, Any]) -> Any:
        return "x" * 20_000

    job = Job("import host\nhost.call('flood')", host_calls={"flood": flood}, limits=Limits(host_bytes=10_000))
    outcome = await sandbox.run(job)
    assert outcome.error is not None
    assert outcome.error.type == "HostError"
    assert outcome.error.message.startswith("the answer is 20002 bytes; 9993 are left")
    assert len(outcome.transcript[0].response) < 200
    assert await sandbox.run(dataclasses.replace(job, replay=outcome.transcript)) == outcome


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("host.call('add', {'a': float('nan')})", "ValueError", "not JSON compliant"),
        ("host.call('add', [1])", "TypeError", "a name and a dict"),
        ("host.call(1)", "TypeError", "a name and a dict"),
        ("import wit_world\nwit_world.host('add', '{')", "Err", "not sound JSON"),
        ("import wit_world\nwit_world.host('add', '[]')", "Err", "not a JSON object"),
    ],
)
async def test_a_request_that_is_none_is_an_error_of_the_program(
    sandbox: WasmSandbox, code: str, kind: str, message: str
) -> None:
    outcome = await sandbox.run(Job(f"import host\n{code}", host_calls=CALLS))
    assert outcome.error is not None
    assert (outcome.status, outcome.error.type) == ("error", kind)
    assert message in outcome.error.message


async def test_no_memory_for_an_answer_is_an_error_and_not_a_wrong_value(sandbox: WasmSandbox) -> None:
    async def much(_: dict[str, Any]) -> Any:
        return "x" * (4_000_000)

    code = "import host\nkept = []\ntry:\n  while True: kept.append(bytearray(1 << 16))\nexcept MemoryError: pass\n"
    outcome = await sandbox.run(Job(code + "len(host.call('much'))", host_calls={"much": much}))
    assert outcome.status == "memory"
    assert outcome.transcript == ()


async def test_the_deadline_covers_host_calls(sandbox: WasmSandbox) -> None:
    cancelled = anyio.Event()

    async def never(_: dict[str, Any]) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    before = sandbox.processes
    job = Job("import host\nhost.call('never')", host_calls={"never": never}, limits=Limits(wall_seconds=0.2))
    outcome = await sandbox.run(job)
    assert outcome.status == "deadline"
    assert cancelled.is_set()
    assert sandbox.processes == before or not before  # the worker was told, and lives on


async def test_a_mistake_of_the_engine_comes_out_and_the_worker_is_replaced(sandbox: WasmSandbox) -> None:
    async def broken(_: dict[str, Any]) -> Any:
        raise KeyError("a")

    async def no_json(_: dict[str, Any]) -> Any:
        return b""

    code = "import host\nhost.call('x')"
    with pytest.raises(KeyError):
        await sandbox.run(Job(code, host_calls={"x": broken}))
    with pytest.raises(SandboxError, match="answered what is not JSON"):
        await sandbox.run(Job(code, host_calls={"x": no_json}))
    assert (await sandbox.run(Job("1"))).value == 1


async def test_cancelling_a_call_cancels_what_its_host_does(sandbox: WasmSandbox) -> None:
    asked, cancelled = anyio.Event(), anyio.Event()

    async def never(_: dict[str, Any]) -> Any:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with anyio.create_task_group() as group:
        group.start_soon(sandbox.run, Job("import host\nhost.call('never')", host_calls={"never": never}))
        await asked.wait()
        group.cancel_scope.cancel()
    assert cancelled.is_set()
    assert (await sandbox.run(Job("1"))).value == 1
