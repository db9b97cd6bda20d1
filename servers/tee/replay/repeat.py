"""What a recorded call runs in again: our functions and our sandbox, but for what was recorded."""

import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from servers.tee.functions import Functions
from servers.tee.library.folder import Entry
from servers.tee.policy import Policy
from servers.tee.replay.recorded import Recorded
from servers.tee.sandbox import HostCall, Job, Outcome, SandboxError
from servers.tee.sandbox.wasm import WasmSandbox


class RepeatFunctions(Functions):
    """Functions whose host calls need no grant and reach nothing, as their answers are recorded."""

    def _host_calls(self, entry: Entry, policy: Policy) -> Mapping[str, HostCall]:  # noqa: ARG002
        return {}


class RepeatSandbox:
    """A `Sandbox` for one job, which it runs in another under the recorded clock, limits and host calls.

    `seconds` is the wall time that it gets in place of the recorded limit: time is no part of what must repeat.
    """

    def __init__(self, inner: WasmSandbox, recorded: Recorded, seconds: float) -> None:
        self._inner, self._recorded = inner, recorded
        self._limits = dataclasses.replace(recorded.limits, wall_seconds=seconds)
        # What came of the job; set by `run` alone.
        self.outcome: Outcome | None = None

    @property
    def environment(self) -> Mapping[str, Any]:
        """See `Sandbox`: here, now."""
        return self._inner.environment

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """As the sandbox inside."""
        await self._inner.prepare(progress)

    async def __aenter__(self) -> Self:
        """The sandbox inside is entered by whoever made it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The sandbox inside stays."""

    async def run(self, job: Job) -> Outcome:
        """See `Sandbox`. One job, since one is recorded."""
        if self.outcome is not None:
            raise SandboxError("the call runs a second program: only one is recorded")
        recorded = self._recorded
        again = dataclasses.replace(job, limits=self._limits, clock_ms=recorded.clock_ms, replay=recorded.transcript)
        self.outcome = await self._inner.run(again)
        return self.outcome
