"""When a failing server is tried again, and how many calls it may have at once."""

import itertools
import random
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Server, Settings
from gateway.connections import Connections
from gateway.health import MOST_SECONDS, Breaker
from gateway.upstream import DEAF, UpstreamBusy, UpstreamUnavailable

EVENTS = st.lists(st.tuples(st.sampled_from(["failed", "forgiven", "worked"]), st.floats(0, 200)), max_size=60)


@given(EVENTS, st.floats(0, 1))
def test_it_waits_at_most_a_minute_and_not_after_success(events: list[tuple[str, float]], jitter: float) -> None:
    breaker, now, row = Breaker(lambda: jitter), 0.0, 0
    for event, later in events:
        now += later
        if event == "worked":
            breaker.worked()
            row = 0
            assert not breaker.open(now)
            continue
        before = breaker.until
        row += 1
        breaker.failed(now, forgiven=3 if event == "forgiven" else 0)
        if event == "forgiven" and row <= 3:
            assert breaker.until == before
            continue
        assert breaker.open(now)
        assert 0 < breaker.until - now <= MOST_SECONDS
        assert not breaker.open(now + MOST_SECONDS)


@given(st.integers(1, 40), st.integers())
def test_it_waits_longer_after_each_failure(count: int, seed: int) -> None:
    breaker, delays = Breaker(random.Random(seed).random), list[float]()
    for _ in range(count):
        breaker.failed(0.0)
        delays.append(breaker.until)
    assert all(later * 2 >= earlier for earlier, later in itertools.pairwise(delays))
    assert all(0.5 * min(60, 2**n) <= delay <= min(60, 2**n) for n, delay in enumerate(delays))


def connections(limit: int) -> Connections:
    async def survey() -> None:
        raise AssertionError("nothing failed")

    server = Server(command="true", etmcp=Settings(limit=limit))
    return Connections("busy", server, cast(Any, None), lambda _: DEAF, survey)


@pytest.mark.anyio
async def test_calls_beyond_the_limit_are_refused_at_their_deadline_and_the_others_count_until_they_end() -> None:
    busy = connections(2)
    with anyio.fail_after(5):
        await busy.drained()
        async with busy.slot(anyio.current_time() + 1), busy.slot(anyio.current_time() + 1):
            with pytest.raises(UpstreamBusy) as raised:
                async with busy.slot(anyio.current_time()):
                    raise AssertionError("there were only two")
            assert str(raised.value) == 'busy: has 2 calls under way; try again, or raise its "limit"'
            with anyio.move_on_after(0) as scope:
                await busy.drained()
            assert scope.cancelled_caught
        await busy.drained()
        async with busy.slot(anyio.current_time() + 1):
            pass


@pytest.mark.anyio
async def test_what_is_closed_connects_no_more() -> None:
    over = connections(1)
    await over.close()
    with pytest.raises(UpstreamUnavailable, match="is configured no more"):
        await over.link()
