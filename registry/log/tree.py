"""The Merkle tree over tiles: pure functions of whatever reads a tile. RFC 9162 2.1, tiles of 256 hashes."""

from collections.abc import Callable, Iterable

from attest.tlog import EMPTY_ROOT, node_hash
from registry.errors import LogFailure
from registry.log.tiles import WIDTH

Read = Callable[[int, int], bytes]
"""(level, number) to the hashes of that tile so far; empty where there is none."""


class Tree:
    """The first `size` leaves. Tiles are read once each, so make a new one for each question.

    Raises `LogFailure("corrupt")` where a hash that must be there is not.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read, self.size = read, size
        self._tiles: dict[tuple[int, int], bytes] = {}
        # Hashes of ranges, since the proofs of a batch share most of theirs.
        self._ranges: dict[tuple[int, int], bytes] = {}

    def root(self) -> bytes:
        """The Merkle tree hash."""
        return self._range(0, self.size) if self.size else EMPTY_ROOT

    def inclusion(self, index: int) -> list[bytes]:
        """The proof that leaf `index` is in the tree (RFC 9162 2.1.3.1)."""
        low, high, proof = 0, self.size, list[bytes]()
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low = middle
        return proof[::-1]

    def consistency(self, old: int) -> list[bytes]:
        """The proof that the first `old` leaves are where they were (RFC 9162 2.1.4.1); empty for 0 and for all."""
        if old in (0, self.size):
            return []
        low, high, proof, whole = 0, self.size, list[bytes](), True
        while old - low != high - low:
            middle = low + _split(high - low)
            if old <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low, whole = middle, False
        return ([] if whole else [self._range(low, high)]) + proof[::-1]

    def _range(self, low: int, high: int) -> bytes:
        """The hash of leaves [low, high); `low` is a multiple of a power of two no less than their number."""
        if (known := self._ranges.get((low, high))) is not None:
            return known
        count = high - low
        if count & (count - 1) == 0:
            value = self._node(count.bit_length() - 1, low >> (count.bit_length() - 1))
        else:
            middle = low + _split(count)
            value = node_hash(self._range(low, middle), self._range(middle, high))
        self._ranges[low, high] = value
        return value

    def _node(self, height: int, index: int) -> bytes:
        level, rest = divmod(height, 8)
        number, offset = divmod(index << rest, WIDTH)
        if (level, number) not in self._tiles:
            self._tiles[level, number] = self._read(level, number)
        hashes = self._tiles[level, number][32 * offset : 32 * (offset + (1 << rest))]
        if len(hashes) != 32 << rest:
            raise LogFailure("corrupt", f"tile {level}/{number} lacks hashes that the tree needs")
        return _perfect(hashes)


def extend(read: Read, size: int, leaves: Iterable[bytes]) -> dict[tuple[int, int], bytes]:
    """Each tile that changes when a tree of `size` gets these leaf hashes, whole. Raises `LogFailure("corrupt")`."""
    tiles: dict[tuple[int, int], bytearray] = {}

    def append(level: int, index: int, value: bytes) -> None:
        number, offset = divmod(index, WIDTH)
        if (level, number) not in tiles:
            tiles[level, number] = bytearray(read(level, number)[: 32 * offset])  # others may be ahead already
        tile = tiles[level, number]
        if len(tile) != 32 * offset:
            raise LogFailure("corrupt", f"tile {level}/{number} holds {len(tile) // 32} hashes, not {offset}")
        tile += value
        if offset == WIDTH - 1:
            append(level + 1, number, _perfect(bytes(tile)))

    for index, leaf in enumerate(leaves, size):
        append(0, index, leaf)
    return {place: bytes(tile) for place, tile in tiles.items()}


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _perfect(hashes: bytes) -> bytes:
    while len(hashes) > 32:
        hashes = b"".join(node_hash(hashes[i : i + 32], hashes[i + 32 : i + 64]) for i in range(0, len(hashes), 64))
    return hashes
