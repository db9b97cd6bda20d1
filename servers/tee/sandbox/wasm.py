"""The WebAssembly tier: programs run in worker processes, one call at a time in each, every call in a new instance."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from servers.tee.sandbox import Failure, Job, Outcome, answer, component
from servers.tee.sandbox.compile import MAX_GIVEN
from servers.tee.sandbox.component import SETTINGS, Program
from servers.tee.sandbox.host import Host
from servers.tee.sandbox.pool import Pool

_GRACE_SECONDS = 2.0  # for a worker to say that the deadline stopped the program, before it is killed
_IN_LOOP_BYTES = 256 << 10  # longer answers are parsed in a thread


class WasmSandbox:
    """A `Sandbox` of worker processes. Use as an async context manager; leaving it ends them.

    `cache_dir` is made if it is not there and must belong to this user alone. At most `workers` calls run at a time,
    others wait. A worker starts when it is first needed, in about 0.4 s. `settings` take the place of members of
    `component.SETTINGS`, to run the same programs on another code generator: `{"cranelift_opt_level": "none"}`, or
    `{"target": "pulley64"}` for an interpreter.
    """

    def __init__(
        self, cache_dir: Path, workers: int = 1, *, settings: Mapping[str, bool | int | str] | None = None
    ) -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        self._pool = Pool(cache_dir.absolute(), self._settings, workers)
        self._environment: Mapping[str, Any] | None = None  # read once: the digests of what is installed

    @property
    def environment(self) -> Mapping[str, Any]:
        """See `Sandbox`. Raises `SandboxError` if the component is not installed."""
        if self._environment is None:
            self._environment = component.environment(self._settings)
        return self._environment

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers, for those who watch them."""
        return self._pool.processes

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill all workers. Calls that still run lose theirs."""
        await self._pool.close()

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Compile what every worker runs if need be (10 s, once per cache folder) and start one worker.

        `progress` gets lines for people. Raises `SandboxError`.
        """
        await self._pool.prepare(progress)

    async def run(self, job: Job) -> Outcome:
        """See `Sandbox`. A component of the caller's is compiled when it is first run, in a time of its own."""
        request = answer.request(job)
        if job.limits.memory_bytes < answer.memory_floor(job, request):
            return answer.no_memory(job.limits)
        given = None
        if job.component is not None:
            given = _given(job.component)
            await self._pool.compile(given, job.component)
        return await self._run(job, request, given)

    async def _run(self, job: Job, request: bytes, given: Program | None) -> Outcome:
        limits, host, reply = job.limits, Host(job), None
        order: dict[str, Any] = {
            "role": given.role if given else job.language,
            "fuel": limits.fuel,
            "memory_bytes": limits.memory_bytes,
            "wall_seconds": limits.wall_seconds,
            "host_bytes": limits.host_bytes,
            "answer_bytes": answer.answer_bytes(limits),
            "seed": job.seed.hex(),
            "clock_ms": job.clock_ms,
        }
        async with self._pool.borrowed(given) as worker:
            began, ends = time.monotonic(), anyio.current_time() + limits.wall_seconds
            with anyio.CancelScope(deadline=ends + _GRACE_SECONDS):
                reply = await worker.call(order, request, host, ends)
                worker.sound = True
            wall_ms = round((time.monotonic() - began) * 1000, 3)
        usage: dict[str, Any] = {"fuel": None, "wall_ms": wall_ms, "host_calls": host.usage()}
        if reply is None:
            outcome = answer.deadline(limits)
        else:
            report, said = reply
            if len(said) > _IN_LOOP_BYTES:
                outcome = await anyio.to_thread.run_sync(answer.outcome, report, said, job)
            else:
                outcome = answer.outcome(report, said, job)
            usage |= {"fuel": outcome.fuel_used, "output_bytes": len(said)}
            if report["memory_bytes"] is not None:
                usage["memory_bytes"] = report["memory_bytes"]
        if outcome.status not in ("divergence", "deadline") and (more := host.unasked()) is not None:
            outcome = Outcome("divergence", error=Failure("Divergence", more), fuel_used=outcome.fuel_used)
        return dataclasses.replace(outcome, transcript=tuple(host.transcript), usage=usage)


def _given(wasm: bytes) -> Program:
    if len(wasm) > MAX_GIVEN:
        raise ValueError(f"the component is {len(wasm)} bytes; the limit is {MAX_GIVEN}")
    return component.given(wasm)
