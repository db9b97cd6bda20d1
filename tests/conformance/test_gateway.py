"""The official suite through the gateway, receipts on: what fails is impossible, and each execution has a receipt."""

from collections import Counter

import pytest

from tests.conformance.suite import Revision
from tests.conformance.through import Cell, Outcome, exported, impossible, kept, run, unverified

LEGACY: Revision = "2025-11-25"
MODERN: Revision = "2026-07-28"
BOTH: tuple[Revision, ...] = (LEGACY, MODERN)

CELLS = [
    Cell("http", "http", "dual", crowded=False, revisions=BOTH),
    Cell("http", "stdio", "dual", crowded=False, revisions=BOTH),
    Cell("http", "http", "dual", crowded=True, revisions=BOTH),
    Cell("http", "stdio", "dual", crowded=True, revisions=BOTH),
    Cell("http", "http", "legacy", crowded=False, revisions=(MODERN,)),
    Cell("http", "stdio", "legacy", crowded=False, revisions=(MODERN,)),
    Cell("http", "http", "modern", crowded=False, revisions=(LEGACY,)),
    Cell("http", "stdio", "modern", crowded=False, revisions=(LEGACY,)),
    # Each 2025 session over stdio is a gateway of its own with upstreams of its own, which takes a minute in all: so
    # not every cell is here twice, and the crowd only for the era that shares one gateway.
    Cell("stdio", "http", "dual", crowded=False, revisions=BOTH),
    Cell("stdio", "stdio", "dual", crowded=False, revisions=BOTH),
    Cell("stdio", "http", "dual", crowded=True, revisions=(MODERN,)),
    Cell("stdio", "stdio", "legacy", crowded=False, revisions=(MODERN,)),
    Cell("stdio", "http", "modern", crowded=False, revisions=(LEGACY,)),
]


@pytest.fixture(scope="module", params=CELLS, ids=str)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cell, Outcome]:
    """One cell, run once for all the tests below."""
    cell: Cell = request.param
    return cell, run(cell, tmp_path_factory.mktemp("cell"))


def test_no_check_fails_but_what_is_impossible(ran: tuple[Cell, Outcome]) -> None:
    cell, outcome = ran
    wrong: list[str] = []
    for revision, score in outcome.scores.items():
        failed = {name: {check.partition(":")[0] for check in checks} for name, checks in score.failed.items()}
        if failed != (expected := impossible(cell, revision)):
            wrong.append(f"{cell}, {revision}, impossible {sorted(expected)}: {score}")
    assert not wrong, "\n".join(wrong)


def test_each_execution_has_one_receipt(ran: tuple[Cell, Outcome]) -> None:
    cell, outcome = ran
    lines = [line.split(" ") for line in outcome.executed]
    # A 2025 server runs once however often it asks; for a 2026 client each answer is a further round, with a receipt.
    rounds = cell.era == "legacy"
    executed = Counter((method, target) for method, target, era in lines if rounds or era != "answered")
    receipts = Counter(kept(outcome.home))
    assert executed
    assert receipts - executed == Counter(), "receipts of what was not executed"
    assert executed - receipts == Counter(), "executed without a receipt"


def test_each_receipt_verifies_offline(ran: tuple[Cell, Outcome]) -> None:
    _, outcome = ran
    assert kept(outcome.home)
    assert not unverified(outcome.home)
    assert exported(outcome.home, outcome.home.root.with_name("bundle.json")) == "verified"


def test_the_gateway_says_nothing_on_stderr(ran: tuple[Cell, Outcome]) -> None:
    assert not [line for line in ran[1].log.splitlines() if "Invalid Host header" not in line]  # the suite sent one
