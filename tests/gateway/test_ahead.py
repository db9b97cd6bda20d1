"""Appraisals beside the calls: none waits for evidence, documents or a vendor but the first, and a refusal counts at
once. The gateway is in this process, with a clock that can be moved; the servers are processes of their own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from attest.errors import EvidenceError
from attest.trust import load_trust
from gateway import runtime
from gateway.aggregate import Aggregate, Client
from gateway.config import load
from gateway.errors import Withheld
from gateway.exchange import appraisal
from gateway.home import Home
from gateway.runtime import running
from gateway.upstream import Downlink, refuse
from gateway.upstream.session import ClientFace
from registry.endorsements import Source
from tests.attacks.test_clocks import MINUTE, Clock, call, gateway
from tests.gateway.test_appraising import HARDWARE, Machine, machine
from tests.support.guest import CRL
from tests.support.rawclient import Json

pytestmark = pytest.mark.anyio
CALLS = 500
THIRD = 15_000
SECONDS = 10
__all__ = ["machine"]


@dataclass
class Gate:
    """A `Source` for software's evidence, which wants nothing; it keeps whoever asks waiting while it is shut, and
    may be where an appraisal ends with a code."""

    asked: int = 0
    opened: anyio.Event = field(default_factory=anyio.Event)
    refuses: str = ""

    def instead(self, *_: object) -> Source:
        return self

    async def find(self, names: Sequence[str]) -> Mapping[str, bytes]:
        self.asked += 1
        await self.opened.wait()
        if self.refuses:
            raise EvidenceError(self.refuses, "for the test")
        return dict.fromkeys(names, b"")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(runtime, "source", made.instead)
    made.opened.set()
    return made


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appraisals live for three times `THIRD`."""
    monkeypatch.setattr(appraisal, "MAXIMUM_AGE_MS", 3 * THIRD)


async def test_no_appraisal_is_on_the_path_of_a_call(tmp_path: Path, gate: Gate) -> None:
    time = Clock()
    async with gateway(tmp_path, time, sealed=False) as aggregate:
        await call(aggregate, time, "x")
        gate.opened = anyio.Event()
        for _ in range(CALLS):
            await call(aggregate, time, "x")
        assert gate.asked == 1


@pytest.mark.usefixtures("brief")
async def test_the_next_appraisal_is_made_beside_the_calls(tmp_path: Path, gate: Gate) -> None:
    time = Clock()
    async with gateway(tmp_path, time, sealed=False) as aggregate:
        await call(aggregate, time, "x")
        gate.opened = anyio.Event()
        for offset in (THIRD + 3_000, THIRD + 6_000):
            time.offset = offset
            with anyio.fail_after(SECONDS):
                await settled(aggregate, time)
        assert gate.asked == 2
        gate.opened.set()
        await settled(aggregate, time)
        gate.opened = anyio.Event()
        time.offset = 2 * THIRD + 6_000  # the first one serves no call any more
        with anyio.fail_after(SECONDS):
            await call(aggregate, time, "x")


async def settled(aggregate: Aggregate, time: Clock) -> None:
    """Two more exchanges, so that what waited for the gate has gone on."""
    for _ in range(2):
        await call(aggregate, time, "x")


@pytest.mark.usefixtures("brief")
async def test_a_server_without_evidence_now_is_served_by_what_was_appraised(tmp_path: Path, gate: Gate) -> None:
    time = Clock()
    async with gateway(tmp_path, time, sealed=False) as aggregate:
        await call(aggregate, time, "x")
        gate.refuses, time.offset = "malformed", THIRD + 3_000
        await settled(aggregate, time)
        assert gate.asked == 2
        await call(aggregate, time, "x")


@pytest.mark.usefixtures("brief")
async def test_many_calls_that_find_none_wait_for_the_same_one(tmp_path: Path, gate: Gate) -> None:
    time = Clock()
    async with gateway(tmp_path, time, sealed=False) as aggregate:
        await call(aggregate, time, "x")
        time.offset = 2 * THIRD + 6_000
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(call, aggregate, time, "x")
        assert gate.asked == 2


async def test_an_appraisal_of_the_future_serves_no_call(tmp_path: Path, gate: Gate) -> None:
    time = Clock(offset=MINUTE // 2)
    async with gateway(tmp_path, time, sealed=False) as aggregate:
        await call(aggregate, time, "x")
        time.offset = -MINUTE // 2 - 1000
        await call(aggregate, time, "x")
        assert gate.asked == 2


@pytest.mark.usefixtures("brief")
async def test_what_is_revoked_between_two_appraisals_is_called_no_more(machine: Machine, tmp_path: Path) -> None:
    machine.hold({"allOf": [HARDWARE, *machine.known()]})
    path = machine.folder / "config.json"
    told = json.loads(path.read_text()) | {"endorsements": {"folder": str(tmp_path / "documents"), "fetch": False}}
    path.write_text(json.dumps(told))
    roots = load_trust((machine.folder / "roots.json").read_bytes()).anchors
    time, home = Clock(), Home(tmp_path / "home")
    client = Client(ClientFace({}, {"name": "raw", "version": "1"}), None, Downlink(time.sink, refuse))
    asked: Json = {"name": "echo", "arguments": {"text": "a"}}
    async with running(load(path), home, clock=time, environ={}, version="0", test_roots=roots) as held:

        async def called_for_ever() -> None:
            while True:
                await held.aggregate.named("tools/call", asked, client)

        assert "result" in await held.aggregate.named("tools/call", asked, client)
        lists = tmp_path / "documents" / CRL
        lists.parent.mkdir(parents=True)
        (machine.folder / "revoked.crl").rename(lists)
        assert "result" in await held.aggregate.named("tools/call", asked, client)
        time.offset = THIRD + 3_000
        with pytest.raises(Withheld) as refused, anyio.fail_after(SECONDS):
            await called_for_ever()
        assert refused.value.code == "revoked"


async def test_what_vendors_said_is_kept_where_no_child_can_put_older_words(machine: Machine, tmp_path: Path) -> None:
    machine.hold(HARDWARE)
    path, home = machine.folder / "config.json", Home(tmp_path / "home")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"endorsements": {"fetch": False}}))
    document = home.private / "endorsements" / CRL
    document.parent.mkdir(parents=True)
    document.write_bytes(b"x")
    async with running(load(path), home, clock=Clock(), environ={}, version="0") as held:
        assert await held.hub.endorsements.find([CRL]) == {CRL: b"x"}
