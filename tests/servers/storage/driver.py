"""Forks one process after another that writes to a store for ever and says what it was promised.

Each line of standard input starts one; its pid, then its promises, then its exit status come on standard output.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from servers.storage.sqlite import SqliteStore
from tests.servers.storage.scene import Clock, open_store, text

WRITERS = 4


def say(*told: object) -> None:
    """One line in one write, which a pipe takes whole or not at all."""
    os.write(1, json.dumps(told).encode() + b"\n")


async def write(store: SqliteStore, writer: int, life: int) -> None:
    count = 0
    while True:
        count += 1
        path = f"{writer}/{count % 7}"
        said = f"{path} {life} {count}"
        version, _ = await store.put("alice", path, text(said))
        say(path, version.number, said)


async def live(folder: Path, life: int) -> None:
    store = open_store(folder, Clock())
    await asyncio.gather(*(write(store, writer, life) for writer in range(WRITERS)))


def main(folder: Path) -> None:
    for life, _ in enumerate(sys.stdin):
        if (child := os.fork()) == 0:
            say(os.getpid())
            asyncio.run(live(folder, life))
            os._exit(1)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
