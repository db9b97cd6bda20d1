"""Runs a folder of hostile programs through the process tier and judges them: `python corpus.py FOLDER`.

A program says `VERDICT word`; what only the host can see is added here. Prints one JSON line: the cases that failed.
"""

import json
import os
import re
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from servers.tee.process.python import ProcessSandbox
from servers.tee.sandbox import Job, Limits, Outcome

SECRET = "canary-secret-7f3a9c1e"
LIMITS = Limits(wall_seconds=4, cpu_seconds=3, output_bytes=1 << 20)  # one case says much before its verdict


@dataclass
class Canaries:
    """Listeners and files of the host that no program may reach."""

    folder: Path
    sockets: list[socket.socket] = field(default_factory=list[socket.socket])

    def names(self) -> dict[str, Any]:
        """What a program is told of them."""
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        abstract, path = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        name = f"etmcp-canary-{os.getpid()}"
        abstract.bind(f"\0{name}")
        path.bind(str(self.folder / "sock"))
        for each in (tcp, abstract, path):
            each.listen()
        self.sockets = [tcp, udp, abstract, path]
        for each in self.sockets:
            each.setblocking(False)
        (self.folder / "sock").chmod(0o777)
        secret = self.folder / "secret.txt"
        secret.write_text(f"HOSTFILE {SECRET}")
        return {
            "tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1], "abstract": name,
            "unix": str(self.folder / "sock"), "file": str(secret), "trap": str(self.folder / "trap"),
            "engine_pid": os.getpid(), "hostname": socket.gethostname(), "backdoor": 18993,
            "udp_dark": True, "nonet": 0,
        }  # fmt: skip

    def touched(self) -> list[str]:
        """Which of them were reached since the last question."""
        notes: list[str] = []
        for each in self.sockets:
            with suppress(BlockingIOError):
                if each.type == socket.SOCK_DGRAM:
                    each.recv(100)
                else:
                    each.accept()[0].close()
                notes.append("HOST-CANARY")
        if (self.folder / "trap").exists():
            notes.append("TRAP-TOUCHED")
        return notes


def word(outcome: Outcome) -> str:
    """What became of the program, in the words of the corpus."""
    said = re.findall(r"^VERDICT (\w+)", outcome.stdout, re.MULTILINE)
    if "ESCAPED" in said:
        return "ESCAPED"
    match outcome.status:
        case "deadline":
            return "KILLED_CPU" if outcome.error and "processor" in outcome.error.message else "KILLED_TIMEOUT"
        case "memory":
            return said[-1] if said and outcome.usage["exit"] == 0 else "KILLED_MEM"
        case "output" if outcome.truncated:
            return "KILLED_OUTPUT"
        case "trap" if outcome.usage["exit"] < 0:
            return "DIED"
        case _:
            return said[-1] if said else "NOVERDICT"


async def judge(sandbox: ProcessSandbox, code: str, canaries: dict[str, Any], host: Canaries) -> str:
    """Empty if the case passes, else what happened."""
    head = dict(re.findall(r"^# (\w+): (.*)$", code, re.MULTILINE))
    job = Job(f"import os\nos.environ['ABUSE_CANARY'] = {json.dumps(canaries)!r}\n{code}", limits=LIMITS)
    outcomes: list[Outcome] = []

    async def once() -> None:
        outcomes.append(await sandbox.run(job))

    if head["pair"] == "concurrent":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(once)
            tasks.start_soon(once)
    else:
        for _ in range(2 if head["pair"] == "2" else 1):
            await once()
    problems = host.touched()
    judged = outcomes if head["pair"] == "concurrent" else outcomes[-1:]
    for outcome in judged:
        found = word(outcome)
        if found not in head["expect"].split("|"):
            problems.append(f"{found} {outcome.error} {outcome.stdout[-300:]} {outcome.stderr[-200:]}")
        if SECRET in outcome.stdout + outcome.stderr:
            problems.append("SECRET-IN-OUTPUT")
        if outcome.usage["wall_ms"] > (LIMITS.wall_seconds + 30) * 1000:
            problems.append("OVERRAN")
        if outcome.usage["memory_bytes"] > LIMITS.memory_bytes * 1.02:
            problems.append("MEM-OVER")
    return "; ".join(problems)


async def run(cases: dict[str, str], at_once: int) -> None:
    """Run them all and print what failed."""
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        host = Canaries(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        host.folder.chmod(0o755)
        canaries = host.names()
        for each in host.sockets:
            stack.enter_context(each)
        async with ProcessSandbox(workers=at_once + 1) as sandbox:
            await sandbox.prepare()
            slots = anyio.Semaphore(at_once)

            async def one(name: str, code: str) -> None:
                async with slots:
                    problem = await judge(sandbox, code, canaries, host)
                    if problem:
                        failed[name] = problem

            async with anyio.create_task_group() as tasks:
                for name, code in cases.items():
                    tasks.start_soon(one, name, code)
            print(json.dumps({"count": len(cases), "failed": failed, "missing": sandbox.environment["missing"]}))


def read(folder: Path) -> dict[str, str]:
    """The cases of a folder that are meant for this tier."""
    cases = {path.name: path.read_text() for path in sorted(folder.glob("[0-9]*.py"))}
    return {name: code for name, code in cases.items() if "# tiers: process" in code}


if __name__ == "__main__":
    os.environ["ETMCP_CANARY_SECRET"] = SECRET
    anyio.run(run, read(Path(sys.argv[1])), int(sys.argv[2]))
