"""Whatever goes into the parsers of proofs, only the errors of `attest` come out."""

import json
from contextlib import suppress
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from attest.cases_zk import judge
from attest.denylist import DEFAULT
from attest.errors import EvidenceError, PolicyError
from attest.facts import CallFacts
from attest.groth16.pairing import fastest
from attest.program import Program
from attest.proof import Proof, check_proof
from tests.attest.zk.minted import CALL, NOW, SETUP, plain_proof, program, proof, zkvm

FAST = fastest()
KINDS = st.sampled_from(["risc0", "sp1", "sp1-plonk", "groth16-snarkjs", "semaphore", "receipt", "other"])
NUMBERS = st.integers(-(1 << 300), 1 << 300)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False) | st.text(max_size=20) | NUMBERS.map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HEX = st.binary(max_size=400).map(lambda data: "0x" + data.hex())
SEAL = HEX | st.binary(max_size=356).map(lambda data: "0x73c457ba" + data.hex() + "00" * (256 - len(data)))
POINTS = json.loads(
    json.dumps({"pi_a": ["1", "2", "1"], "pi_b": SETUP.key.to_snarkjs()["vk_beta_2"], "pi_c": ["1", "2"]})
)
CASES: list[Any] = [
    {"seal": "0x73c457ba" + proof().proof.hex(), "journal": "0x", "image_id": "11" * 32},
    {"proof": "0x4388a21c" + "00" * 96 + proof().proof.hex(), "publicValues": "0x", "vkey": "00" * 32},
    {"vk": SETUP.key.to_snarkjs(), "proof": POINTS, "public": ["1"] * 5},
    {
        "vk": SETUP.key.to_snarkjs(),
        "proof": {"merkleTreeRoot": "1", "nullifier": "2", "message": "3", "scope": "4", "points": ["1"] * 8},
    },
    {
        "receipt": {"call": "00", "args": {"x": [1], "salt": 1}, "result": {"y": [1, 2]}, "proof": proof().proof.hex()},
        "vk": SETUP.key.to_snarkjs(),
        "public": ["1"] * 5,
    },
]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all parts of a document."""
    found = [path]
    members = cast(dict[Any, Any], value).items() if isinstance(value, dict) else ()
    items = enumerate(cast(list[Any], value)) if isinstance(value, list) else ()
    for name, inner in (*members, *items):
        found += leaves(inner, (*path, name))
    return found


def with_part(value: Any, path: tuple[str | int, ...], part: Any) -> Any:
    """The document with another part in this place."""
    if not path:
        return part
    if isinstance(value, dict):
        members = cast(dict[Any, Any], value)
        return members | {path[0]: with_part(members[path[0]], path[1:], part)}
    items = list(cast(list[Any], value))
    items[cast(int, path[0])] = with_part(items[cast(int, path[0])], path[1:], part)
    return items


def nearly(document: Any) -> st.SearchStrategy[Any]:
    """The document with another value in one place."""
    places = st.sampled_from(leaves(document))
    return st.tuples(places, JSON | SEAL).map(lambda change: with_part(document, *change))


@settings(max_examples=300, deadline=None)
@given(KINDS, JSON | st.one_of(*map(nearly, CASES)))
def test_a_case_always_gets_a_verdict(kind: str, document: Any) -> None:
    verdict, code, reason = judge(kind, document, pairing=FAST)
    assert verdict in {"INVALID", "UNSUPPORTED", "VALID"} or verdict.startswith("REJECTED_BY_POLICY(")
    assert (verdict == "VALID") == (code == "")
    assert reason


@settings(max_examples=150, deadline=None)
@given(st.one_of(*(nearly(made.to_json()) for made in (program(), zkvm("risc0")))))
def test_a_program_is_one_or_is_refused(document: Any) -> None:
    with suppress(EvidenceError):
        assert Program.from_json(document).encode()


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300)
    | st.one_of(*(nearly(made.to_json()) for made in (proof(), plain_proof()))).map(
        lambda document: json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    )
)
def test_a_proof_is_one_or_is_refused(data: bytes) -> None:
    with suppress(EvidenceError):
        made = Proof.decode(data)
        assert made.encode() == data
        assert check_proof(made, program(), CALL, denylist=DEFAULT, pairing=FAST, now=NOW).bound


@settings(max_examples=100, deadline=None)
@given(JSON, JSON, st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_the_call_was_a_proof_is_held_against_it(arguments: Any, result: Any, a: bytes, b: bytes) -> None:
    with suppress(EvidenceError):
        check_proof(proof(), program(), CallFacts(a, arguments, result), denylist=DEFAULT, pairing=FAST, now=NOW)
        raise AssertionError("a proof of another call passed")
    with suppress(EvidenceError):
        CallFacts.of("00" * 32, a, b)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_denylist_is_one_or_is_refused(data: bytes) -> None:
    with suppress(PolicyError):
        DEFAULT.newest(data, [bytes(32)])
