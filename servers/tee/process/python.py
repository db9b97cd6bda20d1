"""The process tier as a `Sandbox`: Python jobs with native packages, each in a sandbox of its own."""

import hashlib
import math
import platform
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from attest.canonical import canonical
from attest.encoding import sha256_hex
from servers.tee.process import Bounds, seccomp
from servers.tee.process.box import Box, Parked, Taken, build, closing
from servers.tee.process.launcher import Launcher
from servers.tee.sandbox import Failure, Job, Limits, Outcome, SandboxError, Status, answer

WARM = (
    "calendar", "collections", "csv", "datetime", "decimal", "fractions", "functools", "hashlib", "itertools", "math",
    "random", "re", "statistics", "string", "textwrap", "time", "uuid", "zoneinfo",
)  # fmt: skip
"""Modules that most programs use; imported once they cost a program nothing."""

_NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup")


class ProcessSandbox:
    """A `Sandbox` of native Python on Linux. Use as an async context manager; leaving it ends all that runs.

    `packages` are directories of Python packages that programs may import, `warm` modules imported ahead. At most
    `workers` calls run at a time, others wait. `parked` sandboxes are kept built ahead for jobs with the bounds of
    `limits`. For `uid` see `Launcher`.
    """

    def __init__(
        self,
        packages: tuple[Path, ...] = (),
        warm: tuple[str, ...] = WARM,
        *,
        workers: int = 4,
        parked: int = 0,
        limits: Limits | None = None,
        uid: int = 65534,
    ) -> None:
        self._launcher = Launcher(packages, warm, uid=uid)
        self._packages = bool(packages)
        self._slots = anyio.Semaphore(workers)
        self._expected = limits or Limits()
        self._parked = Parked(parked, self._build_expected)
        self._exits = AsyncExitStack()
        self._tasks: TaskGroup | None = None  # fills the parked sandboxes; set while the context is open
        self._hello: Mapping[str, Any] = {}  # set by `prepare`

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        await self._exits.enter_async_context(self._launcher)
        self._exits.push_async_callback(self._parked.aclose)
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything. Calls that still run lose their sandbox."""
        try:
            if self._tasks is not None:
                self._tasks.cancel_scope.cancel()
                await self._tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._exits.aclose()

    async def prepare(self) -> None:
        """Start the fork server and try what it can do. Raises `SandboxError` where nothing can be isolated."""
        self._hello = await self._launcher.hello()
        await self._parked.fill()

    @property
    def environment(self) -> Mapping[str, Any]:
        """See `Sandbox`: what the isolation is made of, and what of it is missing here and why.

        Raises `SandboxError` before `prepare`.
        """
        if not self._hello:
            raise SandboxError("the process sandbox has not been prepared: what it is made of is not known yet")
        return environment(self._hello)

    async def run(self, job: Job) -> Outcome:
        """See `Sandbox`. The job's seed and clock have no effect: native code reads the machine's."""
        if job.language != "python" or job.component is not None or job.host_calls or job.replay is not None:
            raise ValueError("the process tier runs Python without host calls: use the wasm tier for the rest")
        request = answer.request(job)
        if not self._hello:
            await self.prepare()
        async with self._slots, closing(await self._box(job.limits)) as box:
            taken = await box.run(request, job.limits, answer.answer_bytes(job.limits))
        if self._tasks is not None and self._parked.short:
            self._tasks.start_soon(self._parked.fill)
        return _outcome(taken, job, bool(self._hello["namespaces"]))

    async def _box(self, limits: Limits) -> Box:
        bounds = self._bounds(limits)
        if bounds == self._bounds(self._expected):
            ready = await self._parked.take()
            if ready is not None:
                return ready
        return await build(self._launcher, bounds)

    async def _build_expected(self) -> Box:
        return await build(self._launcher, self._bounds(self._expected))

    def _bounds(self, limits: Limits) -> Bounds:
        """Address space is bounded too, so that a program gets a `MemoryError` it can tell of, not its end.

        Native packages reserve more than they use; for them it is left to the control group, where there is one.
        """
        address = limits.memory_bytes
        if self._packages:
            address = None if self._hello["cgroups"] else 2 * limits.memory_bytes
        return Bounds(
            memory_bytes=limits.memory_bytes,
            address_bytes=address,
            processes=limits.processes,
            cpu_seconds=math.ceil(limits.cpu_seconds),
            descriptors=limits.descriptors,
            file_bytes=limits.file_bytes,
            scratch_bytes=limits.scratch_bytes,
            scratch_inodes=limits.scratch_inodes,
        )


def environment(hello: Mapping[str, Any]) -> dict[str, Any]:
    """What the isolation of a fork server is made of, from what it found (`Launcher.hello`), as JSON."""
    filters = {name: hashlib.sha256(seccomp.program(name, platform.machine())).hexdigest() for name in seccomp.PROFILES}
    mechanisms = ["no_new_privs", "capabilities dropped", "resource limits", f"seccomp sha256:{filters['python']}"]
    missing: dict[str, str] = {}
    if hello["namespaces"]:
        mechanisms += [f"{name} namespace" for name in _NAMESPACES]
        mechanisms += ["read-only root", "own scratch memory", "own /proc"]
    else:
        missing["namespaces"] = str(hello["refused"])
        missing["scratch quota"] = "the scratch directory is on the host's disk"
        if hello["closed"]:
            missing["library"] = (
                f"{hello['closed']} is closed to the sandbox's user: only what is imported ahead is there"
            )
        if not hello["cgroups"]:
            missing["process count"] = "nothing counts the threads of one program"
        if hello["landlock"] < 6:
            missing["signals"] = "a program may signal other processes of its user"
    if hello["landlock"]:
        mechanisms.append(f"landlock abi {hello['landlock']}")
    else:
        missing["landlock"] = "this kernel has it not, or not switched on"
    if hello["cgroups"]:
        mechanisms.append(f"cgroup v{hello['cgroups']} memory and pids")
    else:
        missing["cgroup"] = str(hello["no_cgroups"])
    profile = {
        "mechanisms": sorted(mechanisms),
        "missing": sorted(missing),
        "filters": filters,
        "bounds": asdict(Bounds()),
    }
    return {
        "tier": "process",
        "python": hello["python"],
        "machine": platform.machine(),
        "kernel": platform.release(),
        "determinism": "none: the machine's clock, randomness and instructions",
        "mechanisms": mechanisms,
        "missing": missing,
        "profile_digest": sha256_hex(canonical(profile)),
    }


def _outcome(taken: Taken, job: Job, contained: bool) -> Outcome:
    limits, ended = job.limits, taken.exit
    if taken.stopped == "deadline":
        outcome = answer.deadline(limits)
    elif taken.stopped == "output" or taken.said.size > taken.said.limit:
        outcome = _failed("output", "OutputError", "the program wrote far more than its output limits, and was stopped")
    elif ended.out_of_memory:
        outcome = answer.no_memory(limits)
    elif ended.code == 0 and taken.said.size:
        outcome = answer.outcome({"status": "ok", "detail": "", "fuel_used": 0}, bytes(taken.said.kept), job)
    elif ended.code == -9 and ended.cpu_seconds >= math.ceil(limits.cpu_seconds) / 2:
        # The kernel's limit counts whole ticks, time stolen by a hypervisor among them; what it measures is exact.
        message = f"the program used up its {math.ceil(limits.cpu_seconds)} s of processor time"
        outcome = _failed("deadline", "DeadlineExceeded", message)
    elif ended.code == -9 and contained:  # the first process of a namespace cannot be killed from within
        raise SandboxError("the sandbox was killed from outside during the call: try again")
    else:
        how = f"by signal {-ended.code}" if ended.code < 0 else f"with status {ended.code}"
        outcome = _failed("trap", "SandboxTrap", f"the program ended its process {how} before it gave a value")
    usage = ended.usage() | {"output_bytes": taken.stdout.size + taken.stderr.size}
    return replace(
        outcome,
        stdout=taken.stdout.text(),
        stderr=taken.stderr.text(),
        truncated=any(stream.size > stream.limit for stream in (taken.stdout, taken.stderr)),
        usage=usage,
    )


def _failed(status: Status, kind: str, message: str) -> Outcome:
    return Outcome(status, error=Failure(kind, message))
