"""What is made of a case: its header, the word it prints, what was measured, and who was reached."""

import asyncio
import socket
from pathlib import Path

import pytest

from servers.tee.sandbox import Limits
from servers.tee.selftest import case
from servers.tee.selftest.canaries import canaries
from servers.tee.selftest.startup import CASES
from servers.tee.selftest.verdict import Ran, notes, word

LIMITS = Limits(memory_bytes=100, wall_seconds=1, cpu_seconds=1)
HEAD = "# class: x\n# tiers: process, wasm\n# expect: BLOCKED|DIED\n# pair: 2\n# must: hold\n"
SAID = "VERDICT BLOCKED fine\n"


def test_a_case_is_read() -> None:
    found = case.folder(CASES)
    assert len(found) == 10
    assert all(each.applies("wasm") and each.applies("process") for each in found)


BAD = {
    "no class": (HEAD.replace("# class: x\n", ""), "# class: …"),
    "no verdict": (HEAD.replace("BLOCKED|DIED", "|"), "is not a verdict"),
    "a small word": (HEAD.replace("DIED", "died"), "'died' is not a verdict"),
    "a pair of three": (HEAD.replace("pair: 2", "pair: 3"), "pair: '3'"),
    "late": ("import os\n" + HEAD, "# class: …"),
    "long": (HEAD + "#" * (300 << 10), "the limit is"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_a_file_that_is_no_case_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(case.CaseError) as refused:
        case.folder(tmp_path)
    assert told in str(refused.value)
    assert str(tmp_path / "a.py") in str(refused.value)


def test_a_folder_without_cases_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    for wanted in (tmp_path, tmp_path / "none"):
        with pytest.raises(case.CaseError):
            case.folder(wanted)
    (tmp_path / "b.py").write_bytes(b"\xff")
    with pytest.raises(case.CaseError, match="UTF-8"):
        case.folder(tmp_path)


RUNS = {
    "as it says": (Ran("ok", SAID, "", {"exit": 0}), "BLOCKED"),
    "the last word": (Ran("ok", SAID + "VERDICT HARMLESS\n", "", {}), "HARMLESS"),
    "an escape once said": (Ran("ok", "VERDICT ESCAPED x\n" + SAID, "", {}), "ESCAPED"),
    "an escape of a killed one": (Ran("deadline", "VERDICT ESCAPED x\n", "", {}), "ESCAPED"),
    "killed by the clock": (Ran("deadline", SAID, "", {}), "KILLED_TIMEOUT"),
    "out of memory": (Ran("memory", SAID, "", {}), "KILLED_MEM"),
    "out of fuel": (Ran("fuel", "", "", {}), "KILLED_CPU"),
    "killed for what it wrote": (Ran("output", SAID, "", {}, cut=True), "KILLED_OUTPUT"),
    "cut but not killed": (Ran("ok", SAID, "", {}, cut=True), "BLOCKED"),
    "a trap": (Ran("trap", SAID, "", {}), "DIED"),
    "an early exit of its own": (Ran("trap", SAID, "", {"exit": 3}), "BLOCKED"),
    "a signal": (Ran("trap", SAID, "", {"exit": -11}), "DIED"),
    "a signal after all its time": (Ran("error", SAID, "", {"exit": -9, "cpu_ms": 990}), "KILLED_CPU"),
    "nothing": (Ran("ok", "VERDICT\n", "", {}), "NOVERDICT"),
    "a word within a line": (Ran("ok", "x VERDICT BLOCKED\n", "", {}), "NOVERDICT"),
    "a memory error": (Ran("error", "", "MemoryError", {}), "KILLED_MEM"),
}


@pytest.mark.parametrize(("ran", "expected"), RUNS.values(), ids=RUNS)
def test_who_was_killed_has_no_say(ran: Ran, expected: str) -> None:
    assert word(ran, LIMITS)[0] == expected


def test_what_was_measured_speaks_against_the_sandbox() -> None:
    usage = {"memory_bytes": 120, "wall_ms": 20_000}
    assert notes(Ran("ok", "a secret", "", usage), LIMITS, "secret") == ["SECRET-IN-OUTPUT", "MEM-OVER", "OVERRAN"]
    assert notes(Ran("ok", "", "", {"memory_bytes": 100, "wall_ms": 900}), LIMITS, "secret") == []


async def _reach(known: dict[str, object]) -> None:
    _, tcp = await asyncio.open_connection("127.0.0.1", known["tcp"])  # type: ignore[arg-type]
    _, abstract = await asyncio.open_unix_connection(f"\0{known['abstract']}")
    _, path = await asyncio.open_unix_connection(str(known["unix"]))
    for writer in (tcp, abstract, path):
        writer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("127.0.0.1", int(str(known["udp"]))))
    _touch(str(known["trap"]))


def _touch(path: str) -> None:
    Path(path).touch()


def _text(path: str) -> str:
    return Path(path).read_text()


@pytest.mark.anyio
async def test_whoever_reaches_a_canary_is_noted() -> None:
    async with canaries() as around:
        assert around.taken() == []
        assert around.secret in _text(around.known["file"])
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", around.known["backdoor"])
        watching = asyncio.create_task(around.watch_backdoor())
        await _reach(around.known)
        wanted = {"HOST-CANARY:" + name for name in ("tcp", "abstract", "unix", "udp", "backdoor")} | {"TRAP-TOUCHED"}
        found: set[str] = set()
        async with asyncio.timeout(30):
            while found != wanted:
                await asyncio.sleep(0)
                found |= set(around.taken())
        watching.cancel()
        listener.close()
