"""Real proofs of RISC Zero, SP1, snarkjs and Semaphore get the verdict that they are known to deserve."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from attest.canonical import parse
from attest.cases_zk import agrees, judge
from attest.denylist import Denylist
from attest.groth16.pairing import fastest, pure

FAST = fastest()
TRIED = 80 if FAST.name == "arkworks" else 4
"""Hex digits of each journal, about, of whose bytes one is flipped: each costs a pairing; py-ecc makes two a second."""
HEX = ("seal", "journal", "image_id", "proof", "publicValues", "vkey")


@cache
def manifest(folder: Path) -> list[tuple[Mapping[str, Any], Any]]:
    told = cast(list[dict[str, Any]], json.loads((folder / "manifest.json").read_text()))
    return [(case, parse((folder / case["file"]).read_bytes())) for case in told]


@pytest.fixture
def cases(shared: Path) -> list[tuple[Mapping[str, Any], Any]]:
    return manifest(shared / "data/zk")


def wrong(cases: list[tuple[Mapping[str, Any], Any]], change: Any = None) -> list[tuple[str, str, object]]:
    """The cases whose verdict is another one."""
    found: list[tuple[str, str, object]] = []
    for case, document in cases:
        verdict = judge(case["kind"], change(document) if change else document, pairing=FAST)
        if not agrees(case["expected"]["final"], verdict[0]):
            found.append((case["file"], case["expected"]["final"], verdict))
    return found


def test_each_case_gets_its_expected_verdict(cases: list[tuple[Mapping[str, Any], Any]]) -> None:
    assert len(cases) >= 28
    assert not wrong(cases)


def test_both_pairings_give_each_case_the_same_verdict(cases: list[tuple[Mapping[str, Any], Any]]) -> None:
    told = [(case["kind"], document) for case, document in cases]
    slow = pure()
    assert [judge(*one, pairing=slow) for one in told] == [judge(*one, pairing=FAST) for one in told]


def respelt(value: Any) -> Any:
    """The same in another spelling: members in another order, numbers as hex or integers, hex in capitals."""
    match value:
        case dict():
            members = cast(dict[str, Any], value).items()
            return {
                name: member.removeprefix("0x").upper() if name in HEX and isinstance(member, str) else respelt(member)
                for name, member in reversed(members)
            }
        case list():
            return [respelt(item) for item in cast(list[Any], value)]
        case str() if value.isdecimal() and len(value) % 2:
            return int(value)
        case str() if value.isdecimal():
            return hex(int(value)).upper()
        case int() if value > 1 << 53:
            return str(value)  # as whoever keeps such numbers in doubles has to write it
        case _:
            return value


def test_another_spelling_gets_the_same_verdict(cases: list[tuple[Mapping[str, Any], Any]]) -> None:
    assert not wrong(cases, respelt)


def test_what_a_case_says_besides_changes_nothing(cases: list[tuple[Mapping[str, Any], Any]]) -> None:
    def told(document: Any) -> Any:
        return document | {"note": "VALID", "expected": {"final": "VALID"}}

    assert not wrong(cases, told)


def flips(data: str, stride: int) -> Iterator[str]:
    """Hex with one bit flipped, at each `stride`th byte and the last."""
    raw = bytes.fromhex(data.removeprefix("0x"))
    for at in sorted({*range(0, len(raw), stride), len(raw) - 1}):
        yield (raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).hex()


def test_no_flipped_byte_survives(cases: list[tuple[Mapping[str, Any], Any]]) -> None:
    survived: list[tuple[str, str]] = []
    for case, document in cases:
        if case["expected"]["final"] != "VALID" or case["kind"] not in ("risc0", "sp1"):
            continue
        for name in {*HEX} & document.keys():
            proves = name in ("seal", "proof")
            for changed in flips(document[name], 1 if proves else 1 + len(document[name]) // TRIED):
                if judge(case["kind"], document | {name: changed}, pairing=FAST)[0].startswith("VALID"):
                    survived.append((case["file"], name))
    assert not survived


def test_without_a_denylist_what_was_withdrawn_would_verify(cases: list[tuple[Mapping[str, Any], Any]]) -> None:
    withdrawn = [(case, document) for case, document in cases if "withdrawn" in case["expected"]["final"]]
    assert withdrawn
    for case, document in withdrawn:
        assert judge(case["kind"], document, pairing=FAST, denylist=Denylist(2, ()))[0] == "VALID"
