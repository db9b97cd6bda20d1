"""What came of a case: the word it printed, as far as what was measured from outside lets it stand."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from servers.tee.sandbox import Limits

_PRINTED = re.compile(r"^VERDICT (\w+)(.*)$", re.MULTILINE)
_KILLED = {"deadline": "KILLED_TIMEOUT", "fuel": "KILLED_CPU", "memory": "KILLED_MEM", "trap": "DIED"}
_MEMORY_SLACK = 1.05
_WALL_SLACK_SECONDS = 10.0  # between a deadline and the end of what it stopped, on a machine that is busy


@dataclass(frozen=True)
class Ran:
    """One run of a case as its caller saw it: what the tool result says, and the `usage` of its receipt."""

    status: str
    stdout: str
    stderr: str
    usage: Mapping[str, Any]
    cut: bool = False
    """It printed more than it may."""


def word(ran: Ran, limits: Limits) -> tuple[str, str]:
    """The verdict and the case's own detail. Who was killed has no say, but who says ESCAPED is believed."""
    printed = _PRINTED.findall(ran.stdout)
    said, detail = printed[-1] if printed else ("NOVERDICT", f"{ran.status}: {ran.stderr[-200:]}")
    if any(first == "ESCAPED" for first, _ in printed):
        return "ESCAPED", detail.strip()
    code = ran.usage.get("exit")
    if ran.status == "output" and ran.cut:
        return "KILLED_OUTPUT", detail.strip()
    if ran.status in _KILLED and not (ran.status == "trap" and code is not None and int(code) >= 0 and printed):
        return _KILLED[ran.status], detail.strip()
    if code is not None and int(code) < 0:
        return ("KILLED_CPU" if _out_of_time(int(code), ran.usage, limits) else "DIED"), detail.strip()
    if said == "NOVERDICT" and "MemoryError" in ran.stderr:
        return "KILLED_MEM", detail.strip()
    return said, detail.strip()


def notes(ran: Ran, limits: Limits, secret: str) -> list[str]:
    """What speaks against the sandbox whatever the verdict is."""
    found = ["SECRET-IN-OUTPUT"] if secret in ran.stdout + ran.stderr else []
    if int(ran.usage.get("memory_bytes", 0)) > limits.memory_bytes * _MEMORY_SLACK:
        found.append("MEM-OVER")
    if int(ran.usage.get("wall_ms", 0)) > (limits.wall_seconds + _WALL_SLACK_SECONDS) * 1000:
        found.append("OVERRAN")
    return found


def _out_of_time(code: int, usage: Mapping[str, Any], limits: Limits) -> bool:
    spent = int(usage.get("cpu_ms", 0)) >= limits.cpu_seconds * 900
    return code == -signal.SIGXCPU or (code == -signal.SIGKILL and spent)
