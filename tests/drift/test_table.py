"""Each way in which a definition can change between two sessions, through the whole gateway; the rows: `table.py`."""

from pathlib import Path

import pytest

from gateway.aggregate import Unknown
from gateway.errors import Withheld
from tests.cli.place import Place
from tests.cli.programs import Programs
from tests.drift.scene import Scene, Seen, changed, subjects
from tests.drift.table import BASE, DRIFT, Row

FIRST = BASE["first"]


@pytest.fixture
def scene(tmp_path: Path, programs: Programs) -> Scene:
    return Scene(tmp_path, programs)


async def everything_works(seen: Seen, wanted: set[str]) -> None:
    """Exactly these are listed, each of them can be used, and the other server is as ever."""
    assert await seen.offered() == wanted
    for subject in wanted:
        await seen.use(subject)
    assert await seen.offered("second") == {"tool send_email"}
    await seen.use("tool send_email", "second")


async def refused(seen: Seen, row: Row) -> None:
    """The client is told the code; of what is not there at all, that it is unknown."""
    if row.subject == "instructions":
        return
    if row.effect == "blocked":
        with pytest.raises(Withheld) as caught:
            await seen.use(row.subject)
        assert caught.value.code == "drift"
        assert "`etmcp approve first`" in str(caught.value)
    else:
        with pytest.raises((Unknown, KeyError)):
            await seen.use(row.subject)


@pytest.mark.anyio
@pytest.mark.parametrize("name", DRIFT)
async def test_what_changed_is_blocked_until_it_is_approved_and_nothing_else(name: str, scene: Scene) -> None:
    row = DRIFT[name]
    async with scene.session() as seen:
        await everything_works(seen, subjects(FIRST))
        assert seen.flags() == set()
    offer = changed(FIRST, row.path, row.value)
    scene.offer(offer)
    held_back = {row.subject} if row.effect in ("blocked", "dropped") else set[str]()
    async with scene.session() as seen:
        await everything_works(seen, subjects(offer) - held_back)
        if row.effect in ("blocked", "dropped", "gone"):
            await refused(seen, row)
        assert seen.flags() == {(row.subject, code) for code in row.flags}
        assert ("with unapproved changes" in seen.states["first"]) == (not clean(row))
        assert ("[duplicate]" in seen.states["first"]) == (row.effect == "dropped")
    approved = scene.approve("--yes")
    assert approved.code == 0, approved
    assert row.said in approved.out
    assert approved.out.isascii(), "nothing is left for a reader to take for something else"
    async with scene.session() as seen:
        await everything_works(seen, subjects(offer) - (held_back if row.effect == "dropped" else set()))
        assert seen.states["first"].startswith("ready")
        assert "unapproved" not in seen.states["first"]
    assert scene.approve("--yes").out.splitlines()[-1].endswith("everything matches its manifest")


def clean(row: Row) -> bool:
    """What is gone cannot mislead anybody, but for instructions: those were to be followed."""
    return row.effect in ("free", "dropped") or (row.effect == "gone" and row.subject != "instructions")


@pytest.mark.anyio
async def test_a_change_back_needs_no_approval(scene: Scene) -> None:
    async with scene.session():
        pass
    row = DRIFT["template"]
    scene.offer(changed(FIRST, row.path, row.value))
    async with scene.session() as seen:
        assert row.subject not in await seen.offered()
    scene.offer(FIRST)
    async with scene.session() as seen:
        await everything_works(seen, subjects(FIRST))


def test_a_kind_that_is_lowered_takes_all_of_that_server_and_nothing_of_its_neighbours(
    tmp_path: Path, programs: Programs
) -> None:
    place = Place(tmp_path, programs)
    place.configure(proven=place.proven(), lean=place.lean.entry())
    place.done("call", "describe_data", "data=hello")
    place.proven("plain")
    done = place.run("call", "describe_data", "data=hello")
    assert (done.code, "[kind]" in done.err) == (1, True)
    place.call()
    approved = place.done("approve", "proven", "--yes").out
    assert "kind: was executor-attested and is now observer-attested" in approved
    assert "template attest://evidence/{nonce}: gone" in approved
    assert place.done("call", "describe_data", "data=hello").err.startswith("observer-attested")
