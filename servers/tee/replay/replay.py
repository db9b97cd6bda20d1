"""Run a bundle's call again, and say whether it is what the receipt says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from mcp import Client, MCPError

from attest import canonical, schemes, wire
from attest.bundle import Bundle
from attest.claims import Endorsements
from attest.verdict import Verdict, verify_bundle
from servers.tee.engine import Engine
from servers.tee.library.library import Library
from servers.tee.policy import BUILT_IN
from servers.tee.replay.difference import difference
from servers.tee.replay.recorded import NotReExecutable, Recorded, read
from servers.tee.replay.repeat import RepeatFunctions, RepeatSandbox
from servers.tee.sandbox.wasm import WasmSandbox
from servers.tee.server import TeeServer

PROGRAMS = ("component", "javascript")
"""Members of an environment that are digests of WebAssembly of ours."""
Codegen = Literal["speed", "none", "interpreter"]
CODEGENS: Mapping[Codegen, Mapping[str, str]] = {
    "speed": {},
    "none": {"cranelift_opt_level": "none"},
    "interpreter": {"target": "pulley64"},
}
"""Settings by how instructions are carried out: optimised machine code, plain machine code, wasmtime's interpreter. No
result and no fuel depends on it, so a second one finds what the first gets wrong."""
_OWN = {name for choice in CODEGENS.values() for name in choice}


@dataclass(frozen=True)
class Finding:
    """What re-execution found. `detail` is one line, empty where all is the same.

    `identical`: result and fuel are those of the receipt. `result identical`: so is the result, and the fuel cannot be
    compared, as another version of the engine counted it. `refused`: the receipt does not hold, so nothing was run.
    """

    outcome: Literal["identical", "result identical", "different", "not re-executable", "refused"]
    detail: str
    receipt: Verdict
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the sandbox here."""
    fuel: int | None = None

    @property
    def headline(self) -> str:
        """The verdict in words."""
        said = self.outcome if self.outcome in ("not re-executable", "refused") else f"re-executed: {self.outcome}"
        return f"{said}: {self.detail}" if self.detail else said


async def replay(data: bytes, sandbox: WasmSandbox, library: Library, *, now: int, seconds: float) -> Finding:
    """Run a bundle's call of a function in `library` again, for `seconds` at most. `now` in milliseconds since 1970.

    Raises `ReceiptError` or `EvidenceError` where `data` is no bundle, `SandboxError` where the sandbox fails.
    """
    bundle = Bundle.decode(data)
    checked = verify_bundle(data, schemes=schemes.ALL, endorsements=Endorsements({}), policy=None, now=now)
    if checked.outcome == "refused" or checked.statement is None:
        step = next(step for step in checked.steps if step.status == "failed")
        return Finding("refused", f"the receipt does not hold: {step.name}: {step.detail}", checked)
    try:
        recorded = read(bundle, checked.statement)
        other = _other_engine(recorded, sandbox.environment)
        repeat = RepeatSandbox(sandbox, recorded, seconds)
        result = await _answer(repeat, library, recorded)
        found, fuel = _compare(recorded, repeat, result)
    except NotReExecutable as e:
        return Finding("not re-executable", str(e), checked, sandbox.environment)
    if found is None and other:
        detail = f"{other}: the result does not depend on that, the fuel does"
        return Finding("result identical", detail, checked, sandbox.environment, fuel)
    if found is not None and other:
        detail = f"{other}, under which it differs, which decides nothing; {found}"
        return Finding("not re-executable", detail, checked, sandbox.environment, fuel)
    if found is None:
        found = difference(recorded.fuel, fuel, "fuel")
    return Finding("identical" if found is None else "different", found or "", checked, sandbox.environment, fuel)


def _other_engine(recorded: Recorded, here: Mapping[str, Any]) -> str | None:
    """How the engine differs where that changes fuel. Raises `NotReExecutable` where it may change the result."""
    for name in ("tier", *PROGRAMS):
        if (found := difference(recorded.environment.get(name), here.get(name), name)) is not None:
            raise NotReExecutable(f"{found}: install the version that has it")
    settings = recorded.environment.get("settings")
    if not isinstance(settings, dict):
        raise NotReExecutable("its receipt does not say how the engine was set")
    told, ours = (
        {k: v for k, v in each.items() if k not in _OWN} for each in (cast(wire.Json, settings), here["settings"])
    )
    if (found := difference(told, ours, "settings")) is not None:
        raise NotReExecutable(f"{found}: install the version that has it")
    return difference(recorded.environment.get("engine"), here["engine"], "engine")


async def _answer(repeat: RepeatSandbox, library: Library, recorded: Recorded) -> wire.Json:
    """What the server answers now, as it would go over the wire."""
    answers: list[wire.Json] = []

    async def overhear(ctx: Any, call_next: Any) -> Any:
        result = await call_next(ctx)
        if ctx.method == "tools/call" and isinstance(result, dict):
            answers.append(wire.without_ours(cast(wire.Json, result)))
        return cast(Any, result)

    entry = library.entries.get(recorded.tool)
    if entry is None:
        raise NotReExecutable(f"the function {recorded.tool!r} is not in the library here: name it with --library")
    if (found := difference(recorded.function, entry.digest, "function.digest")) is not None:
        raise NotReExecutable(f"{found}: bring the function's other version")
    async with Engine({"wasm": repeat}, BUILT_IN, lambda _: None) as engine:
        functions = RepeatFunctions(engine, library, lambda: recorded.clock_ms, None)
        server = TeeServer(functions, lambda _: None, version=recorded.version)
        server.middleware.append(overhear)
        # Eras spell a result differently: only the modern one says `resultType`.
        async with Client(server, mode="auto" if "resultType" in recorded.result else "legacy") as client:
            try:
                await client.session.call_tool(recorded.tool, recorded.arguments, allow_input_required=True)
            except MCPError as e:
                if not answers:
                    raise NotReExecutable(f"the server refuses the call now: {e.error.message}") from e
    return canonical.parse(canonical.canonical(answers[0]))


def _compare(recorded: Recorded, repeat: RepeatSandbox, result: wire.Json) -> tuple[str | None, int]:
    """The first difference but that of fuel, and the fuel now. Raises `NotReExecutable` where nothing was run."""
    outcome = repeat.outcome
    if outcome is None:
        raise NotReExecutable(f"the server runs nothing for this call now: {str(result.get('content'))[:200]}")
    if outcome.status == "deadline":
        raise NotReExecutable("it takes longer here than it was given: give it more with --seconds")
    if outcome.status == "divergence":
        return f"host calls: {outcome.error.message if outcome.error else ''}", outcome.fuel_used
    found = (
        difference(recorded.status, outcome.status, "status")
        or difference(recorded.host_calls, outcome.usage["host_calls"], "host_calls")
        or difference(recorded.result, result, "result")
    )
    return found, outcome.fuel_used
