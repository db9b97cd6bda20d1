"""kill -9 of workers, fork server, sandboxes and the server itself, under load and at random moments.

Every answer is checked: its receipt, its value, and that there was a run of the program behind it that is counted
elsewhere. The rest are errors that say what happened.
"""

import itertools
import json
import os
import random
import sys
from collections import Counter as Tally
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest import wire
from servers.tee.sandbox.wasm import WasmSandbox
from tests.servers.tee import killing
from tests.servers.tee.bare import Bare, Gone, Told, bare, one_line
from tests.servers.tee.killing import Counter, kill, until
from tests.servers.tee.library.scene import TEE
from tests.support.rawclient import ETMCP

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the process tier, pidfd and /proc are Linux only"),
]

WORKER_KILLS = 40
NATIVE_KILLS = 40
SERVER_KILLS = 12
GATEWAY_KILLS = 4
AT_ONCE = 3
"""Callers of each tier, one more than there are sandboxes for."""
ROUNDS = {"wasm_work": 4_000, "native_work": 20_000}
"""Some milliseconds of work, so that a kill finds it going on."""
SAID = (
    r"the sandbox cannot be built: it was killed from outside before it was ready: try again",
    r"the sandbox's worker process does not start: it ended \(signal 9\); try again",
    r"the sandbox's worker process ended \(signal 9\) during the call: try again; the next call starts a new one",
    r"the sandbox was killed from outside during the call: try again",
    r"the fork server of the process sandbox ended during the call: try again; the next call starts a new one",
)


@dataclass
class Load:
    """Calls without end, and what became of them. Owned by one test."""

    counts: Counter
    seen: Tally[str] = field(default_factory=Tally[str])
    runs: set[str] = field(default_factory=set[str])
    """What each run that was answered for said of itself: no two say the same."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    over: bool = False

    async def once(self, server: Bare, tool: str) -> Told:
        """One call, checked. Raises `Gone`."""
        n = next(self.numbers)
        given: dict[str, Any] = {"n": n, "rounds": ROUNDS[tool]}
        told = await server.call(tool, **given, **({"url": self.counts.url} if tool == "wasm_work" else {}))
        ran = told.statement is not None and "tier" in told.statement.environment
        if told.error:
            one_line(told.error, *(rf"^{tool}: {said}$" for said in SAID))
            assert not ran, "what was not executed is not signed as if it were"
            self.seen[f"{tool}: error"] += 1
            return told
        value = told.value
        assert (value["n"], value["work"]) == (n, killing.work(n, ROUNDS[tool]))
        assert value["run"] not in self.runs
        self.runs.add(value["run"])
        if tool == "wasm_work":
            assert value["run"] in self.counts.given[n]
        if told.statement is not None:
            assert ran
            assert told.statement.usage["status"] == "ok"
        self.seen[tool] += 1
        return told

    async def callers(self, server: Bare) -> None:
        """Call both tools until it is over or the server is gone."""
        async with anyio.create_task_group() as tasks:
            for tool in [*ROUNDS] * AT_ONCE:
                tasks.start_soon(self._caller, server, tool)

    async def _caller(self, server: Bare, tool: str) -> None:
        while not self.over:
            try:
                await self.once(server, tool)
            except Gone:
                self.seen["gone"] += 1
                return


@dataclass
class Stage:
    """What servers are started with, and the world outside that must look afterwards as before."""

    place: Path
    cache: Path
    key: Ed25519PrivateKey
    load: Load
    options: list[str]
    log: BinaryIO
    processes: set[killing.Process] = field(default_factory=set[killing.Process])
    """All that were seen."""
    fork_servers: set[int] = field(default_factory=set[int])

    @property
    def command(self) -> list[str]:
        return [TEE, "--cache", str(self.cache), "stdio", "--key-file", str(self.place / "key"), *self.options]

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.place), "TMPDIR": str(self.place / "tmp")}

    @asynccontextmanager
    async def server(self) -> AsyncGenerator[Bare]:
        """A server of ours whose receipts are checked."""
        async with bare(self.command, self.environ, self.log) as server:
            server.attester = self.key.public_key().public_bytes_raw().hex()
            yield server

    def look(self, pid: int) -> None:
        """Remember all that came of this process."""
        self.processes |= killing.census(pid)
        self.fork_servers |= {one for each in (pid, *killing.descendants(pid)) for one in killing.fork_servers(each)}

    async def nothing_is_left(self) -> None:
        """No process that was seen, no control group, no file."""
        await until(lambda: not killing.alive(self.processes))
        await until(lambda: not [group for each in self.fork_servers for group in killing.control_groups(each)])
        assert not list((self.place / "tmp").iterdir())


@pytest.fixture
def stage(tmp_path: Path, sandbox: WasmSandbox, component_cache: Path) -> Generator[Stage]:
    """`sandbox` has filled the cache."""
    del sandbox
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key").write_text(key.private_bytes_raw().hex())
    (tmp_path / "tmp").mkdir()
    mounts = Path("/proc/self/mountinfo").read_text()
    with killing.counter() as counts, (tmp_path / "log").open("wb") as log:
        yield Stage(tmp_path, component_cache, key, Load(counts), killing.options(tmp_path, counts), log)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert (tmp_path / "log").read_bytes() == b""


async def test_killed_workers_fork_servers_and_sandboxes_cost_their_calls_alone(stage: Stage) -> None:
    load = stage.load
    async with stage.server() as server:
        pid = server.process.pid
        await server.meet()
        await _warm(load, server)
        first = killing.descriptors(pid)
        stage.look(pid)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load.callers, server)
            async with anyio.create_task_group() as killers:
                killers.start_soon(_kill_workers, stage, server, random.Random(1))
                killers.start_soon(_kill_native, stage, server, random.Random(2))
            load.over = True
        for tool in ROUNDS:
            assert not (await load.once(server, tool)).error
        await _warm(load, server)
        await until(lambda: killing.descriptors(pid) == first)
        stage.look(pid)
    await stage.nothing_is_left()
    print(dict(load.seen))
    assert load.seen["wasm_work: error"] >= WORKER_KILLS // 4, "the kills miss the moments that matter"
    assert load.seen["native_work: error"] >= NATIVE_KILLS // 4
    assert load.seen["gone"] == 0


async def _warm(load: Load, server: Bare) -> None:
    """Every sandbox that there can be is there."""

    async def one(tool: str) -> None:
        assert not (await load.once(server, tool)).error

    while len(killing.workers(server.process.pid)) < 2:
        async with anyio.create_task_group() as tasks:
            for tool in [*ROUNDS] * AT_ONCE:
                tasks.start_soon(one, tool)


async def _kill_workers(stage: Stage, server: Bare, rng: random.Random) -> None:
    pid = server.process.pid
    for _ in range(WORKER_KILLS):
        await _kill_one(lambda: killing.workers(pid), rng)
        stage.look(pid)
        assert not (await stage.load.once(server, "wasm_work")).error, "the next call works"


async def _kill_native(stage: Stage, server: Bare, rng: random.Random) -> None:
    """Fork servers and sandboxes by turns."""
    pid = server.process.pid
    for number in range(NATIVE_KILLS):
        stage.look(pid)
        if number % 2:
            started = {each for one in killing.fork_servers(pid) for each in killing.census(one)}
            await _kill_one(lambda: killing.fork_servers(pid), rng)
            await until(lambda started=started: not killing.alive(started))
        else:
            await _kill_one(lambda: [each for one in killing.fork_servers(pid) for each in killing.children(one)], rng)
        assert not (await stage.load.once(server, "native_work")).error, "the next call works"


async def _kill_one(candidates: Callable[[], list[int]], rng: random.Random) -> None:
    await anyio.sleep(rng.uniform(0, 0.05))  # the random moment itself: nothing waits for it
    with anyio.fail_after(killing.SECONDS):
        while True:
            found = candidates()
            if found and await kill(rng.choice(found)):
                return
            await anyio.sleep(0.001)  # the next sandbox is on its way


async def test_a_killed_server_takes_all_with_it_and_signed_nothing_that_was_not_executed(stage: Stage) -> None:
    rng, load = random.Random(3), stage.load
    for number in range(SERVER_KILLS):
        async with stage.server() as server, anyio.create_task_group() as tasks:
            pid = server.process.pid
            if number % 4 == 3:  # while it starts
                await anyio.sleep(rng.uniform(0, 1.5))  # the random moment itself
            else:
                await server.meet()
                answered = load.seen.total()
                tasks.start_soon(load.callers, server)
                enough = rng.randrange(20)
                await until(lambda answered=answered, enough=enough: load.seen.total() - answered >= enough)
                await anyio.sleep(rng.uniform(0, 0.02))
            stage.look(pid)
            assert await kill(pid)
        await stage.nothing_is_left()
    print(dict(load.seen))
    assert not [name for name in load.seen if "error" in name], "whatever was answered was answered well"
    assert load.seen["gone"] >= SERVER_KILLS // 2 * AT_ONCE


async def test_through_the_gateway_a_killed_server_is_replaced(stage: Stage) -> None:
    rng, load = random.Random(4), stage.load
    entry = {"command": TEE, "args": stage.command[1:], "env": stage.environ}
    config = {"mcpServers": {"tee": entry | {"etmcp": {"require": "executor-attested"}}}}
    (stage.place / "config.json").write_text(json.dumps(config))
    command = [ETMCP, "--config", str(stage.place / "config.json"), "--home", str(stage.place / "home"), "stdio"]
    async with bare(command, stage.environ, stage.log) as gateway:
        gateway_pid = gateway.process.pid
        for _ in range(GATEWAY_KILLS):
            told = await load.once(gateway, "wasm_work")
            print(told.result["_meta"][wire.VERIFICATION])
            (server,) = [each for each in killing.descendants(gateway_pid) if killing.workers(each)]
            stage.look(gateway_pid)
            await anyio.sleep(rng.uniform(0, 0.1))
            assert await kill(server)
    await stage.nothing_is_left()
