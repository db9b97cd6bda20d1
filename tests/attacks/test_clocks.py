"""Time: an appraisal that runs out during a call, and clocks that disagree. The gateway is in this process, so that its
clock can be moved; the server is a process of its own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.aggregate import Aggregate, Client
from gateway.config import load
from gateway.errors import Withheld
from gateway.home import Home
from gateway.runtime import running
from gateway.upstream import Downlink, refuse
from gateway.upstream.session import ClientFace
from tests.attacks.stage import clock, direct, token, written
from tests.support.rawclient import Json

pytestmark = pytest.mark.anyio
MINUTE = 60_000


@dataclass
class Clock:
    """The gateway's clock; a call of `loud` reports progress twice, and at the first report it may jump."""

    offset: int = 0
    jump: int = 0
    told: list[Json] = field(default_factory=list[Json])

    def __call__(self) -> int:
        return clock() + self.offset

    async def sink(self, message: Json) -> None:
        self.told.append(message)
        self.offset, self.jump = self.offset + self.jump, 0


@asynccontextmanager
async def gateway(folder: Path, time: Clock, *, sealed: bool) -> AsyncGenerator[Aggregate]:
    config = load(written(folder, {"honest": direct(seal=sealed, require="executor-attested", timeout=20)}))
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    async with running(config, Home(folder / "home"), clock=time, environ=environ, version="0") as built:
        yield built.aggregate


async def call(aggregate: Aggregate, time: Clock, text: str) -> Json:
    params: Json = {"name": "loud", "arguments": {"text": text}, "_meta": {"progressToken": 1}}
    client = Client(ClientFace({}, {"name": "raw", "version": "1"}), None, Downlink(time.sink, refuse))
    return await aggregate.named("tools/call", params, client)


async def refusal(aggregate: Aggregate, time: Clock) -> str:
    secret = token()
    with pytest.raises(Withheld) as refused:
        await call(aggregate, time, secret)
    assert secret not in str(refused.value)
    return refused.value.code


@pytest.mark.parametrize("sealed", [False, True])
async def test_an_answer_after_the_appraisal_ran_out_is_refused_and_the_next_call_appraises_anew(
    tmp_path: Path, sealed: bool
) -> None:
    time = Clock()
    async with gateway(tmp_path, time, sealed=sealed) as aggregate:
        assert "result" in await call(aggregate, time, "x")
        time.jump = 16 * MINUTE
        assert await refusal(aggregate, time) == "expired"
        time.offset = 0
        assert "result" in await call(aggregate, time, "x")


async def test_clocks_that_disagree_are_refused_by_name(tmp_path: Path) -> None:
    time = Clock()
    async with gateway(tmp_path, time, sealed=True) as aggregate:
        assert "result" in await call(aggregate, time, "x")
        for offset, code in ((90_000, "time"), (5 * MINUTE, "stale"), (120 * MINUTE, "expired")):
            time.offset = offset
            assert await refusal(aggregate, time) == code
        time.offset = 0
        assert "result" in await call(aggregate, time, "x")


async def test_evidence_from_the_future_is_refused(tmp_path: Path) -> None:
    time = Clock(offset=-2 * MINUTE)
    async with gateway(tmp_path, time, sealed=True) as aggregate:
        states = await aggregate.survey()
        assert "[not_yet_valid]" in states["honest"]
