"""kill -9 at any moment: what was acknowledged is there afterwards, and nothing is there that was never sent."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from servers.storage.store import Quota
from tests.servers.storage.scene import Clock, open_store

ROOT = Path(__file__).parents[3]
KILLS, LANES = 200, 4


def lane(folder: Path, lives: int, seed: int) -> tuple[int, int]:
    """Kill one process after another over the same file; how many were killed, how many promises they made."""
    chance = random.Random(seed)
    newest: dict[str, int] = {}
    promised: dict[tuple[str, int], str] = {}
    command = [sys.executable, "-m", "tests.servers.storage.driver", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        for _ in range(lives):
            driver.stdin.write(b"go\n")
            driver.stdin.flush()
            (child,) = json.loads(driver.stdout.readline())
            patience = chance.randrange(40)
            for number, line in enumerate(driver.stdout):
                if number == patience:
                    os.kill(child, signal.SIGKILL)
                told = json.loads(line)
                if len(told) == 1:  # it is over
                    assert told == [-signal.SIGKILL]
                    break
                path, version, said = told
                promised[path, version] = said
                newest[path] = max(version, newest.get(path, 0))
            asyncio.run(check(folder, newest, promised))
        driver.stdin.close()
    return lives, len(promised)


async def check(folder: Path, newest: dict[str, int], promised: dict[tuple[str, int], str]) -> None:
    """The newest promises of each path are kept; a version after them is one whose writer never lived to tell."""
    with closing(open_store(folder, Clock())) as store:
        for path, number in newest.items():
            version, data = await store.get("alice", path)
            assert version.number >= number
            assert data.decode().startswith(f"{path} ")
            _, said = await store.get("alice", path, number)
            assert said.decode() == promised[path, number]
            kept = {version.number for version in await store.history("alice", path, Quota().versions)}
            acknowledged = {n for p, n in promised if p == path and n >= min(kept)}
            assert acknowledged <= kept  # older ones made way, and no other is missing


def test_200_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(LANES)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(LANES) as pool:
        done = list(pool.map(lane, folders, [KILLS // LANES] * LANES, range(LANES)))
    assert sum(kills for kills, _ in done) == KILLS
    print(f"{KILLS} kills, {sum(promises for _, promises in done)} acknowledged versions")
