"""The fixture and the bridge on their own: whatever fails later through the gateway is the gateway's."""

from pathlib import Path

import pytest

from tests.conformance.suite import SCENARIOS, Era, Fixture, Revision, bridged, fixture_over_http, score

LEGACY: Revision = "2025-11-25"
MODERN: Revision = "2026-07-28"
ERAS: list[tuple[Era, list[Revision]]] = [("dual", [LEGACY, MODERN]), ("legacy", [LEGACY]), ("modern", [MODERN])]


@pytest.mark.parametrize(("era", "revisions"), ERAS)
def test_the_fixture_passes_every_required_scenario(era: Era, revisions: list[Revision], tmp_path: Path) -> None:
    fixture = Fixture(tmp_path / "calls", era)
    with fixture_over_http(fixture, tmp_path / "fixture.log") as url:
        for revision in revisions:
            told = score(url, revision, tmp_path / revision)
            assert not told.failed, told
            assert not told.warned, told.warned
            assert len(told.passed) == SCENARIOS[revision]


def test_the_bridge_loses_nothing(tmp_path: Path) -> None:
    fixture = Fixture(tmp_path / "calls")
    with bridged(fixture.command("stdio"), tmp_path / "bridge.log") as url:
        for revision in SCENARIOS:
            told = score(url, revision, tmp_path / revision)
            assert not told.failed, told
            assert not told.warned, told.warned


@pytest.mark.parametrize(("era", "revision"), [("legacy", MODERN), ("modern", LEGACY)])
def test_a_fixture_of_one_era_answers_only_that_one(era: Era, revision: Revision, tmp_path: Path) -> None:
    fixture = Fixture(tmp_path / "calls", era)
    with fixture_over_http(fixture, tmp_path / "fixture.log") as url:
        score(url, revision, tmp_path / revision)
    assert not fixture.executed()
