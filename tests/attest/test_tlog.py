"""Log proofs against a naive recursive model of RFC 6962 2.1; notes and checkpoints against the C2SP examples."""

import base64
from collections.abc import Callable
from functools import cache
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import AttestError, LogError
from attest.note import NoteKey, open_note, sign_note
from attest.tlog import EMPTY_ROOT, Checkpoint, leaf_hash, open_checkpoint, verify_consistency, verify_inclusion

LARGEST = 130
ORIGIN = "example.com/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VERIFIER = NoteKey(ORIGIN, KEY.public_key().public_bytes_raw())


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


@cache
def mth(lo: int, hi: int) -> bytes:
    """MTH(D[lo:hi]) where D[i] = str(i)."""
    if hi == lo:
        return sha256(b"").digest()
    if hi - lo == 1:
        return sha256(b"\0" + str(lo).encode()).digest()
    k = lo + split(hi - lo)
    return sha256(b"\1" + mth(lo, k) + mth(k, hi)).digest()


def path(m: int, lo: int, hi: int) -> list[bytes]:
    """PATH(m, D[lo:hi]), RFC 6962 2.1.1."""
    if hi - lo == 1:
        return []
    k = split(hi - lo)
    if m < k:
        return [*path(m, lo, lo + k), mth(lo + k, hi)]
    return [*path(m - k, lo + k, hi), mth(lo, lo + k)]


def shape(m: int, n: int) -> list[bool]:
    """On which side each sibling stands, from the leaf up."""
    if n == 1:
        return []
    k = split(n)
    return [*shape(m, k), True] if m < k else [*shape(m - k, n - k), False]


def subproof(m: int, lo: int, hi: int, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[lo:hi], whole), RFC 6962 2.1.2."""
    if m == hi - lo:
        return [] if whole else [mth(lo, hi)]
    k = split(hi - lo)
    if m <= k:
        return [*subproof(m, lo, lo + k, whole), mth(lo + k, hi)]
    return [*subproof(m - k, lo + k, hi, False), mth(lo, lo + k)]


def point(size: int, root: bytes | None = None) -> Checkpoint:
    return Checkpoint(ORIGIN, size, mth(0, size) if root is None else root)


POINTS = [point(size) for size in range(LARGEST + 2)]


def holds(check: Callable[..., object], *arguments: object) -> bool:
    try:
        check(*arguments)
    except LogError:
        return False
    return True


def mutations(proof: list[bytes]) -> list[list[bytes]]:
    """Every hash flipped in one bit, dropped or doubled, every pair of neighbours swapped, and one more at each end."""
    changed = [[*proof, mth(0, 1)], [mth(0, 1), *proof], [*proof, bytes(32)]]
    for i, h in enumerate(proof):
        changed.append([*proof[:i], bytes([h[0] ^ 1]) + h[1:], *proof[i + 1 :]])
        changed.append([*proof[:i], *proof[i + 1 :]])
        changed.append([*proof[: i + 1], h, *proof[i + 1 :]])
        changed.append([*proof[:i], h[:31], *proof[i + 1 :]])
        if i + 1 < len(proof):
            changed.append([*proof[:i], proof[i + 1], h, *proof[i + 2 :]])
    return changed


def test_every_inclusion_proof_up_to_130_holds_and_no_mutation_of_it_does() -> None:
    accepted = refused = 0
    for size in range(1, LARGEST + 1):
        tree = POINTS[size]
        for index in range(size):
            leaf, proof = mth(index, index + 1), path(index, 0, size)
            verify_inclusion(leaf, index, proof, tree)
            accepted += 1
            other = mth((index + 1) % LARGEST, (index + 1) % LARGEST + 1)
            wrong = [(leaf, index, changed, tree) for changed in mutations(proof)]
            wrong += [(leaf, moved, proof, tree) for moved in (index - 1, index + 1, size, -1) if moved != index]
            wrong += [(leaf, index, proof, POINTS[s]) for s in (size - 1, size + 1)]
            wrong += [(other, index, proof, tree), (leaf[:31], index, proof, tree)]
            for case in wrong:
                assert not holds(verify_inclusion, *case), (size, index)
            refused += len(wrong)
    print(f"inclusion: {accepted} accepted, {refused} refused")
    assert accepted == LARGEST * (LARGEST + 1) // 2


def test_a_proof_is_refused_for_every_other_index_and_binds_the_size_through_the_signed_checkpoint_only() -> None:
    for size in range(1, 34):
        for index in range(size):
            leaf, proof = mth(index, index + 1), path(index, 0, size)
            for other in range(size):
                assert holds(verify_inclusion, leaf, other, proof, POINTS[size]) == (other == index)
            for claimed in range(index + 1, 35):
                # A root under a size that the log never signed with it: only a tree of another shape is noticed.
                unsigned = point(claimed, mth(0, size))
                same_shape = shape(index, claimed) == shape(index, size)
                assert holds(verify_inclusion, leaf, index, proof, unsigned) == same_shape
                if claimed != size:
                    assert not holds(verify_inclusion, leaf, index, proof, POINTS[claimed])


def test_every_consistency_proof_up_to_130_holds_and_no_mutation_of_it_does() -> None:
    accepted = refused = 0
    for new in range(1, LARGEST + 1):
        for old in range(new + 1):
            proof = subproof(old, 0, new, True) if old else []
            verify_consistency(POINTS[old], POINTS[new], proof)
            accepted += 1
            wrong = [(POINTS[old], POINTS[new], changed) for changed in mutations(proof)]
            if 0 < old < new:
                wrong += [(POINTS[new], POINTS[old], proof), (POINTS[old + 1], POINTS[new], proof)]
                wrong += [(POINTS[old], POINTS[new + 1], proof), (POINTS[old], point(new, mth(1, new + 1)), proof)]
                wrong += [
                    (point(old, mth(1, old + 1)), POINTS[new], proof),
                    (POINTS[old], POINTS[new], [*proof[::-1], b""]),
                ]
            if old == new:
                wrong.append((POINTS[old], point(new, mth(1, new + 1)), []))
            for case in wrong:
                assert not holds(verify_consistency, *case), (old, new)
            refused += len(wrong)
    print(f"consistency: {accepted} accepted, {refused} refused")


def test_the_hole_of_a_loose_tree_size_is_closed() -> None:
    """sigstore's merkle.py takes leaf 2 of three as leaf 1 of two: no signed checkpoint says so."""
    proof = path(2, 0, 3)
    verify_inclusion(mth(2, 3), 2, proof, POINTS[3])
    with pytest.raises(LogError):
        verify_inclusion(mth(2, 3), 1, proof, POINTS[2])


def test_two_logs_are_never_consistent() -> None:
    with pytest.raises(LogError, match="origin"):
        verify_consistency(point(1), Checkpoint("example.com/other", 2, mth(0, 2)), subproof(1, 0, 2, True))


def test_the_example_note_of_the_specification_reads() -> None:
    """c2sp.org/tlog-checkpoint's example: its key is not published there, so it is ignored and the note is refused."""
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
        "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    )
    with pytest.raises(LogError, match="unsigned"):
        open_note(note.encode(), [VERIFIER])
    assert Checkpoint.parse(note.partition("\n\n")[0] + "\n").size == 20852163


def test_the_go_implementation_reads_our_keys() -> None:
    """The verifier key and note of golang.org/x/mod/sumdb/note's documentation (`PeterNeumann`)."""
    key = NoteKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    note = f"{text}\n\u2014 PeterNeumann {signature}\n".encode()
    assert str(key) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert open_note(note, [key]) == text


def test_a_checkpoint_travels_as_a_note_and_a_cosignature_beside_it_is_ignored() -> None:
    note = point(5).sign(KEY)
    assert open_checkpoint(note, VERIFIER) == point(5)
    stranger = base64.b64encode(b"abcd" + bytes(72)).decode()
    assert open_checkpoint(note + f"\u2014 witness.example {stranger}\n".encode(), VERIFIER) == point(5)
    with pytest.raises(LogError, match="unsigned"):
        open_checkpoint(note, NoteKey(ORIGIN, bytes(31) + b"\1"))
    other = sign_note(Checkpoint("example.com/two", 1, mth(0, 1)).text(), ORIGIN, KEY)
    with pytest.raises(LogError, match="origin"):
        open_checkpoint(other, VERIFIER)


def test_no_byte_of_a_note_can_change() -> None:
    note = point(5).sign(KEY)
    for i in range(len(note)):
        for bit in (1, 128):
            forged = note[:i] + bytes([note[i] ^ bit]) + note[i + 1 :]
            assert not holds(open_checkpoint, forged, VERIFIER), i
    for end in range(len(note)):
        assert not holds(open_checkpoint, note[:end], VERIFIER)


ROOT = base64.b64encode(mth(0, 3)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ORIGIN}\n3\n{ROOT}",
        f"{ORIGIN}\n3\n{ROOT}\n\n",
        f"{ORIGIN}\n3\n{ROOT}\nextension\n",
        f"\n3\n{ROOT}\n",
        f"{ORIGIN}\n03\n{ROOT}\n",
        f"{ORIGIN}\n+3\n{ROOT}\n",
        f"{ORIGIN}\n-3\n{ROOT}\n",
        f"{ORIGIN}\n 3\n{ROOT}\n",
        f"{ORIGIN}\n\u0663\n{ROOT}\n",
        f"{ORIGIN}\n9007199254740992\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{ORIGIN}\n3\n{ROOT[:-1]}\n",
        f"{ORIGIN}\n3\n{ROOT.replace('=', '')}\n",
        f"{ORIGIN}\n3\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\r\n3\n{ROOT}\n",
        f"{'o' * 256}\n3\n{ROOT}\n",
    ],
)
def test_a_checkpoint_has_one_spelling(text: str) -> None:
    with pytest.raises(LogError, match="malformed"):
        Checkpoint.parse(text)


def test_the_empty_tree_has_its_root() -> None:
    assert Checkpoint.parse(f"{ORIGIN}\n0\n{base64.b64encode(EMPTY_ROOT).decode()}\n").size == 0
    assert leaf_hash(b"0") == mth(0, 1)


@given(st.text())
def test_only_our_errors_come_out_of_the_text_parsers(text: str) -> None:
    assert_malformed(Checkpoint.parse, text)
    assert_malformed(NoteKey.parse, text)
    assert_malformed(sign_note, text, ORIGIN, KEY)
    assert_malformed(NoteKey, text, bytes(32))


def assert_malformed(parse: Callable[..., object], *arguments: object) -> None:
    code = "malformed"
    try:
        parse(*arguments)
    except AttestError as e:
        code = e.code
    assert code == "malformed"


@given(st.binary() | st.text().map(lambda t: t.encode("utf-8", "surrogatepass")), st.binary(max_size=90))
def test_only_our_errors_come_out_of_the_note_parser(data: bytes, tail: bytes) -> None:
    signature = base64.b64encode(VERIFIER.key_id + tail)
    for note in (data, data + b"\n\n\xe2\x80\x94 " + ORIGIN.encode() + b" " + signature + b"\n"):
        with pytest.raises(AttestError):
            open_note(note, [VERIFIER])


@given(st.integers(-3, 200), st.integers(0, 200), st.lists(st.binary(min_size=30, max_size=33), max_size=9))
def test_random_proofs_are_refused(index: int, size: int, proof: list[bytes]) -> None:
    tree = point(min(size, LARGEST))
    if tree.size > 1 or index != 0 or proof:
        with pytest.raises(LogError):
            verify_inclusion(mth(0, 1) if index else bytes(32), index, proof, tree)
