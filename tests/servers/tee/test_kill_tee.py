"""kill -9 of what a TEE server is made of, during calls: a clear error or a verified result; the next call works."""

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.config import SOFTWARE
from servers.tee.library.catalogue import Catalogue
from servers.tee.library.folder import load
from servers.tee.selftest.client import Client, ServerLost, connected
from tests.servers.tee.library.scene import TEE, folder

pytestmark = pytest.mark.anyio

KILLS, SUPERVISORS, AT_ONCE = 20, 4, 6
TIERS = ("wasm", "process")
WORK = "def main(n):\n    total = 0\n    for step in range(30000):\n        total += step * n % 7\n    return total\n"
INPUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

if sys.platform != "linux":
    pytest.skip("it finds processes in /proc", allow_module_level=True)


def expected(n: int) -> int:
    return sum(step * n % 7 for step in range(30000))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kill")
    catalogue = Catalogue(place / "library")
    for tier in TIERS:
        catalogue.add(load(folder(place / f"{tier}_work", WORK, tier=tier, input=INPUT)))
    key = Ed25519PrivateKey.generate()
    (place / "key").write_text(key.private_bytes_raw().hex())
    return place


@asynccontextmanager
async def server(place: Path, cache: Path) -> AsyncGenerator[Client]:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex((place / "key").read_text()))
    options = ("--workers", "3", "--key-file", str(place / "key"), "--library", str(place / "library"))
    command = (TEE, "--cache", str(cache), "stdio", *SOFTWARE, *options)
    anchor = key.public_key().public_bytes_raw().hex()
    async with connected(command, dict(os.environ), anchor, lambda: time.time_ns() // 1_000_000) as client:
        every = (call(client, tier, n) for n in range(AT_ONCE) for tier in TIERS)
        assert set(await asyncio.gather(*every)) == {""}  # all workers are there
        yield client


async def call(client: Client, tier: str, n: int) -> str:
    """Empty for a result that is right and whose receipt is verified, else what the caller is told. Raises others."""
    try:
        result, receipt = await client.call(f"{tier}_work", {"n": n})
    except ServerLost as e:
        return str(e)
    assert receipt.statement.outcome == "result"
    told: dict[str, Any] = result.get("structuredContent") or {}
    if told.get("status") == "ok":
        assert told["value"] == expected(n)
        assert receipt.statement.usage["status"] == "ok"
        return ""
    assert result["isError"], result
    assert "value" not in told
    return str(result["content"][0]["text"])


def processes(below: int) -> dict[int, str]:
    """The command lines of what runs below a process, by pid."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: dict[int, str] = {}
    grown = {below}
    while grown:
        grown = {pid for pid, parent in parents.items() if parent in grown | set(found) and pid not in found}
        for pid in grown:
            found[pid] = ""
            with suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return found


def held(pid: int) -> tuple[int, int, set[str]]:
    """Descriptors and mounts of a process, and control groups that are ours."""
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    mounts = Path(f"/proc/{pid}/mountinfo").read_text().count("\n")
    groups = {str(path) for path in Path("/sys/fs/cgroup").glob("*/*etmcp*/*")}
    return descriptors, mounts, groups


async def at_rest(pid: int) -> int:
    """How many processes there are below one, once that stands still: sandboxes are built ahead."""
    seen: list[int] = []
    await until(lambda: not seen.append(len(processes(pid))) and len(seen) > 50 and len(set(seen[-50:])) == 1)
    return seen[-1]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  another process does it, and tells nobody
            await asyncio.sleep(0.02)


VICTIMS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "wasm worker": ("wasm", lambda command: "sandbox.worker" in command),
    "fork server and its sandboxes": ("process", lambda command: "process" in command and "worker" not in command),
}


@pytest.mark.parametrize("victim", VICTIMS)
async def test_calls_in_flight_are_told_and_the_next_one_works(
    victim: str, library: Path, component_cache: Path, sandbox: object
) -> None:
    tier, is_victim = VICTIMS[victim]
    chance, said, killed = random.Random(victim), list[str](), 0
    async with server(library, component_cache) as client:
        before = await at_rest(client.process.pid)
        for number in range(KILLS):
            calls = [asyncio.create_task(call(client, tier, 10 * number + n)) for n in range(AT_ONCE)]
            await asyncio.sleep(chance.random() * 0.05)
            found = [pid for pid, command in processes(client.process.pid).items() if is_victim(command)]
            async with asyncio.timeout(120):
                if found:
                    killed += await killing(chance.choice(found))
                said += await asyncio.gather(*calls)
                assert await call(client, tier, number) == ""
        await until(lambda: len(processes(client.process.pid)) <= before)
        assert client.strange == []
    lost = [words for words in said if words]
    assert killed > KILLS // 2
    assert [words for words in lost if "\n" in words or "try again" not in words] == []
    assert len(lost) < len(said)


async def killing(pid: int) -> bool:
    """Whether it lived until we killed it, and is dead now: a kill that is on its way could meet the next call."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        await anyio.wait_readable(process)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True


async def test_with_the_supervisor_goes_all_that_it_started(
    library: Path, component_cache: Path, sandbox: object
) -> None:
    chance = random.Random(secrets.token_hex(4))
    groups = held(os.getpid())[2]
    for number in range(SUPERVISORS):
        async with server(library, component_cache) as client:
            calls = [asyncio.create_task(call(client, TIERS[n % 2], n)) for n in range(AT_ONCE)]
            await asyncio.sleep(chance.random() * 0.05)
            below = set(processes(client.process.pid))
            assert below
            client.process.kill()
            async with asyncio.timeout(60):
                said = await asyncio.gather(*calls)
            assert all(words == "" or "the server ended" in words for words in said), (number, said)
            await until(lambda started=below: not started & set(_alive()))
    await until(lambda: held(os.getpid())[2] <= groups)


async def test_nothing_stays_after_many_calls(library: Path, component_cache: Path, sandbox: object) -> None:
    async with server(library, component_cache) as client:
        pid = client.process.pid
        below = await at_rest(pid)
        before = held(pid)
        for _ in range(10):
            assert set(await asyncio.gather(*(call(client, tier, n) for n in range(10) for tier in TIERS))) == {""}
        await until(lambda: len(processes(pid)) == below)
        await until(lambda: held(pid)[:2] == before[:2])
        await until(lambda: len(held(pid)[2]) == len(before[2]))


def _alive() -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z":
                found.append(int(entry.name))
    return found
