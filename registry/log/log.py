"""The log in a process: appends from any task, sequenced in batches by one thread; proofs and tiles for readers."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.note import NoteKey
from attest.tlog import EMPTY_ROOT, Checkpoint
from registry.errors import LogFailure, NotFound
from registry.log.leaf import Leaf
from registry.log.sequencer import Publish, Sequencer
from registry.log.store import LogStore
from registry.log.tiles import WIDTH, Tile, bundle
from registry.log.tree import Tree

BATCH = 256


@dataclass(frozen=True, slots=True)
class Proof:
    """Hashes, the checkpoint that they lead to, and that checkpoint's note: proof and root can never be mixed up."""

    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True)
class _Pending:
    entry: bytes
    done: Callable[[int | Exception], None]


def _to_readers_only(checkpoint: Checkpoint, note: bytes) -> None:
    """Readers ask the file."""
    del checkpoint, note


class Log:
    """Reads answer from the last durable checkpoint. Opening finishes what a crash left staged.

    `publish` is called on the sequencing thread with each checkpoint that became the head; a crash may skip some.
    """

    def __init__(self, path: Path, key: Ed25519PrivateKey, publish: Publish = _to_readers_only) -> None:
        self._reader = LogStore(path)
        head, _ = self.checkpoint()
        self.verifier = NoteKey(head.origin, key.public_key().public_bytes_raw())
        if str(self.verifier) != self._reader.verifier():
            self._reader.close()
            raise LogFailure("wrong-log", f"{path}: the log of another key; bring the key that it was made with")
        # Entries on their way to the sequencing thread; None ends it.
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        store = LogStore(path)
        sequencer = Sequencer(store, lambda checkpoint: checkpoint.sign(key), publish)
        try:
            sequencer.recover()
        except LogFailure:
            store.close()
            self._reader.close()
            raise
        self._closed = False  # set by `close`, read by `append`, both on the event loop's thread
        self._thread = threading.Thread(target=self._run, args=(store, sequencer), name="log", daemon=True)
        self._thread.start()

    @staticmethod
    def create(path: Path, origin: str, key: Ed25519PrivateKey) -> None:
        """Make a new, empty log; once in a key's life. Raises `LogFailure("conflict")`, `LogError("malformed")`."""
        empty = Checkpoint(origin, 0, EMPTY_ROOT)
        LogStore.create(path, str(NoteKey(origin, key.public_key().public_bytes_raw())), empty, empty.sign(key))

    async def append(self, leaf: Leaf) -> int:
        """The leaf's number, once a durable signed checkpoint covers it. Raises `LogFailure`.

        The same leaf twice gets two numbers; so may a leaf whose caller was told of a failure and tried again.
        """
        if self._closed:
            raise LogFailure("closed", "the log is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()

        def settle(result: int | Exception) -> None:
            if not future.done():
                future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)

        def done(result: int | Exception) -> None:
            loop.call_soon_threadsafe(settle, result)

        self._queue.put(_Pending(leaf.encode(), done))
        return await future

    def checkpoint(self) -> tuple[Checkpoint, bytes]:
        """The last checkpoint and its signed note."""
        return self._reader.state()[:2]

    async def append_once(self, leaves: Sequence[Leaf]) -> list[int]:
        """The number of each leaf, once a durable signed checkpoint covers all: where a leaf is in the log already, or
        twice in here, that of the first. Raises `LogFailure`.

        Two who log the same leaf at the same time may put it in twice, but are told the same number.
        """
        distinct = {leaf.encode(): leaf for leaf in leaves}
        await asyncio.gather(*(self.append(leaf) for data, leaf in distinct.items() if self._reader.find(data) is None))
        numbers = [self._reader.find(leaf.encode()) for leaf in leaves]
        found = [number for number in numbers if number is not None]
        if len(found) != len(leaves):
            raise LogFailure("corrupt", "an entry that was appended is not there")
        return found

    def prove_inclusion(self, index: int) -> Proof:
        """That entry `index` is under the last checkpoint. Raises `NotFound("no-entry")`."""
        return self.prove_inclusions([index])[0]

    def prove_inclusions(self, indexes: Sequence[int]) -> list[Proof]:
        """That these entries are under the last checkpoint, the same one for all. Raises `NotFound("no-entry")`."""
        head, note = self.checkpoint()
        tree = Tree(self._reader.tile, head.size)
        return [_inclusion(tree, index, head, note) for index in indexes]

    def prove_consistency(self, size: int) -> Proof:
        """That the log of this size is a prefix of the last checkpoint. Raises `NotFound("no-entry")`."""
        head, note = self.checkpoint()
        return _consistency(Tree(self._reader.tile, head.size), size, head, note)

    def prove_growth(self, index: int, size: int) -> tuple[Proof, Proof]:
        """Both of these under one checkpoint. Raises `NotFound("no-entry")`."""
        head, note = self.checkpoint()
        tree = Tree(self._reader.tile, head.size)
        return _inclusion(tree, index, head, note), _consistency(tree, size, head, note)

    def entry(self, index: int) -> bytes:
        """One entry. Raises `NotFound("no-entry")`."""
        if not 0 <= index < self.checkpoint()[0].size:
            raise NotFound("no-entry", f"there is no entry {index}")
        return self._reader.entries(index, index + 1)[0]

    def tile(self, tile: Tile) -> bytes:
        """A tile or entry bundle that the last checkpoint covers. Raises `NotFound("no-tile")`."""
        if not tile.within(self.checkpoint()[0].size):
            raise NotFound("no-tile", "the log has no such tile yet")
        if tile.level is None:
            first = tile.number * WIDTH
            return bundle(self._reader.entries(first, first + tile.width))
        return self._reader.tile(tile.level, tile.number)[: 32 * tile.width]

    def close(self) -> None:
        """Sequence what is queued and close."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._reader.close()

    def _run(self, store: LogStore, sequencer: Sequencer) -> None:
        last = False
        while not last and (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < BATCH and not self._queue.empty():
                if (more := self._queue.get()) is None:
                    last = True
                    break
                batch.append(more)
            try:
                number = sequencer.sequence([pending.entry for pending in batch])
            except Exception as e:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                failure = e if isinstance(e, LogFailure) else LogFailure("storage", f"{type(e).__name__}: {e}")
                for pending in batch:
                    pending.done(failure)
            else:
                for index, pending in enumerate(batch, number):
                    pending.done(index)
        store.close()


def _inclusion(tree: Tree, index: int, head: Checkpoint, note: bytes) -> Proof:
    if not 0 <= index < head.size:
        raise NotFound("no-entry", f"the log has {head.size} entries")
    return Proof(tuple(tree.inclusion(index)), head, note)


def _consistency(tree: Tree, size: int, head: Checkpoint, note: bytes) -> Proof:
    if not 0 <= size <= head.size:
        raise NotFound("no-entry", f"the log has {head.size} entries")
    return Proof(tuple(tree.consistency(size)), head, note)
