"""`verify_exchange`: one mutation a step, each with its code, the earlier step first."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from attest.canonical import canonical
from attest.receipt import MAX_SKEW_MS, Exchange, Receipt, verify_exchange
from attest.sequence import SequenceLedger
from attest.statement import Statement
from tests.attest.made import (
    EXCHANGE,
    FINISHED,
    MANIFEST,
    NOW,
    OBSERVED,
    RECEIVED,
    RESULT_SALT,
    STATEMENT,
    appraisal,
    ledger,
    receipt,
    refusal,
    sign,
)

Mutation = dict[str, Any]
STEPS: list[tuple[str, Mutation]] = [
    ("expired", {"now": NOW + 900_001}),
    ("key", {"key": "00" * 32}),
    ("signature", {"name": "stranger"}),
    ("malformed", {"says": {"launch": {"url": "https://example.com"}}}),
    ("server", {"says": {"server": {"name": "other", "version": "1.0.0"}}}),
    ("target", {"says": {"target": "subtract"}}),
    ("definition", {"says": {"definition": None}}),
    ("nonce", {"says": {"nonce": "00" * 32}}),
    ("round", {"says": {"previous": "00" * 32}}),
    ("params", {"says": {"params_digest": "00" * 32}}),
    ("result", {"says": {"result_digest": "00" * 32}}),
    ("time", {"says": {"received_at": FINISHED + 1}}),
    ("sequence", {"says": {"sequence": 2}}),
]
"""The thirteen steps in their order."""

VARIANTS: list[tuple[str, Mutation]] = [
    ("target", {"says": {"method": "prompts/get"}}),
    ("nonce", {"says": {"client_nonce": None}}),
    ("nonce", {"says": {"stream": "00" * 16}}),
    ("malformed", {"says": {"kind": "observer-attested"}}),
    ("result", {"says": {"outcome": "error"}}),
    ("result", {"asked": {"result": canonical({"content": []})}}),
    ("result", {"salt": bytes(32)}),
    ("params", {"asked": {"params": canonical({"name": "add", "arguments": {}})}}),
    ("params", {"asked": {"params_salt": bytes(32)}}),
    ("time", {"says": {"received_at": EXCHANGE.sent_at - MAX_SKEW_MS - 1}}),
    ("time", {"says": {"finished_at": NOW + MAX_SKEW_MS + 1}}),
    ("sequence", {"says": {"sequence": 0}}),
    ("sequence", {"calls": 0}),
    ("definition", {"asked": {"definition": None}}),
    ("server", {"asked": {"server_name": "calculator2"}}),
]


def check(
    *,
    says: Mutation | None = None,
    asked: Mutation | None = None,
    name: str = "executor",
    key: str | None = None,
    salt: bytes = RESULT_SALT,
    now: int = NOW,
    calls: int = 1,
) -> Statement:
    """Verify the exchange with these things changed."""
    payload = replace(STATEMENT, **(says or {})).encode()
    envelope = sign(payload, name=name, **({} if key is None else {"key": key}))
    exchange = replace(EXCHANGE, **(asked or {}))
    return verify_exchange(Receipt(envelope, salt), exchange, appraisal(), ledger(calls), now).statement


def merged(mutations: list[Mutation]) -> Mutation:
    together: Mutation = {}
    for mutation in mutations:
        says = together.get("says", {}) | mutation.get("says", {})
        together |= mutation | {"says": says}
    return together


def test_a_receipt_for_exactly_this_exchange_is_verified() -> None:
    verified = verify_exchange(receipt(), EXCHANGE, appraisal(), ledger(), NOW)
    assert verified.statement == STATEMENT
    assert verified.receipt == receipt()
    assert verified.assurance == "software"


@pytest.mark.parametrize(("code", "mutation"), STEPS + VARIANTS)
def test_what_was_changed_is_named(code: str, mutation: Mutation) -> None:
    assert refusal(check, **mutation) == code


@pytest.mark.parametrize(("earlier", "later"), list(combinations(STEPS, 2)))
def test_of_two_faults_the_earlier_step_is_named(earlier: tuple[str, Mutation], later: tuple[str, Mutation]) -> None:
    assert refusal(check, **merged([later[1], earlier[1]])) == earlier[0]


@pytest.mark.parametrize("first", range(len(STEPS)))
def test_of_all_faults_from_a_step_on_that_step_is_named(first: int) -> None:
    assert refusal(check, **merged([mutation for _, mutation in STEPS[first:]])) == STEPS[first][0]


def test_a_wrong_outcome_counts_as_step_eleven() -> None:
    assert refusal(check, says={"outcome": "error", "params_digest": "00" * 32}) == "params"
    assert refusal(check, says={"outcome": "error", "received_at": FINISHED + 1}) == "result"


def test_clocks_may_differ_by_the_skew_and_no_more() -> None:
    assert check(says={"received_at": EXCHANGE.sent_at - MAX_SKEW_MS})
    assert check(says={"received_at": NOW + MAX_SKEW_MS, "finished_at": NOW + MAX_SKEW_MS})


def test_the_appraisal_stands_until_its_last_millisecond() -> None:
    asked = {"sent_at": NOW + 899_000}
    says = {"received_at": NOW + 899_000, "finished_at": NOW + 899_001}
    assert check(now=NOW + 900_000, asked=asked, says=says)
    assert refusal(check, now=NOW + 900_001, asked=asked, says=says) == "expired"


def test_a_receipt_is_accepted_once() -> None:
    stream = ledger(2)
    assert verify_exchange(receipt(), EXCHANGE, appraisal(), stream, NOW)
    assert refusal(verify_exchange, receipt(), EXCHANGE, appraisal(), stream, NOW) == "sequence"


def test_a_refused_receipt_uses_no_number() -> None:
    stream = ledger()
    other: Exchange = replace(EXCHANGE, nonce="00" * 32)
    assert refusal(verify_exchange, receipt(), other, appraisal(), stream, NOW) == "nonce"
    assert verify_exchange(receipt(), EXCHANGE, appraisal(), stream, NOW)


@pytest.mark.parametrize("payload", [MANIFEST.encode(), OBSERVED.encode(), b"", b"{}", STATEMENT.encode() + b" "])
def test_other_things_that_the_executor_signed_are_no_receipt(payload: bytes) -> None:
    signed = Receipt(sign(payload), RESULT_SALT)
    assert refusal(verify_exchange, signed, EXCHANGE, appraisal(), SequenceLedger(), NOW) == "malformed"


@pytest.mark.parametrize("kind", ["application/vnd.etmcp.software-evidence+json", "application/json", ""])
def test_a_signature_over_another_payload_type_is_no_receipt(kind: str) -> None:
    signed = Receipt(sign(STATEMENT.encode(), kind=kind), RESULT_SALT)
    assert refusal(verify_exchange, signed, EXCHANGE, appraisal(), ledger(), NOW) == "malformed"


def test_statements_read_back_and_the_receipt_survives_json() -> None:
    for statement in (STATEMENT, OBSERVED, replace(STATEMENT, target=None, environment={"n": 2**70, "f": 0.5})):
        assert Statement.decode(statement.encode()) == statement
    assert Receipt.from_json(receipt().to_json()) == receipt()
    assert RECEIVED < FINISHED


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "hardware"},
        {"outcome": "ok"},
        {"nonce": "0"},
        {"stream": "00" * 15},
        {"params_digest": "A" * 64},
        {"policy_digest": ""},
        {"sequence": -1},
        {"received_at": 2**53},
        {"finished_at": 1.5},
        {"target": 1},
        {"target": "t" * 4097},
        {"server": {"name": "n" * 201, "version": ""}},
    ],
)
def test_a_statement_with_a_member_of_another_type_is_malformed(changes: Mutation) -> None:
    assert refusal(Statement.decode, replace(STATEMENT, **changes).encode()) == "malformed"
