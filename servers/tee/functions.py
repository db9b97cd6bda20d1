"""A call of a library function: arguments checked, a job made of them, run, and its conditions put into the receipt."""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol, runtime_checkable

from mcp_types import CallToolResult, Tool, ToolAnnotations

from attest.canonical import canonical
from attest.encoding import length_prefixed, sha256_hex
from attest.errors import CanonicalError
from servers.attested import report
from servers.tee.answers import answer, failed, output_schema
from servers.tee.engine import Engine, Progress, Refusal
from servers.tee.library.folder import Entry
from servers.tee.library.library import Library
from servers.tee.policy import Policy
from servers.tee.proving.tool import NAME as SCORE
from servers.tee.proving.tool import Score
from servers.tee.results import Shelf
from servers.tee.sandbox import Failure, HostCall, Job, Outcome, SandboxError

Json = dict[str, Any]
MODULE = "sha256:"


class Fetch(Protocol):
    """Makes the HTTP requests that programs ask for."""

    def refusal(self, policy: Policy) -> str | None:
        """Why this policy lets a program make no request at all, in one line; None if it may make some."""
        ...

    def opened(self, policy: Policy) -> "Requests":
        """For the requests of one call."""
        ...


@runtime_checkable
class Requests(Protocol):
    """A `HostCall` for one call."""

    @property
    def usage(self) -> Mapping[str, Any]:
        """What came of each request: what a receipt shows."""
        ...

    async def __call__(self, request: Json) -> Any:
        """Make one, if the policy grants it. Raises `HostCallError` for the program to see."""
        ...


class Unknown(Exception):
    """There is no function of this name; the text says why, where something is known."""


class BadArgument(Exception):
    """An argument that its schema allows and that is still none. One line."""


class Functions:
    """The functions of one library on one engine, and `score`, or why there is none.

    `clock` returns milliseconds since 1970.
    """

    def __init__(
        self,
        engine: Engine,
        library: Library,
        clock: Callable[[], int],
        fetch: Fetch | None,
        score: Score | str = "it proves what is not repeated here",
    ) -> None:
        self._engine, self.library, self._clock, self._fetch = engine, library, clock, fetch
        self._score = score
        # What each function may use as it was last called, and that policy's digest; changed by `_granted` alone.
        self._grants: dict[str, tuple[Entry, Policy, str]] = {}

    def tools(self) -> list[Tool]:
        """What `tools/list` shows: all that can be called, in the order of their names."""
        tools = [definition(entry) for entry in self.library.entries.values()]
        if isinstance(self._score, Score):
            tools.append(self._score.definition())
        return sorted(tools, key=lambda tool: tool.name)

    async def call(self, name: str, arguments: Json, shelf: Shelf, progress: Progress) -> CallToolResult:
        """The result of one call; whatever goes wrong with it is a tool error. Raises `Unknown`."""
        if name == SCORE:
            return await self._scored(arguments)
        entry = self.library.entries.get(name)
        if entry is None:
            problem = next((each.detail for each in self.library.problems if each.name == name), None)
            raise Unknown(f"there is no tool {name[:64]!r}" + (f": {problem}" if problem else ""))
        if (problem := entry.input.problem(arguments)) is not None:
            return failed(f"{name}: {problem}")
        try:
            policy, policy_digest = self._granted(entry)
            self._engine.admit(entry.function.tier, policy)
            job = self._job(entry, arguments, policy)
            outcome = await self._engine.run(entry.function.tier, job, progress)
        except (BadArgument, Refusal, ValueError, SandboxError) as e:  # each names the cause in one line
            return failed(f"{name}: {e}")
        outcome = _checked(entry, outcome)
        self._report(entry, job, outcome, policy_digest)
        return answer(outcome, shelf)

    async def _scored(self, arguments: Json) -> CallToolResult:
        if isinstance(self._score, str):
            raise Unknown(f"there is no tool {SCORE!r}: {self._score}")
        return await self._score.call(arguments)

    def _granted(self, entry: Entry) -> tuple[Policy, str]:
        found = self._grants.get(entry.function.name)
        if found is None or found[0] is not entry:
            policy = effective(self._engine.policy, entry)
            found = self._grants[entry.function.name] = (entry, policy, policy.digest())
        return found[1:]

    def _job(self, entry: Entry, arguments: Json, policy: Policy) -> Job:
        program = entry.function.program
        bound = {program.argument, program.arguments, program.text_files, program.binary_files}
        passed = {name: value for name, value in arguments.items() if name not in bound}
        if program.arguments is not None:
            passed = arguments.get(program.arguments, {})
        code, component = self._program(entry, arguments)
        files = {name: text.encode() for name, text in _member(arguments, program.text_files).items()}
        files |= _decoded(program.binary_files, _member(arguments, program.binary_files))
        if program.names is not None:
            passed = {**passed, program.names: sorted(files)}
        files |= {name: entry.files[name] for name in program.data}
        inputs: Json = {
            "code": sha256_hex(code.encode() if component is None else component),
            "arguments": passed,
            "files": {path: base64.b64encode(data).decode() for path, data in files.items()},
        }
        try:
            seed = bytes.fromhex(sha256_hex(length_prefixed(b"etmcp/seed/v1", canonical(inputs))))
        except CanonicalError as e:
            raise BadArgument(f"the arguments are not JSON that has one meaning: {e.detail}") from e
        return Job(
            code,
            passed,
            files,
            seed,
            self._clock() // 1000 * 1000,
            policy.limits(),
            language="javascript" if program.language == "javascript" else "python",
            component=component,
            host_calls=self._host_calls(entry, policy),
        )

    def _host_calls(self, entry: Entry, policy: Policy) -> Mapping[str, HostCall]:
        """What the program may ask for. Raises `Refusal` where it would have to ask for what is not granted."""
        calls: dict[str, HostCall] = {}
        for name in entry.function.program.host_calls:
            if self._fetch is None:
                raise Refusal("this server makes no requests")
            if (refusal := self._fetch.refusal(policy)) is not None:
                raise Refusal(refusal)
            calls[name] = self._fetch.opened(policy)
        return calls

    def _program(self, entry: Entry, arguments: Json) -> tuple[str, bytes | None]:
        program = entry.function.program
        if program.language != "wasm":
            return entry.files[program.file].decode() if program.file else arguments[program.argument or ""], None
        if program.file is not None:
            return "", entry.files[program.file]
        text: str = arguments[program.argument or ""]
        if text.startswith(MODULE):
            module = self.library.module(text.removeprefix(MODULE))
            if module is None:
                raise BadArgument(f"{program.argument}: no module with this digest is in the library")
            return "", module
        return "", _base64(program.argument or "", text)

    def _report(self, entry: Entry, job: Job, outcome: Outcome, policy_digest: str) -> None:
        function = entry.function
        told: Json = {
            **self._engine.tiers[function.tier].environment,
            "tier": function.tier,
            # Neither seed nor digest of the caller's code: both are digests of the params without their salt.
            "function": {"name": function.name, "version": function.version, "digest": entry.digest},
            "clock": job.clock_ms,
            "limits": {name: _whole(value) for name, value in asdict(job.limits).items()},
            "policy": policy_digest,
        }
        usage: Json = dict(outcome.usage) | {"status": outcome.status}
        for call in job.host_calls.values():
            if isinstance(call, Requests):
                usage["egress"] = dict(call.usage)
        if function.tier == "wasm":
            # How far it came by its deadline is chance, and no figure to compare with.
            usage["fuel"] = outcome.fuel_used if outcome.status != "deadline" else None
        report(environment=told, usage=usage)


def definition(entry: Entry) -> Tool:
    """The tool that a function is to a client."""
    function = entry.function
    hints = function.annotations
    return Tool(
        name=function.name,
        title=function.title,
        description=function.description,
        input_schema=entry.input.document,
        output_schema=output_schema(entry.output.document),
        annotations=ToolAnnotations(
            read_only_hint=hints.read_only,
            destructive_hint=hints.destructive,
            idempotent_hint=hints.idempotent,
            open_world_hint=hints.open_world,
        ),
    )


def _whole(number: float) -> float:
    """A whole number as an integer: canonical JSON spells both alike, and this one sooner."""
    return int(number) if float(number).is_integer() else number


def effective(operator: Policy, entry: Entry) -> Policy:
    """What a function may use: what the operator grants and the function asks for; where it is silent, nothing."""
    asked = entry.policy
    if entry.function.program.reach == "granted":
        headers = tuple(secret for secret in operator.secrets if secret.header is not None)
        asked = asked.model_copy(update={"network": operator.network, "secrets": headers})
    return operator.for_tool(asked)


def _checked(entry: Entry, outcome: Outcome) -> Outcome:
    """The outcome, if its value is what the function promises."""
    if outcome.status != "ok" or (problem := entry.output.problem(outcome.value)) is None:
        return outcome
    failure = Failure("OutputError", f"the value is not what {entry.function.name} promises: {problem}")
    return replace(outcome, status="output", value=None, error=failure, files={})


def _member(arguments: Json, name: str | None) -> Mapping[str, Any]:
    return arguments.get(name, {}) if name is not None else {}


def _decoded(argument: str | None, files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: _base64(argument or "", text) for name, text in files.items()}


def _base64(argument: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise BadArgument(f"{argument}: not base64; encode each file with padding") from e
