"""A program says what each of its public inputs is, or cannot be registered."""

from collections.abc import Mapping
from typing import Any

import pytest

from attest.canonical import canonical
from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.field import R
from attest.program import MAX_BYTES, Program
from attest.signals import Commitment, load_signals
from tests.attest.zk.minted import CALL, PLAIN, PLAIN_SIGNALS, SETUP, SIGNALS, program, zkvm

HALF = R >> 1
SIGNALS_REFUSED: list[Any] = [
    1,
    {},
    {"call": False},
    {"call": True, "more": 1},
    {"constant": 1},
    {"constant": str(R)},
    {"constant": "-1"},
    {"constant": "01"},
    {"value": "/result/y"},
    {"value": "/result/y", "range": [1]},
    {"value": "/result/y", "range": [2, 1]},
    {"value": "/result/y", "range": [False, 1]},
    {"value": "/result/y", "range": [-HALF - 1, 0]},
    {"value": "/result/y", "range": [0, HALF + 1]},
    {"value": "/result/y", "range": [0, 1], "count": 0},
    {"value": "/other/y", "range": [0, 1]},
    {"value": "result/y", "range": [0, 1]},
    {"value": "", "range": [0, 1]},
    {"given": "a", "range": [0, R]},
    {"given": "a", "range": [-1, 1]},
    {"commitment": "/arguments/x", "count": 3, "bits": 15, "salt": "/arguments/salt"},
    {"commitment": "/arguments/x", "count": 0, "bits": 15, "salt": "/arguments/salt", "tag": 2},
    {"commitment": "/arguments/x", "count": 3, "bits": 65, "salt": "/arguments/salt", "tag": 2},
    {"commitment": "/arguments/x", "count": 3, "bits": 15, "salt": "salt", "tag": 2},
    {"commitment": "/arguments/x", "count": 1 << 20, "bits": 15, "salt": "/arguments/salt", "tag": 2},
]


@pytest.mark.parametrize("told", SIGNALS_REFUSED, ids=str)
def test_a_public_input_that_is_none_is_refused(told: Any) -> None:
    with pytest.raises(EvidenceError) as e:
        load_signals([told])
    assert e.value.code == "malformed"


def test_public_inputs_are_read_back() -> None:
    for signals in (SIGNALS, PLAIN_SIGNALS):
        assert load_signals([signal.to_json() for signal in signals]) == signals


CHANGES: list[tuple[Mapping[str, Any], str]] = [
    ({"format": "https://etmcp.com/zk-program/v2"}, "malformed"),
    ({"scheme": "stark"}, "malformed"),
    ({"identity": "00"}, "malformed"),
    ({"identity": SETUP.key.digest.upper()}, "malformed"),
    ({"publicInputs": [signal.to_json() for signal in SIGNALS[1:]]}, "malformed"),
    ({"verifyingKey": PLAIN.key.to_snarkjs()}, "malformed"),
    ({"verifyingKey": None}, "malformed"),
    ({"verifyingKey": {**SETUP.key.to_snarkjs(), "curve": "bls12381"}}, "unsupported"),
    ({"verifyingKey": {"protocol": "plonk", "curve": "bn128", "nPublic": 1, "power": 3}}, "unsupported"),
    ({"verifyingKey": {"nPublic": 1}}, "malformed"),
    ({"verifyingKey": {**SETUP.key.to_snarkjs(), "nPublic": 6}}, "malformed"),
    ({"journal": {"call": 0, "arguments": 32, "result": 64}}, "malformed"),
]


@pytest.mark.parametrize(("change", "code"), CHANGES, ids=range(len(CHANGES)))
def test_a_program_of_another_form_is_refused(change: Mapping[str, Any], code: str) -> None:
    with pytest.raises(EvidenceError) as e:
        Program.decode(canonical(program().to_json() | dict(change)))
    assert e.value.code == code


def test_p14_a_program_commits_to_no_more_than_can_be_hashed_quickly() -> None:
    told = [Commitment(f"/arguments/{name}", 256, 32, "/arguments/salt", 1).to_json() for name in "abc"]
    assert load_signals(told[:2])
    with pytest.raises(EvidenceError, match="16384 bits"):
        load_signals(told)


def test_an_unknown_scheme_is_unsupported() -> None:
    told = zkvm("risc0").to_json() | {"scheme": "stark"}
    with pytest.raises(EvidenceError) as e:
        Program.from_json(told)
    assert e.value.code == "unsupported"


def test_a_vkey_below_r_only() -> None:
    with pytest.raises(EvidenceError, match="canonical"):
        Program("sp1", R.to_bytes(32, "big").hex(), "ceremony")
    assert Program("risc0", "ff" * 32, "ceremony")


def test_what_is_no_json_or_too_long_is_refused() -> None:
    for data in (b"", b"{", b"[" * 100, b" " * (MAX_BYTES + 1), b'{"format":1,"format":2}'):
        with pytest.raises(EvidenceError) as e:
            Program.decode(data)
        assert e.value.code == "malformed"


def test_what_a_program_binds_follows_from_its_inputs() -> None:
    assert program().binds
    assert not program(PLAIN_SIGNALS, PLAIN).binds
    assert zkvm("risc0").binds
    assert not zkvm("risc0", None).binds
    assert "/result/y" in program().covers


def test_the_facts_of_a_call_come_from_its_receipt() -> None:
    params = canonical({"name": "score", "arguments": CALL.arguments})
    result = canonical({"content": [], "structuredContent": CALL.result})
    assert CallFacts.of(CALL.call_id.hex(), params, result) == CALL
    for nonce, asked, answered in (
        ("00", params, result),
        (CALL.call_id.hex(), b"[]", result),
        (CALL.call_id.hex(), params, canonical({"content": []})),
    ):
        with pytest.raises(EvidenceError) as e:
            CallFacts.of(nonce, asked, answered)
        assert e.value.code == "malformed"


@pytest.mark.parametrize(
    "path", ["/result/y/2", "/result/y/-1", "/result/y/00", "/result/z", "/result/y/0/0", "/other"]
)
def test_a_pointer_leads_to_one_value_or_nowhere(path: str) -> None:
    assert CALL.at("/result/y/1") == 9
    assert CallFacts(b"", {"a/b": {"~": 1}}, None).at("/arguments/a~1b/~0") == 1
    with pytest.raises(EvidenceError) as e:
        CALL.at(path)
    assert e.value.code == "binding"
