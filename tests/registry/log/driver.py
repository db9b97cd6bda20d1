"""A log that is killed over and over: `driver.py LOG SEED ROUNDS` writes to stdout all that it signs and acknowledges.

Each round forks one or two processes on the same file. Half die by SIGKILL from outside at a random moment, half kill
themselves at a named point. Lines: `S <note in base64>` signed, `A <number> <leaf hash>` acknowledged, `P` a staged
tree was found at the start, `K <point>` killed.
"""

import base64
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.encoding import sha256_hex
from attest.tlog import Checkpoint, leaf_hash
from registry.log.leaf import Leaf
from registry.log.sequencer import Sequencer
from registry.log.store import LogStore

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
POINTS = ("before-stage", "after-stage", "before-sign", "after-sign", "before-swap", "after-swap", "published")
LONGEST = 400


def report(line: str) -> None:
    """One line in one write, so that lines of two processes never mix."""
    data = f"{line}\n".encode()
    if os.write(1, data) != len(data):
        raise OSError("short write")


class Bomb:
    """Kills this process when `point` is passed for the n-th time."""

    def __init__(self, point: str, times: int) -> None:
        self.point, self.left = point, times

    def at(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Mined(LogStore):
    """The real store with a bomb around its two effects."""

    def __init__(self, path: Path, bomb: Bomb) -> None:
        super().__init__(path)
        self.bomb = bomb

    def stage(
        self, head: Checkpoint, entries: list[bytes], tiles: Mapping[tuple[int, int], bytes], tree: Checkpoint
    ) -> None:
        self.bomb.at("before-stage")
        super().stage(head, entries, tiles, tree)
        self.bomb.at("after-stage")

    def swap(self, head: Checkpoint, tree: Checkpoint, note: bytes) -> None:
        self.bomb.at("before-swap")
        super().swap(head, tree, note)
        self.bomb.at("after-swap")


def append(path: Path, seed: int, bomb: Bomb) -> None:
    """Until killed; the bound is for the day when nobody is left to do it."""
    rng = random.Random(seed)
    store = Mined(path, bomb)

    def sign(checkpoint: Checkpoint) -> bytes:
        bomb.at("before-sign")
        note = checkpoint.sign(KEY)
        report(f"S {base64.b64encode(note).decode()}")
        bomb.at("after-sign")
        return note

    sequencer = Sequencer(store, sign, lambda _checkpoint, _note: bomb.at("published"))
    if store.state()[2]:
        report("P")
    for _ in range(LONGEST):
        count = rng.choice((1, 1, 2, 7, 40, 300))
        entries = [Leaf("receipt", sha256_hex(rng.randbytes(16))).encode() for _ in range(count)]
        number = sequencer.sequence(entries)
        for index, entry in enumerate(entries, number):
            report(f"A {index} {leaf_hash(entry).hex()}")


def main(path: Path, seed: int, rounds: int) -> None:
    """Fork, kill, reap."""
    rng = random.Random(seed)
    for turn in range(rounds):
        outside = turn % 2 == 0
        children: list[int] = []
        point = "timer" if outside else POINTS[(turn // 2) % len(POINTS)]
        for each in range(rng.choice((1, 2))):
            child = os.fork()
            if child == 0:
                try:
                    append(path, rng.randrange(2**40) * 2 + each, Bomb(point, rng.randint(1, 4)))
                except BaseException:  # noqa: BLE001 - a child must not become a second parent
                    traceback.print_exc()
                os._exit(3)
            children.append(child)
        if outside:
            time.sleep(rng.uniform(0.001, 0.05))  # the random moment itself: nothing waits for it
        for child in children:
            if outside:
                os.kill(child, signal.SIGKILL)
            if os.waitpid(child, 0)[1] != signal.SIGKILL:
                sys.exit("a process ended on its own")
            report(f"K {point}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
