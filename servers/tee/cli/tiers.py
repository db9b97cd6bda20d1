"""The process tier of this machine, opened for the engine."""

import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from servers.tee.engine import Prepared
from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job, Limits, Outcome, Sandbox, SandboxError
from servers.tee.selftest.startup import Proven

PARKED = 2
"""Sandboxes built ahead: one for the next call, one while that one's successor is built."""


class Native:
    """A sandbox that is ready, since evidence says what it is made of. Whoever made it ends it."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner

    async def __aenter__(self) -> Self:
        """It is open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """It stays open."""

    @property
    def environment(self) -> Mapping[str, Any]:
        """See `Sandbox`."""
        return self._inner.environment

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """It is ready."""

    async def run(self, job: Job) -> Outcome:
        """See `Sandbox`."""
        return await self._inner.run(job)


async def native(stack: AsyncExitStack, workers: int, limits: Limits) -> Prepared | str:
    """The process tier, until the stack ends; or in one line why this machine has none.

    Sandboxes with `limits`, those of a function that asks for no others, are kept built ahead.
    Its programs can import what is installed beside this one, and read nothing else of the machine.
    """
    if sys.platform != "linux":
        return "it needs the process tier, which is there on Linux only"
    places = {Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib")}
    sandbox = ProcessSandbox(tuple(sorted(places)), workers=workers, parked=PARKED, limits=limits)
    await stack.enter_async_context(sandbox)
    try:
        await sandbox.prepare()
        proven = Proven(Native(sandbox), "process")
        await proven.prepare(lambda _: None)
    except SandboxError as e:
        return f"it needs the process tier: {e}"
    return Native(proven)
