"""A call runs again from its bundle alone: identical, or the first difference is named."""

import base64
import dataclasses
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from attest.canonical import parse
from attest.errors import AttestError
from servers.tee.library.library import Library
from servers.tee.replay import transcript
from servers.tee.replay.replay import CODEGENS, Finding, replay
from servers.tee.sandbox.wasm import WasmSandbox
from tests.servers.tee.replay.bundles import NOW, Lie, Maker, maker, put
from tests.servers.tee.replay.programs import generated

Json = dict[str, Any]
pytestmark = pytest.mark.anyio

GENERATED = 200
STRIDE = 23
"""Of the bytes of a bundle, one in so many is changed."""
PAGE = {"url": "https://example.org/page"}
PROGRAM: Json = {
    "code": "import random, time\ndef main(n):\n print(open('a').read())\n return [n, random.random(), time.time()]",
    "arguments": {"n": 3},
    "files": {"a": "text"},
}
LIBRARY = Library(None, {"wasm": None})


@pytest.fixture(scope="module")
async def made(component_cache: Path, anyio_backend: str) -> AsyncGenerator[Maker]:
    """Where calls are made first."""
    async with maker(component_cache) as made:
        yield made


@pytest.fixture(scope="module")
async def other(component_cache: Path, anyio_backend: str) -> AsyncGenerator[WasmSandbox]:
    """A sandbox in another process, of another code generator."""
    async with WasmSandbox(component_cache, settings=CODEGENS["none"]) as other:
        await other.prepare(lambda _: None)
        yield other


async def again(data: bytes, sandbox: WasmSandbox) -> Finding:
    return await replay(data, sandbox, LIBRARY, now=NOW, seconds=120)


async def test_200_generated_programs_are_identical_in_two_processes_and_under_two_code_generators(
    made: Maker, sandbox: WasmSandbox, other: WasmSandbox
) -> None:
    statuses = set[str]()
    calls = generated(GENERATED)
    assert len(calls) == GENERATED
    for call in calls:
        bundle = await made.bundle("run_python", call)
        for second in (sandbox, other):
            finding = await again(bundle.encode(), second)
            assert finding.headline == "re-executed: identical", (finding, call["code"])
            assert finding.receipt.outcome == "untrusted"
        assert finding.receipt.statement is not None
        statuses.add(finding.receipt.statement.usage["status"])
    assert statuses == {"ok", "error", "trap", "fuel", "memory", "output"}


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("run_python", PROGRAM),
        ("describe_data", {"data": "a,b\n1,2\n3,x\n"}),
        ("run_javascript", {"code": "[Math.random(), Date.now(), [...new Set([3, 1, 2])], 0.1 + 0.2]"}),
        ("http_request", PAGE),
        ("http_request", {"url": "https://example.org/none"}),
    ],
)
async def test_each_function_of_the_tier_repeats_in_both_eras(
    component_cache: Path, sandbox: WasmSandbox, tool: str, arguments: Json, legacy: bool
) -> None:
    async with maker(component_cache, legacy=legacy) as made:
        bundle = await made.bundle(tool, arguments)
    assert ("resultType" in parse(bundle.result)) != legacy
    finding = await again(bundle.encode(), sandbox)
    assert finding.headline == "re-executed: identical"


async def test_a_host_call_is_answered_from_the_result_and_the_receipt_does_not_show_it(
    made: Maker, sandbox: WasmSandbox
) -> None:
    bundle = await made.bundle("http_request", PAGE)
    assert b'"com.etmcp.tee/transcript":[{"name":"fetch"' in bundle.result
    answer = base64.b64encode(b"x-number")  # it is in the response, which is no part of the receipt
    payload = bundle.receipt.envelope.payload
    assert b"example.org" not in payload
    assert answer not in payload
    assert b"x-number" not in payload
    # The page differs with each request, so nothing was asked again.
    assert (await again(bundle.encode(), sandbox)).outcome == "identical"


TRANSCRIPT = ("_meta", transcript.TRANSCRIPT)
VALUE = ("structuredContent", "value")
MADE_UP = '{"body":"","headers":{},"status":201}'
CALLS = {"bytes": 1, "count": 1, "names": {"fetch": 1}}


def doubled(result: Json) -> None:
    calls = result["_meta"][transcript.TRANSCRIPT]
    calls.append(calls[0])


PYTHON: dict[str, tuple[Lie, str]] = {
    "code": (Lie(params=put("arguments", "code", value=PROGRAM["code"] + "[1:]")), "result."),
    "argument": (Lie(params=put("arguments", "arguments", "n", value=4)), "result."),
    "file": (Lie(params=put("arguments", "files", "a", value="tezt")), "result."),
    "value": (Lie(result=put(*VALUE, 0, value=2)), "structuredContent.value[0]: recorded 2, now 3"),
    "type": (Lie(result=put(*VALUE, 0, value=True)), "structuredContent.value[0]: recorded true, now 3"),
    "output": (Lie(result=put("structuredContent", "stdout", value="tezt")), "result.structuredContent.stdout"),
    "text": (Lie(result=put("content", 0, "text", value="{}")), "result.content[0].text"),
    "content": (Lie(result=put("content", value=[])), "result.content[0]: recorded nothing, now {"),
    "failed": (Lie(result=put("isError", value=True)), "result.isError: recorded true, now false"),
    "more": (Lie(result=put("more", value=1)), "result.more: recorded 1, now nothing"),
    "fuel": (Lie(usage={"fuel": 1}), "fuel: recorded 1, now "),
    "status": (Lie(usage={"status": "error"}), 'status: recorded "error", now "ok"'),
    "clock": (Lie(environment={"clock": 1_800_000_001_000}), "result."),
    "fuel limit": (Lie(limits={"fuel": 900_000}), 'status: recorded "ok", now "fuel"'),
    "output limit": (Lie(limits={"stdout_bytes": 3}), "result."),
    "result limit": (Lie(limits={"result_bytes": 3}), 'status: recorded "ok", now "output"'),
}
HTTP: dict[str, tuple[Lie, str]] = {
    "name": (Lie(result=put(*TRANSCRIPT, 0, "name", value="fetsch")), "host calls: "),
    "request": (Lie(result=put(*TRANSCRIPT, 0, "request", value="{}")), "host calls: "),
    "response": (Lie(result=put(*TRANSCRIPT, 0, "response", value=MADE_UP)), "host_calls.bytes"),
    "ok": (Lie(result=put(*TRANSCRIPT, 0, "ok", value=False)), "status: "),
    "none": (Lie(result=put("_meta", value={})), "host calls: "),
    "twice": (Lie(result=doubled), "host calls: "),
    "counted": (Lie(usage={"host_calls": CALLS}), "host_calls.bytes: recorded 1"),
}


@pytest.mark.parametrize("lie", PYTHON)
async def test_what_a_signer_changed_is_named(made: Maker, sandbox: WasmSandbox, lie: str) -> None:
    """Signed with the right key and every digest right: only running it again finds it."""
    bundle = await made.bundle("run_python", PROGRAM)
    finding = await again(made.forged(bundle, PYTHON[lie][0]), sandbox)
    assert finding.outcome == "different", finding
    assert PYTHON[lie][1] in finding.detail


@pytest.mark.parametrize("lie", HTTP)
async def test_what_a_signer_changed_of_a_transcript_is_named(made: Maker, sandbox: WasmSandbox, lie: str) -> None:
    bundle = await made.bundle("http_request", PAGE)
    finding = await again(made.forged(bundle, HTTP[lie][0]), sandbox)
    assert finding.outcome == "different", finding
    assert HTTP[lie][1] in finding.detail


BEYOND: dict[str, tuple[Lie, str]] = {
    "component": (Lie(environment={"component": "sha256:" + "00" * 32}), "component: recorded "),
    "javascript": (Lie(environment={"javascript": "sha256:" + "00" * 32}), "javascript: recorded "),
    "tier": (Lie(environment={"tier": "process"}), "'process'"),
    "settings": (Lie(environment={"settings": {"consume_fuel": False}}), "settings."),
    "no settings": (Lie(environment={"settings": None}), "how the engine was set"),
    "function": (Lie(environment={"function": {"digest": "00"}}), "function.digest"),
    "memory": (Lie(limits={"memory_bytes": 1 << 40}), "memory_bytes is beyond"),
    "unknown limit": (Lie(limits={"more": 1}), "limits"),
    "deadline": (Lie(usage={"status": "deadline", "fuel": None}), "wall time"),
    "error": (Lie(members={"outcome": "error"}), "outcome"),
    "method": (Lie(members={"method": "prompts/get"}), "tool call"),
    "transcript": (Lie(result=put(*TRANSCRIPT, value={"bytes": 5})), "larger"),
    "no transcript": (Lie(result=put(*TRANSCRIPT, value=[1])), "members"),
    "tool": (Lie(params=put("name", value="none")), "not in the library"),
    "more params": (Lie(params=put("more", value=1)), "members beside"),
}


@pytest.mark.parametrize("lie", BEYOND)
async def test_what_cannot_be_repeated_says_why(made: Maker, sandbox: WasmSandbox, lie: str) -> None:
    bundle = await made.bundle("run_python", PROGRAM)
    finding = await again(made.forged(bundle, BEYOND[lie][0]), sandbox)
    assert finding.outcome == "not re-executable", finding
    assert BEYOND[lie][1] in finding.detail


async def test_under_another_engine_the_result_is_compared_and_the_fuel_is_not(
    made: Maker, sandbox: WasmSandbox
) -> None:
    bundle = await made.bundle("run_python", PROGRAM)
    older = Lie(environment={"engine": "wasmtime 49.0.0"}, usage={"fuel": 1})
    finding = await again(made.forged(bundle, older), sandbox)
    assert finding.headline.startswith('re-executed: result identical: engine: recorded "wasmtime 49.0.0", now ')
    changed = await again(made.forged(bundle, dataclasses.replace(older, result=put("isError", value=True))), sandbox)
    assert changed.outcome == "not re-executable"
    assert "decides nothing; result.isError" in changed.detail


async def test_a_changed_byte_anywhere_is_found(made: Maker, sandbox: WasmSandbox) -> None:
    data = (await made.bundle("http_request", PAGE)).encode()
    for place in range(0, len(data), STRIDE):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            finding = await again(changed, sandbox)
        except AttestError:
            continue
        assert finding.outcome == "refused", place


async def test_a_receipt_of_an_observer_is_not_re_executable(made: Maker, sandbox: WasmSandbox) -> None:
    bundle = await made.bundle("run_python", PROGRAM)
    key = made.identity.signing_key.public_key().public_bytes_raw()
    observed = dataclasses.replace(bundle, speaker=key)
    finding = await again(observed.encode(), sandbox)
    assert finding.outcome == "refused"  # the executor's signature is not an observer's
