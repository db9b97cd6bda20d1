"""Tiles, proofs, faults in pairs, two sequencers on one file, and what the log refuses to sign."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Message

from attest.tlog import Checkpoint, leaf_hash, open_checkpoint, verify_consistency, verify_inclusion
from registry.errors import LogFailure, NotFound, Refused
from registry.log.app import routes
from registry.log.leaf import Leaf
from registry.log.log import Log
from registry.log.sequencer import Sequencer
from registry.log.store import LogStore
from registry.log.tiles import Tile
from registry.log.tree import Tree, extend
from tests.registry.log.audit import audit, naive_root, tiles_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "example.com/log"


def leaf(n: int) -> Leaf:
    return Leaf("receipt", sha256(b"%d" % n).hexdigest())


def entries(low: int, high: int) -> list[bytes]:
    return [leaf(n).encode() for n in range(low, high)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    Log.create(path, ORIGIN, KEY)
    return path


def sequencer(store: LogStore) -> Sequencer:
    return Sequencer(store, lambda checkpoint: checkpoint.sign(KEY), lambda _checkpoint, _note: None)


def test_proofs_from_tiles_hold_for_every_size_and_tiles_are_those_of_the_specification() -> None:
    """Sizes to 130 in full; then across the first tile borders; then the specification's own example of 70,000."""
    hashes = [leaf_hash(b"%d" % n) for n in range(70_000)]
    tiles: dict[tuple[int, int], bytes] = {}

    def read(level: int, number: int) -> bytes:
        return tiles.get((level, number), b"")

    points = [Checkpoint(ORIGIN, 0, Tree(read, 0).root())]
    for size in range(1, 131):
        tiles.update(extend(read, size - 1, hashes[size - 1 : size]))
        tree = Tree(read, size)
        points.append(Checkpoint(ORIGIN, size, naive_root(hashes[:size])))
        assert tree.root() == points[size].root
        for n in range(size):
            verify_inclusion(hashes[n], n, tree.inclusion(n), points[size])
            verify_consistency(points[n], points[size], tree.consistency(n))
    old = points[-1]
    for size in (255, 256, 257, 511, 513, 65_535, 65_536, 65_537, 70_000):
        tiles.update(extend(read, old.size, hashes[old.size : size]))
        new = Checkpoint(ORIGIN, size, naive_root(hashes[:size]))
        assert Tree(read, size).root() == new.root
        verify_consistency(old, new, Tree(read, size).consistency(old.size))
        for n in (0, 255, old.size - 1, old.size, size - 1):
            if n < size:
                verify_inclusion(hashes[n], n, Tree(read, size).inclusion(n), new)
        old = new
    widths = {(t.level, t.width): 0 for t in tiles_of(70_000)}
    for t in tiles_of(70_000):
        widths[t.level, t.width] += 1
        assert t.level is None or len(read(t.level, t.number)) == 32 * t.width
    assert widths == {(None, 256): 273, (None, 112): 1, (0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(None, 1234, 7), "tile/entries/x001/234.p/7"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
    ],
)
def test_a_tile_has_one_path(tile: Tile, path: str) -> None:
    assert tile.path() == path
    assert Tile.parse(path) == tile


@given(st.text(alphabet="tile/entrisx0123456789.p/", max_size=40) | st.text(max_size=20), st.booleans())
def test_other_paths_are_not_found(text: str, prefixed: bool) -> None:
    text = f"tile/{text}" if prefixed else text
    try:
        assert Tile.parse(text).path() == text
    except NotFound as e:
        assert e.code == "no-tile"  # noqa: PT017


@given(st.binary(max_size=200) | st.text().map(lambda t: b'{"digest":"' + t.encode("utf-8", "replace") + b'"}'))
def test_only_refusals_come_out_of_the_leaf_parser(data: bytes) -> None:
    with pytest.raises(Refused, match="malformed-leaf"):
        Leaf.decode(data)


def test_a_leaf_holds_digests_only_and_has_a_size() -> None:
    digest = "0" * 64
    assert Leaf.decode(Leaf("manifest", digest, {"key": digest}).encode()).also == {"key": digest}
    many = {f"a{n}": digest for n in range(900)}
    for bad in (lambda: Leaf("receipt", "0" * 63), lambda: Leaf("R", digest), lambda: Leaf("r", digest, {"x": "Bob"})):
        with pytest.raises(Refused, match="malformed-leaf"):
            bad()
    with pytest.raises(Refused, match="oversized-leaf"):
        Leaf("receipt", digest, many)


@pytest.mark.anyio
async def test_concurrent_appends_get_distinct_numbers_and_every_one_is_proven(path: Path) -> None:
    seen: list[int] = []
    log = Log(path, KEY, lambda checkpoint, _: seen.append(checkpoint.size))
    numbers = await asyncio.gather(*(log.append(leaf(n)) for n in range(600)))
    assert sorted(numbers) == list(range(600))
    for n, number in enumerate(numbers):
        proof = log.prove_inclusion(number)
        assert open_checkpoint(proof.note, log.verifier) == proof.checkpoint
        verify_inclusion(leaf_hash(leaf(n).encode()), number, proof.hashes, proof.checkpoint)
    assert seen == sorted(set(seen))
    assert len(seen) < 20, "appends that wait together share a checkpoint"
    for outside in (-1, 600):
        with pytest.raises(NotFound):
            log.prove_inclusion(outside)
    log.close()
    with pytest.raises(LogFailure, match="closed"):
        await log.append(leaf(0))
    assert audit(path, KEY).size == 600


class Faulty(LogStore):
    """A store whose next effect fails before or after it took place."""

    fail: str = ""

    def _around(self, name: str, effect: Callable[[], None]) -> None:
        if self.fail == f"{name}-and-not-persist":
            raise LogFailure("storage", "as told")
        effect()
        if self.fail == f"{name}-but-persist":
            raise LogFailure("storage", "as told")

    def stage(
        self, head: Checkpoint, entries: list[bytes], tiles: Mapping[tuple[int, int], bytes], tree: Checkpoint
    ) -> None:
        self._around("stage", lambda: super(Faulty, self).stage(head, entries, tiles, tree))

    def swap(self, head: Checkpoint, tree: Checkpoint, note: bytes) -> None:
        self._around("swap", lambda: super(Faulty, self).swap(head, tree, note))


@pytest.mark.parametrize(
    ("fault", "size"),
    [("stage-and-not-persist", 3), ("stage-but-persist", 5), ("swap-and-not-persist", 5), ("swap-but-persist", 5)],
)
def test_what_failed_half_way_is_finished_or_gone_but_never_replaced(path: Path, fault: str, size: int) -> None:
    store = Faulty(path)
    assert sequencer(store).sequence(entries(0, 3)) == 0
    store.fail = fault
    with pytest.raises(LogFailure, match="as told"):
        sequencer(store).sequence(entries(3, 5))
    store.fail = ""
    assert sequencer(store).recover().size == size
    assert audit(path, KEY).size == size
    assert sequencer(store).sequence(entries(9, 10)) == size
    store.close()
    assert audit(path, KEY).size == size + 1


def test_a_signature_made_in_vain_is_made_again_over_the_same_tree(path: Path) -> None:
    store, signed = Faulty(path), list[Checkpoint]()

    def sign(checkpoint: Checkpoint) -> bytes:
        signed.append(checkpoint)
        return checkpoint.sign(KEY)

    store.fail = "swap-and-not-persist"
    with pytest.raises(LogFailure):
        Sequencer(store, sign, lambda _c, _n: None).sequence(entries(0, 2))
    store.fail = ""
    assert Sequencer(store, sign, lambda _c, _n: None).sequence(entries(50, 51)) == 2
    store.close()
    assert signed[0] == signed[1]
    assert [c.size for c in signed] == [2, 2, 3]


def test_two_sequencers_on_one_file_finish_each_others_work(path: Path) -> None:
    one, two = Faulty(path), LogStore(path)
    first, second = sequencer(one), sequencer(two)
    for n in range(0, 40, 4):
        one.fail = "stage-but-persist" if n % 8 else ""
        if one.fail:
            with pytest.raises(LogFailure):
                first.sequence(entries(n, n + 2))
        else:
            first.sequence(entries(n, n + 2))
        assert second.sequence(entries(n + 2, n + 4)) == n + 2
    one.close()
    two.close()
    assert audit(path, KEY).size == 40


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tiles SET data = zeroblob(length(data)) WHERE level = 0",
        "UPDATE tiles SET data = substr(data, 1, 32)",
        "UPDATE entries SET data = x'00' WHERE number = 4",
        "DELETE FROM entries WHERE number = 4",
        "UPDATE staged SET root = zeroblob(32)",
        "UPDATE staged SET size = 2",
        "UPDATE head SET size = 4",
    ],
)
def test_a_damaged_log_signs_nothing(path: Path, damage: str) -> None:
    store = Faulty(path)
    sequencer(store).sequence(entries(0, 3))
    store.fail = "stage-but-persist"
    with pytest.raises(LogFailure):
        sequencer(store).sequence(entries(3, 6))
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    signed: list[Checkpoint] = []

    def sign(checkpoint: Checkpoint) -> bytes:
        signed.append(checkpoint)
        return b""

    with pytest.raises(LogFailure, match="corrupt"):
        Sequencer(store, sign, lambda _c, _n: None).sequence(entries(9, 10))
    store.close()
    assert not signed
    with pytest.raises(LogFailure, match="corrupt"):
        Log(path, KEY)


def test_a_log_is_made_once_and_opened_with_its_own_key_only(path: Path, tmp_path: Path) -> None:
    with pytest.raises(LogFailure, match="conflict"):
        Log.create(path, ORIGIN, KEY)
    with pytest.raises(LogFailure, match="wrong-log"):
        Log(path, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(LogFailure, match="no-log"):
        Log(tmp_path / "other.db", KEY)


@pytest.mark.anyio
async def test_checkpoint_and_tiles_are_served_as_static_resources(path: Path) -> None:
    log = Log(path, KEY)
    await asyncio.gather(*(log.append(leaf(n)) for n in range(300)))
    app = Starlette(routes=routes(log))
    status, headers, body = await get(app, "/checkpoint")
    assert (status, headers[b"content-type"]) == (200, b"text/plain; charset=utf-8")
    assert open_checkpoint(body, log.verifier).size == 300
    status, headers, body = await get(app, "/tile/0/001.p/44")
    assert (status, len(body), b"immutable" in headers[b"cache-control"]) == (200, 44 * 32, True)
    status, _, body = await get(app, "/tile/entries/000")
    assert status == 200
    assert body[2 : 2 + int.from_bytes(body[:2], "big")] == log.entry(0)
    for absent in ("/tile/0/001", "/tile/0/001.p/45", "/tile/0/1", "/tile/2/000.p/1", "/tile/entries/../checkpoint"):
        assert (await get(app, absent))[0] == 404
    log.close()


async def get(app: Starlette, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """One GET without a network."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    raw, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": raw,
        "raw_path": raw.encode(),
        "headers": [],
        "root_path": "",
    }
    await app({**scope, "query_string": query.encode()}, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body
