"""What a server may offer when it is first seen, and what waits for the operator; the rows: `table.py`."""

from pathlib import Path

import pytest

from tests.cli.programs import Programs
from tests.drift.scene import Scene, changed, subjects
from tests.drift.table import BASE, FIRST
from tests.drift.test_table import everything_works, refused


@pytest.mark.anyio
@pytest.mark.parametrize("name", FIRST)
async def test_what_nobody_can_see_waits_and_what_is_odd_is_flagged(
    name: str, tmp_path: Path, programs: Programs
) -> None:
    row, scene = FIRST[name], Scene(tmp_path, programs)
    offer = changed(BASE["first"], row.path, row.value)
    scene.offer(offer)
    held_back = {row.subject} if row.effect in ("blocked", "dropped") else set[str]()
    async with scene.session() as seen:
        await everything_works(seen, subjects(offer) - held_back)
        if held_back:
            await refused(seen, row)
        assert seen.flags() == {(row.subject, code) for code in row.flags}
        assert ("with unapproved changes" in seen.states["first"]) == (row.effect == "blocked")
        assert ("[duplicate]" in seen.states["first"]) == (row.effect == "dropped")
    approved = scene.approve("--yes")
    assert approved.code == 0, approved
    assert row.said in approved.out
    async with scene.session() as seen:
        await everything_works(seen, subjects(offer) - (held_back if row.effect == "dropped" else set()))
        assert "unapproved" not in seen.states["first"]
        assert seen.flags() == {(row.subject, code) for code in row.flags}, "approved is not forgotten"
