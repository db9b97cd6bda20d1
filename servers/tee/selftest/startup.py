"""The self-test of a tier that gets ready: ten cases, before anything of a caller's runs there."""

from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from servers.tee.sandbox import Job, Limits, Outcome, Sandbox, SandboxError
from servers.tee.selftest import case
from servers.tee.selftest.verdict import Ran, word

CASES = Path(str(resources.files("servers.tee.selftest"))) / "cases"
LIMITS = Limits(fuel=2_000_000_000, memory_bytes=96 << 20, wall_seconds=20.0, cpu_seconds=5.0, processes=8)


async def prove(sandbox: Sandbox, tier: str) -> Mapping[str, Any]:
    """Run the ten in this tier; what a receipt says of it. Raises `SandboxError` where one of them gets through."""
    cases = [each for each in case.folder(CASES) if each.applies(tier)]
    for each in cases:
        outcome = await sandbox.run(Job(each.code, limits=LIMITS))
        if each.pair == "2":
            outcome = await sandbox.run(Job(each.code, limits=LIMITS))
        said, detail = word(_ran(outcome), LIMITS)
        if said not in each.expect:
            what = f"{each.name}: {said} {detail[:100]}".strip()
            raise SandboxError(
                f"the {tier} tier fails its self-test ({what}): it is not used; see `etmcp-tee selftest`"
            )
    return {"passed": [each.name for each in cases], "sha256": _digest(cases)}


def _ran(outcome: Outcome) -> Ran:
    failure = f"{outcome.error.type}: {outcome.error.message}" if outcome.error else ""
    return Ran(outcome.status, outcome.stdout, outcome.stderr + failure, outcome.usage, outcome.truncated)


def _digest(cases: list[case.Case]) -> str:
    return sha256(b"".join(sha256(each.code.encode()).digest() for each in cases)).hexdigest()
