"""The self-test of a tier that gets ready: ten cases, before anything of a caller's runs there."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from servers.tee.engine import Prepared
from servers.tee.sandbox import Job, Limits, Outcome, SandboxError
from servers.tee.selftest import case
from servers.tee.selftest.verdict import Ran, word

CASES = Path(str(resources.files("servers.tee.selftest"))) / "cases"
LIMITS = Limits(fuel=2_000_000_000, memory_bytes=96 << 20, wall_seconds=20.0, cpu_seconds=5.0, processes=8)


class Proven:
    """A sandbox that has passed the ten cases before it runs anything of a caller's; its environment names them."""

    def __init__(self, inner: Prepared, tier: str) -> None:
        self._inner, self._tier = inner, tier
        self._cases = [each for each in case.folder(CASES) if each.applies(tier)]

    async def __aenter__(self) -> Self:
        """Open it."""
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self._inner.__aexit__(kind, error, traceback)

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """See `Prepared`; raises `SandboxError` also where one of the cases gets through."""
        await self._inner.prepare(progress)
        for each in self._cases:
            job = Job(each.code, limits=LIMITS)
            if each.pair == "2":
                await self._inner.run(job)
            outcome = await self._inner.run(job)
            said, detail = word(_ran(outcome), LIMITS)
            if said not in each.expect:
                raise SandboxError(
                    f"the {self._tier} tier fails its self-test ({each.name}: {said} {detail[:100]}) and is not used; "
                    "see `etmcp-tee selftest`"
                )

    @property
    def environment(self) -> Mapping[str, Any]:
        """See `Sandbox`; `self_test` is what it passed, or must pass before it runs anything."""
        names = [each.name for each in self._cases]
        return {**self._inner.environment, "self_test": {"cases": names, "sha256": _digest(self._cases)}}

    async def run(self, job: Job) -> Outcome:
        """See `Sandbox`."""
        return await self._inner.run(job)


def _ran(outcome: Outcome) -> Ran:
    failure = f"{outcome.error.type}: {outcome.error.message}" if outcome.error else ""
    return Ran(outcome.status, outcome.stdout, outcome.stderr + failure, outcome.usage, outcome.truncated)


def _digest(cases: list[case.Case]) -> str:
    return sha256(b"".join(sha256(each.code.encode()).digest() for each in cases)).hexdigest()
