"""The auditor: reads a log as a stranger would, from checkpoint, tiles and bundles alone, and recomputes all of it."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.tlog import EMPTY_ROOT, Checkpoint, leaf_hash, node_hash, open_checkpoint
from registry.log.leaf import Leaf
from registry.log.log import Log
from registry.log.tiles import WIDTH, Tile


def naive_root(hashes: list[bytes]) -> bytes:
    """The root by folding level on level; an odd last one rises as it is (equal to RFC 6962 2.1)."""
    while len(hashes) > 1:
        pairs = [node_hash(*hashes[i : i + 2]) for i in range(0, len(hashes) - 1, 2)]
        hashes = pairs + hashes[len(hashes) // 2 * 2 :]
    return hashes[0] if hashes else EMPTY_ROOT


def tiles_of(size: int) -> list[Tile]:
    """Every tile that a tree of this size has, entry bundles included."""
    found: list[Tile] = []
    for level in (None, *range(8)):
        count = size >> (8 * (level or 0))
        found += [Tile(level, n) for n in range(count // WIDTH)]
        if count % WIDTH:
            found.append(Tile(level, count // WIDTH, count % WIDTH))
    return found


def unbundle(data: bytes) -> list[bytes]:
    """The entries of a bundle."""
    entries: list[bytes] = []
    while data:
        length = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    return entries


def audit(path: Path, key: Ed25519PrivateKey) -> Checkpoint:
    """Fail unless checkpoint, every tile and every entry agree."""
    log = Log(path, key)
    try:
        checkpoint, note = log.checkpoint()
        assert open_checkpoint(note, log.verifier) == checkpoint
        entries: list[bytes] = []
        levels: dict[int, list[bytes]] = {}
        for tile in tiles_of(checkpoint.size):
            data = log.tile(Tile.parse(tile.path()))
            if tile.level is None:
                entries += unbundle(data)
            else:
                assert len(data) == 32 * tile.width
                levels.setdefault(tile.level, []).extend(data[i : i + 32] for i in range(0, len(data), 32))
        assert len(entries) == checkpoint.size
        assert all(Leaf.decode(entry).encode() == entry for entry in entries)
        expected = [leaf_hash(entry) for entry in entries]
        assert naive_root(expected) == checkpoint.root
        level = 0
        while expected:
            assert levels[level] == expected
            full = range(0, len(expected) // WIDTH * WIDTH, WIDTH)
            expected = [naive_root(expected[i : i + WIDTH]) for i in full]
            level += 1
        return checkpoint
    finally:
        log.close()
