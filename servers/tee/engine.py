"""The tools execution engine: one sandbox per tier, prepared when first needed, under one policy."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self

import anyio

from servers.tee.library.function import Tier
from servers.tee.policy import Policy
from servers.tee.sandbox import Job, Outcome, Sandbox, SandboxError

Progress = Callable[[float], Awaitable[None]]
"""Told the seconds gone since the call came in."""


class Refusal(Exception):
    """The engine does not run this here. One line: what, why, what to do."""


class Prepared(Sandbox, Protocol):
    """A sandbox that is opened once, and made ready before the first job."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Make ready; `progress` gets lines for people. Raises `SandboxError`."""
        ...


class Engine:
    """Owns the sandboxes; an async context manager. `sandboxes` are the tiers that this machine has."""

    def __init__(self, sandboxes: Mapping[Tier, Prepared], policy: Policy, say: Callable[[str], None]) -> None:
        self.policy, self._sandboxes, self._say = policy, dict(sandboxes), say
        self._stack = AsyncExitStack()
        self._lock = anyio.Lock()
        # Tiers whose sandbox is ready; grown by `_ready` alone.
        self._prepared: set[Tier] = set()

    async def __aenter__(self) -> "Engine":
        for sandbox in self._sandboxes.values():
            await self._stack.enter_async_context(sandbox)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def tiers(self) -> Mapping[Tier, Sandbox]:
        """For their environments; use `run` to run something."""
        return self._sandboxes

    def refusal(self, tier: Tier, policy: Policy) -> str | None:
        """Why programs of this tier may or can not run here, in one line. Nothing ever runs in a weaker one."""
        sandbox = self._sandboxes.get(tier)
        if sandbox is None:
            return f"it needs the {tier} tier, which this machine has not"
        namespaces = "namespaces" not in sandbox.environment.get("missing", {})
        denied = policy.decide_tier(tier, namespaces=namespaces)
        return None if denied is None else denied.reason

    def admit(self, tier: Tier, policy: Policy) -> None:
        """Raise `Refusal` where `refusal` says something."""
        if (refusal := self.refusal(tier, policy)) is not None:
            raise Refusal(refusal)

    async def run(self, tier: Tier, job: Job, progress: Progress) -> Outcome:
        """Run an admitted job in a fresh sandbox of this tier; the program is stopped when the caller is cancelled.

        Raises `SandboxError`, and `ValueError` for a job that is none.
        """
        sandbox = self._sandboxes[tier]
        failed: SandboxError | ValueError | None = None
        outcome = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tick, progress)
            try:
                await self._ready(tier, sandbox)
                outcome = await sandbox.run(job)
            except (SandboxError, ValueError) as e:  # out of a task group it would come wrapped
                failed = e
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed
        assert outcome is not None  # noqa: S101  one of the two was set
        return outcome

    async def _ready(self, tier: Tier, sandbox: Prepared) -> None:
        async with self._lock:
            if tier not in self._prepared:
                await sandbox.prepare(self._say)
                self._prepared.add(tier)


async def _tick(progress: Progress) -> None:
    """Once a second, until cancelled."""
    gone = 0.0
    while True:
        await anyio.sleep(1)
        gone += 1
        await progress(gone)
