"""The tools: typed functions whose work happens in the sandbox and whose conditions end up in the receipt."""

import base64
import binascii
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from attest.canonical import canonical
from attest.encoding import length_prefixed, sha256_hex
from servers.attested import report
from servers.tee.engine import Engine
from servers.tee.replay import transcript
from servers.tee.sandbox import Job, Outcome, SandboxError

DESCRIBE = Path(__file__).with_name("library") / "describe_data.py"

RUN_PYTHON = """Run Python 3.14 in a fresh WebAssembly sandbox that has no network, host files, clock or random source.
If the code defines main(), its return value for **arguments is the result; otherwise the value of the last expression,
with arguments as global names. Standard library only. Files passed in are readable by name; files written come back.
The same call gives the same result: time starts at the call's time and randomness comes from its arguments."""

DESCRIBE_DATA = """Describe a CSV, TSV, JSON, JSON Lines, TOML or text document: columns, types, counts, ranges and
frequent values. Works in a sandbox on the text alone; exact, not estimated, and what a limit cut short is stated."""

Code = Annotated[str, Field(description="Python source, at most 1 MiB", max_length=1 << 20)]
Arguments = Annotated[dict[str, Any], Field(description="Keyword arguments of main(), or global names")]
Files = Annotated[dict[str, str], Field(description="Text files by relative name")]
Binaries = Annotated[dict[str, str], Field(description="Binary files by relative name, in base64")]
Data = Annotated[str, Field(description="The document itself", max_length=8 << 20)]
Format = Literal["auto", "csv", "tsv", "json", "jsonl", "toml", "text"]


class Functions:
    """The tools of one engine. `clock` returns milliseconds since 1970."""

    def __init__(self, engine: Engine, clock: Callable[[], int]) -> None:
        self._engine, self._clock = engine, clock
        self._describe = DESCRIBE.read_text(encoding="utf-8")

    async def run_python(
        self,
        code: Code,
        ctx: Context[Any],
        arguments: Arguments = {},  # noqa: B006 - never changed; None would put `anyOf` into the schema
        files: Files = {},  # noqa: B006
        binary_files: Binaries = {},  # noqa: B006
    ) -> CallToolResult:
        """Run a program of the caller's."""
        try:
            binaries = {name: base64.b64decode(data, validate=True) for name, data in binary_files.items()}
        except binascii.Error:
            return _failed("binary_files: not base64; encode each file with padding")
        passed = {name: text.encode() for name, text in files.items()} | binaries
        return await self._run("run_python", code, arguments, passed, ctx)

    async def describe_data(self, data: Data, ctx: Context[Any], format: Format = "auto") -> CallToolResult:  # noqa: A002
        """Run the library's function."""
        return await self._run("describe_data", self._describe, {"data": data, "format": format}, {}, ctx)

    async def _run(
        self, name: str, code: str, arguments: dict[str, Any], files: Mapping[str, bytes], ctx: Context[Any]
    ) -> CallToolResult:
        encoded = {path: base64.b64encode(data).decode() for path, data in files.items()}
        inputs = canonical({"code": sha256_hex(code.encode()), "arguments": arguments, "files": encoded})
        seed = bytes.fromhex(sha256_hex(length_prefixed(b"etmcp/seed/v1", inputs)))
        clock_ms = self._clock() // 1000 * 1000
        limits = self._engine.policy.limits
        try:
            sandbox = await self._engine.ready(ctx.report_progress)
            outcome = await sandbox.run(Job(code, arguments, files, seed, clock_ms, limits))
        except (ValueError, SandboxError) as e:  # not a job, or the sandbox itself failed; both name the cause
            return _failed(str(e))
        document = self._engine.policy.document()
        report(
            environment={
                **sandbox.environment,
                "function": {"name": name, "sha256": sha256_hex(code.encode())},
                "seed": seed.hex(),
                "clock": clock_ms,
                "limits": document["limits"],
            },
            usage={"fuel": outcome.fuel_used if outcome.status != "deadline" else None, "status": outcome.status},
        )
        return _answer(outcome)


def _answer(outcome: Outcome) -> CallToolResult:
    told: dict[str, Any] = {"status": outcome.status}
    if outcome.status == "ok":
        told["value"] = outcome.value
    if outcome.error is not None:
        told["error"] = {"type": outcome.error.type, "message": outcome.error.message}
        if outcome.error.traceback:
            told["error"]["traceback"] = outcome.error.traceback
    told |= {name: text for name, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr)) if text}
    if outcome.truncated:
        told["truncated"] = True
    if outcome.files:
        told["files"] = [_file(name, data) for name, data in outcome.files.items()]
    text = TextContent(type="text", text=canonical(told).decode())
    meta = transcript.carried(outcome.transcript)
    return CallToolResult(content=[text], structured_content=told, is_error=outcome.status != "ok", _meta=meta)


def _file(name: str, data: bytes) -> dict[str, Any]:
    try:
        return {"name": name, "text": data.decode()}
    except UnicodeDecodeError:
        return {"name": name, "base64": base64.b64encode(data).decode()}


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)
