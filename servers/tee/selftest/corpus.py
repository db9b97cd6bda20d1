"""A folder of cases through a whole server: MCP in, receipts out, the log watched, canaries around it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attest.errors import AttestError
from servers.tee.sandbox import Limits
from servers.tee.selftest.canaries import Canaries
from servers.tee.selftest.case import Case
from servers.tee.selftest.client import Client, ServerLost
from servers.tee.selftest.verdict import Ran, notes, word

TOOL = "corpus_case"
LIMITS = Limits(
    memory_bytes=256 << 20,
    wall_seconds=4.0,
    cpu_seconds=3.0,
    processes=16,
    file_bytes=32 << 20,
    scratch_bytes=32 << 20,
    scratch_inodes=2048,
    stdout_bytes=1 << 20,
    stderr_bytes=1 << 20,
)
"""Under which cases run: a bomb must meet a bound within seconds."""
_NO_NATIVE_CODE = """
import sys, types
def _none(*_, **__): raise OSError(38, 'there is no native code here')
class _Library:
    def __getattr__(self, name): return _none
sys.modules['ctypes'] = types.ModuleType('ctypes')
vars(sys.modules['ctypes']).update(
    CDLL=lambda *_, **__: _Library(), set_errno=lambda _: 0, get_errno=lambda: 38, c_long=int, c_void_p=int
)
"""
"""Cases begin by loading the C library; where there is none they are to find that out, not to fail at once."""
_SETTLE_SECONDS = 15.0
_UNSEEN = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x200D, 0xFEFF]))


@dataclass(frozen=True)
class Verdict:
    """One case in one tier."""

    case: str
    kind: str
    tier: str
    verdict: str
    expected: str
    passed: bool
    notes: tuple[str, ...]
    detail: str
    usage: dict[str, Any]

    def line(self) -> str:
        """For people."""
        said = f"{'ok  ' if self.passed else 'FAIL'} {self.tier:7} {self.case:28} {self.verdict}"
        if self.passed:
            return said
        return f"{said}, expected {self.expected} {' '.join(self.notes)} {self.detail[:200]}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """One object of `--json`."""
        return asdict(self) | {"notes": list(self.notes)}


class Corpus:
    """Runs cases of one tier against one server. `processes` tells how many there are below the server now."""

    def __init__(self, tier: str, client: Client, canaries: Canaries, processes: Callable[[], int]) -> None:
        self._tier, self._client, self._canaries, self._processes = tier, client, canaries, processes

    async def run(self, cases: Iterable[Case], jobs: int) -> AsyncGenerator[Verdict]:
        """A verdict for each, as they come; `jobs` cases at a time. Raises `ServerLost`."""
        # What is made once, as workers are, is made now, and not counted as left behind.
        await asyncio.gather(*(self._call("sum(range(10**6))") for _ in range(jobs)))
        before = await self._at_rest()
        slots = asyncio.Semaphore(jobs)
        known = dict(self._canaries.known, engine_pid=self._client.process.pid)

        async def one(case: Case) -> Verdict:
            async with slots:
                return await self._judge(case, known)

        watching = asyncio.create_task(self._canaries.watch_backdoor())
        tasks = [asyncio.create_task(one(case)) for case in cases]
        try:
            for task in tasks:
                yield await task
            if left := await self._left_behind(before):
                yield self._whole("nothing is left behind", f"SURVIVORS:{left}")
            if (log := bytes(self._client.log).decode("utf-8", "replace")) and (found := _unclean(log)):
                yield self._whole("the log is clean", f"LOG:{found!r}")
        finally:
            for task in (watching, *tasks):
                task.cancel()
            await asyncio.gather(watching, *tasks, return_exceptions=True)

    async def _judge(self, case: Case, known: dict[str, Any]) -> Verdict:
        before = _NO_NATIVE_CODE if self._tier == "wasm" else ""
        code = f"import os\nos.environ['ABUSE_CANARY'] = {json.dumps(known)!r}\n{before}{case.code}"
        try:
            match case.pair:
                case "concurrent":
                    judged = list(await asyncio.gather(self._call(code), self._call(code)))
                case "2":
                    judged = [await self._call(code), await self._call(code)][1:]
                case _:
                    judged = [await self._call(code)]
        except AttestError as e:
            return self._verdict(case, "NOVERDICT", str(e), ["RECEIPT"], {})
        words = [word(ran, LIMITS) for ran in judged]
        against = [note for ran in judged for note in notes(ran, LIMITS, self._canaries.secret)]
        against += self._canaries.taken()
        if self._client.strange:
            against.append(f"FRAME:{self._client.strange[0]}")
            self._client.strange.clear()
        bad = [found for found in words if found[0] not in case.expect]
        verdict, detail = (bad or words)[0]
        return self._verdict(case, verdict, detail, against, dict(judged[0].usage))

    async def _call(self, code: str) -> Ran:
        result, receipt = await self._client.call(TOOL, {"code": code})
        told: dict[str, Any] = result.get("structuredContent") or {}
        if not told:
            raise ServerLost(f"{TOOL}: {str(result.get('content'))[:300]}")
        said = {"stdout": "", "stderr": "", **told}
        for linked in told.get("resources", []):
            said[linked["name"]] = await self._client.read(linked["uri"], linked["sha256"])
        failure = told.get("error", {})
        stderr = said["stderr"] + "".join(str(failure.get(part, "")) for part in ("type", "message"))
        usage = dict(receipt.statement.usage)
        return Ran(str(told.get("status")), said["stdout"], stderr, usage, bool(told.get("truncated")))

    async def _at_rest(self) -> int:
        """Processes once their number stands still for a second: a sandbox may still be built ahead."""
        last, same = self._processes(), 0
        for _ in range(int(_SETTLE_SECONDS / 0.1)):
            if same == 10:
                break
            await asyncio.sleep(0.1)
            now = self._processes()
            last, same = now, same + 1 if now == last else 0
        return last

    async def _left_behind(self, before: int) -> int:
        """Processes that stay; what is being taken down gets the time for it."""
        for _ in range(int(_SETTLE_SECONDS / 0.1)):
            if self._processes() <= before:
                return 0
            await asyncio.sleep(0.1)
        return self._processes() - before

    def _verdict(self, case: Case, verdict: str, detail: str, against: list[str], usage: dict[str, Any]) -> Verdict:
        passed = verdict in case.expect and not against
        expected = "|".join(sorted(case.expect))
        return Verdict(
            case.name, case.kind, self._tier, verdict, expected, passed, tuple(against), _shown(detail), usage
        )

    def _whole(self, name: str, note: str) -> Verdict:
        return Verdict(name, "whole", self._tier, "ESCAPED", "CONTAINED", False, (note,), "", {})


def _unclean(log: str) -> str:
    """The first character of a log line that a terminal would act upon, or nobody can see."""
    return next((c for c in log if c != "\n" and (not c.isprintable() or c in _UNSEEN)), "")


def _shown(detail: str) -> str:
    return "".join(c if c.isprintable() and c not in _UNSEEN else "\N{REPLACEMENT CHARACTER}" for c in detail)[:400]


def descendants(pid: int) -> int:
    """How many processes there are below `pid`; 0 where there is no /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text("utf-8", "replace")
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        if fields[0] != "Z":
            parents[int(entry.name)] = int(fields[1])
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found and child not in found}
        found |= more
        grown = bool(more)
    return len(found) - 1
