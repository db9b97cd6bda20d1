"""Fetching from the vendors' services, keeping what was fetched, and what neither may do to what is there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import anyio
import pytest
from aiohttp import web

from attest.claims import Endorsements
from attest.evidence import Evidence
from attest.schemes.intel import TdxScheme
from attest.schemes.sev_snp import SevSnpScheme
from gateway.endorsements import EndorsementSettings, source
from registry.endorsements.amd_kds import AmdKds
from registry.endorsements.cache import MOST, Cache
from registry.endorsements.folder import Folder
from registry.endorsements.intel_pcs import IntelPcs
from registry.endorsements.life import life_of
from registry.endorsements.names import read_name
from tests.pki.amd import FakeAmd
from tests.pki.intel import FakeIntel
from tests.registry.endorsements.services import Handler, Services, serving

pytestmark = pytest.mark.anyio
NOW = 1_795_176_000_000
DAY = 86_400_000
INTEL, AMD = FakeIntel(NOW), FakeAmd(NOW)
COLLATERAL = INTEL.document_name
CHAIN, LEAF, CRL = AMD.names()
KILLS = 30


@pytest.fixture
async def services() -> AsyncGenerator[Services]:
    async with serving(Services(INTEL, AMD)) as running:
        yield running


@pytest.fixture
async def pool() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def cache(folder: Path, services: Services, pool: aiohttp.ClientSession, now: int = NOW) -> Cache:
    pcs = IntelPcs(pool, base=services.url, root_crl=f"{services.url}/root.crl")
    return Cache(folder, {"intel": pcs, "amd": AmdKds(pool, base=services.url)}, lambda: now)


async def test_what_was_fetched_is_what_appraisals_need(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    quote, report = Evidence("", INTEL.quote()), Evidence("", AMD.report())
    names = [*TdxScheme().wants(quote), *SevSnpScheme().wants(report)]
    documents = await cache(tmp_path, services, pool).find(names)
    anchors = {"intel": frozenset({INTEL.root_sha256}), "amd": frozenset({AMD.root_sha256})}
    trust = Endorsements(anchors, documents)
    assert TdxScheme().open(quote, trust, NOW).standing == "trusted"
    claims = SevSnpScheme().open(report, trust, NOW)
    assert (claims.standing, claims.collateral_date is not None) == ("trusted", True)
    assert f"/tdx/certification/v4/tcb?fmspc={INTEL.fmspc}&update=standard" in services.asked
    boot, tee, snp, microcode, _ = AMD.tcb
    query = f"blSPL={boot:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}"
    assert f"/vcek/v1/Milan/{AMD.chip_id.hex()}?{query}" in services.asked


async def test_intels_own_cache_hands_out_the_list_of_the_root_in_hex(
    services: Services, pool: aiohttp.ClientSession
) -> None:
    pcs = IntelPcs(pool, base=services.url, root_crl=f"{services.url}/sgx/certification/v4/rootcacrl")
    documents = {COLLATERAL: await pcs.fetch(COLLATERAL)}
    trust = Endorsements({"intel": frozenset({INTEL.root_sha256})}, documents)
    assert TdxScheme().open(Evidence("", INTEL.quote()), trust, NOW).standing == "trusted"


async def test_what_is_fresh_is_not_fetched_again_and_at_half_its_life_it_is(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    await cache(tmp_path, services, pool).find([COLLATERAL])
    asked = len(services.asked)
    await cache(tmp_path, services, pool, NOW + 10 * DAY).find([COLLATERAL])
    assert len(services.asked) == asked
    services.intel = FakeIntel(NOW + 16 * DAY)
    found = await cache(tmp_path, services, pool, NOW + 16 * DAY).find([COLLATERAL])
    assert len(services.asked) == 2 * asked
    assert found[COLLATERAL] == Folder(tmp_path).read(COLLATERAL)
    assert issued(found[COLLATERAL]) == NOW + 15 * DAY


def issued(collateral: bytes) -> int:
    wanted = read_name(COLLATERAL)
    assert wanted is not None
    return life_of(wanted, collateral).issued_at


def status(code: int, **headers: str) -> Handler:
    return lambda _: web.Response(status=code, headers=headers)


def text(content: str) -> Handler:
    return lambda _: web.Response(text=content)


FAILURES: dict[str, Handler] = {
    "not found": status(404),
    "too many requests": status(429, **{"Retry-After": "7"}),
    "broken": status(500),
    "elsewhere": status(302, Location="http://127.0.0.1:9/"),
    "garbage": text("\x00\xff not a document"),
    "empty": text(""),
    "oversize": text("x" * (2 << 20)),
    "other JSON": text('{"tcbInfo":1,"enclaveIdentity":2,"signature":"00"}'),
    "nested": text('{"tcbInfo":' + "[" * 90_000),
}


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_replaces_nothing_and_what_is_valid_goes_on(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path, failure: str, held: bool
) -> None:
    if held:
        await cache(tmp_path, services, pool).find([COLLATERAL, CHAIN])
    before = Folder(tmp_path).read(COLLATERAL)
    services.fail = FAILURES[failure]
    later = cache(tmp_path, services, pool, NOW + 20 * DAY)
    found = await later.find([COLLATERAL])
    assert found == ({COLLATERAL: before} if before is not None else {})
    assert Folder(tmp_path).read(COLLATERAL) == before
    asked = len(services.asked)
    await later.find([COLLATERAL])
    assert len(services.asked) == asked  # not again at once


async def test_older_collateral_never_takes_the_place_of_newer(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    def lowered(tcb: dict[str, object]) -> None:
        tcb["tcbEvaluationDataNumber"] = 1

    newer = INTEL.documents[COLLATERAL]
    Folder(tmp_path).write(COLLATERAL, newer)
    later = datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(days=18)
    replayed = INTEL.collateral(tcb=lowered, issued=later, until=later + timedelta(days=30))
    services.intel = Replayed(NOW, replayed)
    found = await cache(tmp_path, services, pool, NOW + 20 * DAY).find([COLLATERAL])
    assert found[COLLATERAL] == newer == Folder(tmp_path).read(COLLATERAL)


@pytest.mark.parametrize(
    ("begins", "now"),
    [
        pytest.param(-20 * DAY, 0, id="both hold"),
        pytest.param(-20 * DAY, 40 * DAY, id="both have ended"),
        pytest.param(-20 * DAY, -5 * DAY, id="the clock is set back"),
    ],
)
@pytest.mark.parametrize("writable", [True, False])
async def test_older_never_takes_the_place_of_newer_whatever_the_clock_and_the_folder(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path, begins: int, now: int, writable: bool
) -> None:
    newer = INTEL.documents[COLLATERAL]
    Folder(tmp_path).write(COLLATERAL, newer)
    if not writable:
        (tmp_path / ".lock").mkdir()  # nobody can hold such a lock, root neither
    older = datetime.fromtimestamp((NOW + begins) / 1000, UTC)
    services.intel = Replayed(NOW, INTEL.collateral(issued=older, until=older + timedelta(days=40)))
    found = await cache(tmp_path, services, pool, NOW + (now or 15 * DAY)).find([COLLATERAL])
    assert services.asked
    assert found[COLLATERAL] == newer == Folder(tmp_path).read(COLLATERAL)


async def test_what_begins_later_takes_the_place_of_nothing_that_holds(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    now = NOW + 20 * DAY
    before = INTEL.documents[COLLATERAL]
    Folder(tmp_path).write(COLLATERAL, before)
    ahead = datetime.fromtimestamp(now / 1000 + 30, UTC)
    services.intel = Replayed(NOW, INTEL.collateral(issued=ahead, until=ahead + timedelta(days=30)))
    assert await cache(tmp_path, services, pool, now).find([COLLATERAL]) == {COLLATERAL: before}
    later = await cache(tmp_path, services, pool, now + DAY).find([COLLATERAL])
    assert later[COLLATERAL] == Folder(tmp_path).read(COLLATERAL)
    assert json.loads(later[COLLATERAL]) == json.loads(services.intel.documents[COLLATERAL])


@pytest.mark.parametrize("now", [20 * DAY, -10 * DAY, 40 * DAY], ids=["late", "clock set back", "ended"])
async def test_a_vendor_that_has_nothing_newer_is_not_asked_by_each_appraisal(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path, now: int
) -> None:
    held = cache(tmp_path, services, pool, NOW + now)
    first = await held.find([COLLATERAL])
    asked = len(services.asked)
    assert await held.find([COLLATERAL]) == first != {}
    assert len(services.asked) == asked


async def test_what_cannot_be_kept_is_asked_for_each_time(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    (tmp_path / ".lock").mkdir()
    held = cache(tmp_path, services, pool, NOW + 20 * DAY)
    for _ in range(2):
        assert (await held.find([COLLATERAL])).keys() == {COLLATERAL}


async def test_a_full_folder_takes_no_more_names_and_goes_on_with_those_it_has(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    folder.write(CHAIN, b"not a chain")
    for number in range(folder.count(), MOST):
        folder.write(f"amd/milan/vlek/{number:016x}", b"x")
    found = await cache(tmp_path, services, pool).find([CHAIN, LEAF])
    assert found.keys() == {CHAIN, LEAF}
    assert folder.read(CHAIN) == found[CHAIN]
    assert (folder.read(LEAF), folder.count()) == (None, MOST)


class Replayed(FakeIntel):
    """Answers with the same collateral always."""

    def __init__(self, now: int, collateral: bytes) -> None:
        super().__init__(now)
        object.__setattr__(self, "_given", collateral)

    @property
    def documents(self) -> dict[str, bytes]:
        return {self.document_name: object.__getattribute__(self, "_given")}


async def test_what_is_expired_is_handed_out_so_that_the_appraisal_says_why(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    await cache(tmp_path, services, pool).find([COLLATERAL])
    services.fail = FAILURES["broken"]
    assert COLLATERAL in await cache(tmp_path, services, pool, NOW + 400 * DAY).find([COLLATERAL])


async def test_without_vendors_the_folder_is_all_there_is(tmp_path: Path) -> None:
    Folder(tmp_path).write(LEAF, b"anything")
    assert await Cache(tmp_path, {}, lambda: NOW).find([LEAF, CHAIN]) == {LEAF: b"anything"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "../secret",
            "/etc/passwd",
            "intel/tdx/../../x/platform",
            "amd/milan/vcek/chain/..",
            "amd/rome/vcek/chain",
        ),
        *(f"amd/milan/vlek/{'0' * 33}", "intel/tdx/F0C06F000000/platform", f"amd/milan/vcek/{'0' * 16}", f"{CHAIN}\n"),
    ],
)
async def test_a_name_of_nothing_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    folder = Folder(tmp_path / "folder")
    assert read_name(name) is None
    assert await folder.find([name]) == {}
    assert await Cache(tmp_path / "folder", {}, lambda: NOW).find([name]) == {}
    with pytest.raises(ValueError, match="no name"):
        folder.write(name, b"x")


WRITER = """
import sys
from pathlib import Path
from registry.endorsements.folder import Folder
folder, name = Folder(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
while True:
    for letter in b"ab":
        folder.write(name, bytes([letter]) * 200_000)
"""


def test_kills_during_writes_leave_one_whole_document(tmp_path: Path) -> None:
    Folder(tmp_path).write(CHAIN, b"a" * 200_000)
    for number in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), CHAIN], stdout=subprocess.PIPE, env=os.environ
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(number / 2000)  # where in a write it dies, not what is waited for
        writer.send_signal(signal.SIGKILL)
        writer.wait(30)
        writer.stdout.close()
        assert Folder(tmp_path).read(CHAIN) in (b"a" * 200_000, b"b" * 200_000)


async def test_the_command_fills_a_folder_and_says_what_is_not_to_be_had(services: Services, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "registry", "--data", str(tmp_path / "data"), "endorsements", COLLATERAL, CHAIN]
    command += ["--folder", str(tmp_path / "kept"), "--pcs", services.url, "--kds", services.url]
    command += ["--pcs-root-crl", f"{services.url}/root.crl", "--pcs-update", "early"]
    done = await anyio.run_process(command, check=False)
    assert done.returncode == 0, done.stderr
    assert Folder(tmp_path / "kept").read(COLLATERAL) is not None
    assert [path for path in services.asked if path.endswith("update=early")] == [
        f"/tdx/certification/v4/tcb?fmspc={INTEL.fmspc}&update=early",
        "/tdx/certification/v4/qe/identity?update=early",
    ]
    (tmp_path / "shut" / ".lock").mkdir(parents=True)
    done = await anyio.run_process([*command, "--folder", str(tmp_path / "shut")], check=False)
    assert (done.returncode, done.stdout.count(b"not kept")) == (1, 2)
    done = await anyio.run_process([*command[:6], "amd/milan/vlek/" + "0" * 16, *command[8:]], check=False)
    assert done.returncode == 1
    assert b"not to be had" in done.stdout


async def test_the_gateways_settings_decide_how_early_intel_is_asked(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    told = {"pcs": services.url, "pcs_root_crl": f"{services.url}/root.crl", "pcs_update": "early"}
    settings = EndorsementSettings.model_validate(told)
    assert await source(settings, tmp_path, pool, lambda: NOW).find([COLLATERAL])
    assert sum(path.endswith("update=early") for path in services.asked) == 2


def test_a_document_goes_back_where_any_part_of_it_does() -> None:
    wanted = read_name(COLLATERAL)
    assert wanted is not None
    held = life_of(wanted, INTEL.documents[COLLATERAL])
    (version, date), *rest = held.parts
    for first, back in (((version + 1, 0), False), ((version, date), False), ((version, date - 1), True)):
        assert replace(held, parts=(first, *rest)).goes_back(held) is back
    newer_and_older = (*((number + 1, begin) for number, begin in held.parts[:-1]), (held.parts[-1][0], 0))
    assert replace(held, parts=newer_and_older).goes_back(held)
    with pytest.raises(ValueError, match="qe_identity"):
        life_of(wanted, json.dumps({"tcb_info": "{}"}).encode())


async def test_a_version_that_never_ends_is_no_document_and_one_that_has_ended_holds_nothing_back(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    told = json.loads(INTEL.documents[COLLATERAL])
    info = json.loads(told["tcb_info"])
    for number in ("Infinity", "1000000000"):
        spoilt = json.dumps(info | {"tcbEvaluationDataNumber": 1}).replace(
            '"tcbEvaluationDataNumber": 1', f'"tcbEvaluationDataNumber": {number}'
        )
        ended = spoilt.replace(info["nextUpdate"], "2026-01-01T00:00:00Z")
        folder.write(COLLATERAL, json.dumps(told | {"tcb_info": ended}).encode())
        found = await cache(tmp_path, services, pool).find([COLLATERAL])
        assert found[COLLATERAL] == folder.read(COLLATERAL)
        assert json.loads(json.loads(found[COLLATERAL])["tcb_info"]) == info


async def test_names_that_nobody_has_leave_nothing_behind(
    services: Services, pool: aiohttp.ClientSession, tmp_path: Path
) -> None:
    held = cache(tmp_path, services, pool)
    async with anyio.create_task_group() as group:
        for number in range(MOST + 50):
            group.start_soon(held.find, [f"amd/milan/vlek/{number:016x}"])
    assert held.remembered() <= MOST
