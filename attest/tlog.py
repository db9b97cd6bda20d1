"""The transparency log as its readers see it: Merkle hashing and proofs (RFC 9162 2.1), c2sp.org/tlog-checkpoint.

A proof says nothing about a tree's size, so size and root travel as one `Checkpoint`, and it is the log's signature
over both that proofs are checked against.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.encoding import Fields, b64encode, same
from attest.errors import LogError
from attest.note import NoteKey, open_note, sign_note

EMPTY_ROOT = sha256(b"").digest()
MAX_SIZE = 2**53
MAX_ORIGIN = 255
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


def leaf_hash(entry: bytes) -> bytes:
    """The Merkle hash of one entry (RFC 9162 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The Merkle hash of an inner node (RFC 9162 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One state of one log. Raises `LogError("malformed")` where no log could be in it."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.origin) <= MAX_ORIGIN or any(c < " " for c in self.origin):
            raise LogError("malformed", "a checkpoint needs an origin on one line")
        if not 0 <= self.size < MAX_SIZE or len(self.root) != 32:
            raise LogError("malformed", "a checkpoint needs a size below 2^53 and a root of 32 bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise LogError("malformed", "the empty tree has one root only")

    def text(self) -> str:
        """The note text: three lines. This log writes no extension lines."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read `text()` strictly; raises `LogError("malformed")`, for extension lines too: nobody audits them."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not _SIZE.fullmatch(lines[1]):
            raise LogError("malformed", "a checkpoint is three lines: origin, size, root")
        root = Fields({"root": lines[2]}, "the checkpoint", LogError).base64("root", maximum=32)
        return cls(lines[0], int(lines[1]), root)

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """The signed note; the key's name is the origin."""
        return sign_note(self.text(), self.origin, key)


def open_checkpoint(note: bytes, log: NoteKey) -> Checkpoint:
    """The checkpoint, if this log signed it: key name and origin are the same. Raises `LogError` as `open_note` does,
    and `origin` where the key signed for another log.
    """
    checkpoint = Checkpoint.parse(open_note(note, [log]))
    if checkpoint.origin != log.name:
        raise LogError("origin", f"a checkpoint of {checkpoint.origin[:80]!r}, not of {log.name[:80]!r}")
    return checkpoint


def verify_inclusion(leaf: bytes, index: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> None:
    """Check that the entry with this leaf hash is number `index` of the tree (RFC 9162 2.1.3.2).

    Raises `LogError("inclusion")`.
    """
    if not 0 <= index < checkpoint.size or not _hashes([leaf, *proof]):
        raise LogError("inclusion", f"no entry {index} in a tree of {checkpoint.size}, or a hash is not 32 bytes")
    fn, sn, root = index, checkpoint.size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise LogError("inclusion", "the proof is too long")
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            fn, sn = _skip(fn, sn)
        else:
            root = node_hash(root, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or not same(root, checkpoint.root):
        raise LogError("inclusion", "the proof does not lead to the checkpoint's root")


def verify_consistency(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Check that `new` holds all of `old` in the same order, and only then more (RFC 9162 2.1.4.2).

    Raises `LogError`: `origin` (two logs), `consistency`.
    """
    if old.origin != new.origin:
        raise LogError("origin", "the checkpoints are of two logs")
    if old.size > new.size or not _hashes(proof):
        raise LogError("consistency", "the tree became smaller, or a hash is not 32 bytes")
    if old.size in (0, new.size):
        if proof or (old.size and not same(old.root, new.root)):
            raise LogError("consistency", "two trees of one size, or a proof where none is needed")
        return
    path = [old.root, *proof] if old.size & (old.size - 1) == 0 else list(proof)
    if not path:
        raise LogError("consistency", "the proof is missing")
    fn, sn = old.size - 1, new.size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_root = new_root = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise LogError("consistency", "the proof is too long")
        if fn & 1 or fn == sn:
            old_root, new_root = node_hash(sibling, old_root), node_hash(sibling, new_root)
            fn, sn = _skip(fn, sn)
        else:
            new_root = node_hash(new_root, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or not same(old_root, old.root) or not same(new_root, new.root):
        raise LogError("consistency", "the proof does not join the two roots")


def _skip(fn: int, sn: int) -> tuple[int, int]:
    while fn and not fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == 32 for value in values)
