"""The tools execution engine: one sandbox, prepared when first needed, under one policy."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol

import anyio

from servers.tee.policy import ExecutionPolicy
from servers.tee.sandbox import Sandbox, SandboxError

Progress = Callable[[float, float | None], Awaitable[None]]
EXPECTED_SECONDS = 15.0


class Prepared(Sandbox, Protocol):
    """A sandbox that is an async context manager and has to be made ready."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Make it ready. Raises `SandboxError`."""
        ...


class Engine:
    """Owns the sandbox; an async context manager. Compiling the component takes some seconds, once per machine."""

    def __init__(self, sandbox: Prepared, policy: ExecutionPolicy, say: Callable[[str], None]) -> None:
        self.policy, self._sandbox, self._say = policy, sandbox, say
        self._stack = AsyncExitStack()
        self._lock = anyio.Lock()
        # Set once the sandbox is running; by `ready` alone.
        self._ready = False

    async def __aenter__(self) -> "Engine":
        await self._stack.enter_async_context(self._sandbox)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def sandbox(self) -> Sandbox:
        """For its environment; use `ready` to run something."""
        return self._sandbox

    async def ready(self, progress: Progress) -> Sandbox:
        """The sandbox, prepared; reports seconds gone while it is not. Raises `SandboxError`."""
        async with self._lock:
            if not self._ready:
                failed = None
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._tick, progress)
                    try:
                        await self._sandbox.prepare(self._say)
                    except SandboxError as e:  # out of a task group it would come wrapped
                        failed = e
                    tasks.cancel_scope.cancel()
                if failed is not None:
                    raise failed
                self._ready = True
        return self._sandbox

    async def _tick(self, progress: Progress) -> None:
        gone = 0.0
        while True:
            await anyio.sleep(1)
            gone += 1
            await progress(min(gone, EXPECTED_SECONDS), EXPECTED_SECONDS)
