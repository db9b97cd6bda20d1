"""The process tier alone, without server, receipts and HTTP: a fresh sandbox for each program."""

import secrets
import time

from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job
from tests.bench.caller import CANARY
from tests.bench.running import row

WARM = 30


async def native(calls: int) -> None:
    """Two rows: built for the call, and built ahead, where each call waits for the next one to be built first."""
    for name, parked in (("process, alone, built for the call", 0), ("process, alone, parked", 1)):
        async with ProcessSandbox(parked=parked) as sandbox:
            times: list[float] = []
            for _ in range(WARM + calls):
                await sandbox.prepare()  # fills what is parked
                times.append(await _call(sandbox))
        times = sorted(times[WARM:])
        row(name, times, f"{1000 / (sum(times) / len(times)):5.0f}/s, sandboxes built ahead: {parked}")


async def _call(sandbox: ProcessSandbox) -> float:
    mark = secrets.token_hex(8)
    begun = time.perf_counter()
    outcome = await sandbox.run(Job(CANARY, {"mark": mark}))
    taken = (time.perf_counter() - begun) * 1000
    if outcome.value != [mark, [None, None, False]]:
        raise SystemExit(f"void: a call found what another left, or failed: {outcome}")
    return taken
