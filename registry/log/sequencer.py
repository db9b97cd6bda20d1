"""The order of effects: stage entries and tiles, sign, compare-and-swap the checkpoint, publish.

What may be signed next is on disk before anything is signed, and is never taken back: after a crash the staged tree
is finished, not replaced. So two signed checkpoints of one size cannot differ, even where one was never swapped in.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attest.errors import LogError
from attest.tlog import Checkpoint, leaf_hash, verify_consistency
from registry.errors import LogFailure
from registry.log.store import Conflict, LogStore
from registry.log.tree import Read, Tree, extend

ATTEMPTS = 100


class Sign(Protocol):
    """Makes the note of a checkpoint. Must be deterministic, as a tree may be signed again after a crash."""

    def __call__(self, checkpoint: Checkpoint) -> bytes: ...


Publish = Callable[[Checkpoint, bytes], None]
"""Hands on a checkpoint and its note."""


class Sequencer:
    """Gives entries their numbers. `publish` gets each note once it is the head. Used from one thread; any number of
    sequencers in other processes may share the file.
    """

    def __init__(self, store: LogStore, sign: Sign, publish: Publish) -> None:
        self._store, self._sign, self._publish = store, sign, publish

    def recover(self) -> Checkpoint:
        """Finish what is staged, if anything is, and return the head. Raises `LogFailure`."""
        head, _, tree = self._store.state()
        if tree is None:
            return head
        self._finish(head, tree)
        return tree

    def sequence(self, entries: Sequence[bytes]) -> int:
        """Append and return the number of the first, once all are under a durable signed checkpoint.

        Raises `LogFailure`; the entries may be in the log all the same then, or get in later.
        """
        hashes = [leaf_hash(entry) for entry in entries]
        for _ in range(ATTEMPTS):
            head = self.recover()
            tiles = extend(self._store.tile, head.size, hashes)
            size = head.size + len(entries)
            tree = Checkpoint(head.origin, size, Tree(_overlay(tiles, self._store.tile), size).root())
            try:
                self._store.stage(head, list(entries), tiles, tree)
            except Conflict:
                continue
            self._finish(head, tree)
            return head.size
        raise LogFailure("conflict", f"others were faster {ATTEMPTS} times")

    def _finish(self, head: Checkpoint, tree: Checkpoint) -> None:
        try:
            self._check(head, tree)
            note = self._sign(tree)
            self._store.swap(head, tree, note)
        except Conflict:  # another sequencer finished it for us, or none could have staged anything else
            if self._store.state()[0].size < tree.size:
                raise LogFailure("corrupt", "what was staged is gone") from None
            return
        self._publish(tree, note)

    def _check(self, head: Checkpoint, tree: Checkpoint) -> None:
        """Never sign a smaller tree, an inconsistent one, or one whose entries are not those that are kept."""
        if tree.size <= head.size:
            raise LogFailure("corrupt", "the staged tree is no larger than the checkpoint's")
        stored = Tree(self._store.tile, tree.size)
        try:
            verify_consistency(head, tree, stored.consistency(head.size))
        except LogError as e:
            raise LogFailure("corrupt", f"the staged tree does not follow the checkpoint: {e.detail}") from e
        entries = self._store.entries(head.size, tree.size)
        if stored.root() != tree.root or len(entries) != tree.size - head.size:
            raise LogFailure("corrupt", "the staged tree is not that of the tiles")
        level = b"".join(self._store.tile(0, n) for n in range(head.size // 256, (tree.size + 255) // 256))
        start = 32 * (head.size % 256)
        if level[start : start + 32 * len(entries)] != b"".join(map(leaf_hash, entries)):
            raise LogFailure("corrupt", "a staged entry is not that of its hash")


def _overlay(tiles: Mapping[tuple[int, int], bytes], read: Read) -> Read:
    return lambda level, number: tiles.get((level, number)) or read(level, number)
