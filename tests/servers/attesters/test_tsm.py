"""configfs-tsm by the kernel's rules, and everything that is tried on a request: no evidence but our own comes out."""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attest.claims import Endorsements
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.intel import TdxScheme
from attest.schemes.sev_snp import SevSnpScheme
from servers.attesters import AttesterError
from servers.attesters.tsm import MAX_BLOB, Configfs, Kind, TsmAttester, provider
from tests.pki.amd import FakeAmd
from tests.pki.intel import FakeIntel
from tests.tsm import Provider, fake_configfs, minting
from tests.tsm.kernel import FakeTsm, Rtmrs

NOW = time.time_ns() // 1_000_000
DATA = bytes(range(64))
INTEL, AMD = FakeIntel(NOW), FakeAmd(NOW)
KINDS: dict[Kind, Provider] = {"tdx": "tdx_guest", "sev-snp": "sev_guest"}


def machine(kind: Kind = "tdx", **settings: Any) -> FakeTsm:
    """A machine whose vendor is ours."""
    pki, floor = (INTEL, None) if kind == "tdx" else (AMD, 0)
    made: dict[str, Any] = {"provider": KINDS[kind], "mint": minting(pki, {}), "floor": floor, **settings}
    return FakeTsm(**made)


@dataclass
class Pauses:
    """What would have been waited."""

    seconds: list[float] = field(default_factory=list[float])

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def attest(tsm: FakeTsm, kind: Kind = "tdx", data: bytes = DATA, **settings: Any) -> Evidence:
    return TsmAttester(kind, tsm, pause=Pauses(), **settings).attest(data)


def test_a_quote_opens_under_its_root() -> None:
    tsm = machine()
    evidence = attest(tsm)
    anchors = {"intel": frozenset({INTEL.root_sha256})}
    claims = TdxScheme().open(evidence, Endorsements(anchors, INTEL.documents), NOW)
    assert (claims.report_data, claims.standing, claims.assurance) == (DATA, "trusted", "hardware")
    assert not tsm.requests


@pytest.mark.parametrize("version", [4, 5])
def test_both_versions_of_quotes_are_read(version: int) -> None:
    assert attest(machine(mint=minting(INTEL, {"version": version}))).body[:2] == version.to_bytes(2, "little")


@pytest.mark.parametrize("floor", [0, 1, 3])
def test_a_report_comes_with_the_hosts_certificates_and_speaks_for_the_level_that_may_be_named(floor: int) -> None:
    evidence = attest(machine("sev-snp", floor=floor), "sev-snp")
    assert evidence.body[0x30:0x34] == floor.to_bytes(4, "little")
    claims = SevSnpScheme().open(evidence, Endorsements({"amd": frozenset({AMD.root_sha256})}), NOW)
    assert (claims.report_data, claims.standing) == (DATA, "trusted")


def test_a_host_without_certificates_makes_a_bare_report() -> None:
    evidence = attest(machine("sev-snp", mint=minting(AMD, {}, table=False)), "sev-snp")
    assert len(evidence.body) == 1184


def test_a_level_is_written_as_a_number_in_words() -> None:
    written: list[bytes] = []

    class Seen(FakeTsm):
        def write(self, name: str, attribute: str, data: bytes) -> int:
            written.append(data)
            return super().write(name, attribute, data)

    attest(Seen("sev_guest", minting(AMD, {}), 0), "sev-snp", privilege=2)
    assert written == [DATA, b"2"]


def swapped(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
    return INTEL.quote(report_data=bytes(63) + b"x"), b""


def half_swapped(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
    return INTEL.quote(report_data=inblob[:32] + bytes(32)), b""


def emitting(outblob: bytes) -> Callable[[bytes, int, Rtmrs], tuple[bytes, bytes]]:
    def mint(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
        return outblob, b""

    return mint


def over(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
    return INTEL.quote(report_data=inblob).ljust(MAX_BLOB + 1, b"\0"), b""


def with_long_table(inblob: bytes, privilege: int, rtmrs: Rtmrs) -> tuple[bytes, bytes]:
    return AMD.report(report_data=inblob), bytes(MAX_BLOB + 1)


REFUSED: dict[str, tuple[Kind, FakeTsm, dict[str, Any], str]] = {
    "g30-racing-writer": ("tdx", machine(race=1), {}, "somebody else wrote"),
    "g30-many-racing-writers": ("sev-snp", machine("sev-snp", race=7), {}, "somebody else wrote"),
    "g30-provider-change-between-reads": ("tdx", machine(later="sev_guest"), {}, "provider is 'sev_guest'"),
    "g30-report-data-not-ours": ("tdx", machine(mint=swapped), {}, "not over the report_data"),
    "g30-half-of-report-data-ours": ("tdx", machine(mint=half_swapped), {}, "not over the report_data"),
    "g30-32-byte-inblob": ("tdx", machine(), {"data": bytes(32)}, "64 bytes, and this has 32"),
    "g30-short-write": ("tdx", machine(short=32), {}, "took 32 of 64"),
    "g30-unknown-provider": ("tdx", machine(provider="arm_cca_guest"), {}, "'arm_cca_guest' and not 'tdx_guest'"),
    "g30-another-tee": ("sev-snp", machine("tdx"), {}, "'tdx_guest' and not 'sev_guest'"),
    "g30-provider-in-control-characters": ("tdx", machine(provider="tdx_guest\x1b[2J"), {}, r"\x1b[2J"),
    "g30-no-provider": ("tdx", machine(provider=None), {}, "load the module"),
    "g30-level-below-the-floor": ("sev-snp", machine("sev-snp", floor=2), {"privilege": 1}, "VMPL 1 is not one from 2"),
    "g30-level-beyond-all": ("sev-snp", machine("sev-snp"), {"privilege": 4}, "VMPL 4"),
    "g30-oversize-outblob": ("tdx", machine(mint=over), {}, "larger than the kernel's interface"),
    "g30-oversize-auxblob": ("sev-snp", machine("sev-snp", mint=with_long_table), {}, "larger than"),
    "g30-empty-outblob": ("tdx", machine(mint=emitting(b"")), {}, "not over the report_data"),
    "g30-cut-outblob": ("tdx", machine(mint=emitting(INTEL.quote(report_data=DATA)[:600])), {}, "not over"),
    "g30-unknown-version": (
        "tdx", machine(mint=emitting(b"\6" + INTEL.quote(report_data=DATA)[1:])), {}, "not over the report_data",
    ),
    "g30-report-of-another-length": (
        "sev-snp", machine("sev-snp", mint=emitting(AMD.report(report_data=DATA) + b"\0")), {}, "not over",
    ),
    "no-rights": ("tdx", machine(errors={"mkdir": [errno.EACCES]}), {}, "run as root"),
    "device-gone": ("tdx", machine(errors={"outblob": [errno.ENXIO]}), {}, "load the module"),
    "platform-refuses": ("tdx", machine(errors={"outblob": [errno.EINVAL]}), {}, "refuses the request"),
    "unknown-error": ("tdx", machine(errors={"outblob": [errno.EIO]}), {}, "Input/output error"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "tsm", "settings", "said"), REFUSED.values(), ids=REFUSED)
def test_no_evidence_but_of_our_request_comes_out(
    kind: Kind, tsm: FakeTsm, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(AttesterError) as refused:
        attest(tsm, kind, **settings)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()
    assert not tsm.requests
    assert tsm.made["mkdir"] <= 1


@pytest.mark.parametrize("number", [errno.EINTR, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN])
@pytest.mark.parametrize("operation", ["mkdir", "inblob", "outblob", "generation"])
def test_what_the_platform_is_busy_for_is_tried_in_a_request_of_its_own(number: int, operation: str) -> None:
    tsm, pauses = machine(errors={operation: [number, number]}), Pauses()
    evidence = TsmAttester("tdx", tsm, pause=pauses).attest(DATA)
    assert evidence.body[568:632] == DATA
    assert (tsm.made["mkdir"], len(pauses.seconds)) == (3, 2)
    assert not tsm.requests


def test_an_inblob_that_the_kernel_has_not_taken_yet_is_tried_again() -> None:
    """It takes it at the last close, which is another process' where one was forked between our open and close."""

    class Late(FakeTsm):
        left = 2

        def write(self, name: str, attribute: str, data: bytes) -> int:
            if attribute == "inblob" and self.left:
                self.left -= 1
                return len(data)
            return super().write(name, attribute, data)

    tsm = Late("tdx_guest", minting(INTEL, {}))
    assert attest(tsm).body[568:632] == DATA
    assert tsm.made["mkdir"] == 3
    assert not tsm.requests


def test_a_platform_that_stays_busy_is_said_so_after_three_attempts() -> None:
    tsm, pauses = machine(errors={"outblob": [errno.EBUSY] * 9}), Pauses()
    with pytest.raises(AttesterError, match="Device or resource busy"):
        TsmAttester("tdx", tsm, pause=pauses).attest(DATA)
    assert (tsm.made["outblob"], len(pauses.seconds)) == (3, 2)
    assert not tsm.requests


def test_a_racing_writer_is_not_tried_again() -> None:
    tsm = machine(race=1)
    with pytest.raises(AttesterError):
        attest(tsm)
    assert tsm.made["mkdir"] == 1


def test_requests_that_stay_behind_disturb_no_other() -> None:
    tsm = machine(removable=False)
    made = {attest(tsm, data=bytes([number]) * 64).body[568:632] for number in range(3)}
    assert len(made) == len(tsm.requests) == 3


def test_what_answers_is_asked_without_leaving_anything() -> None:
    tsm = machine()
    assert provider(tsm) == "tdx_guest"
    assert not tsm.requests
    assert provider(machine(provider=None)) is None
    with pytest.raises(AttesterError, match="run as root"):
        provider(machine(errors={"mkdir": [errno.EPERM]}))


def test_a_machine_without_the_interface_has_nobody_who_answers(tmp_path: Path) -> None:
    assert provider(Configfs(tmp_path / "none")) is None
    with pytest.raises(AttesterError, match=r"none: No such file or directory; it needs Linux 6\.7"):
        TsmAttester("tdx", Configfs(tmp_path / "none")).attest(DATA)


@pytest.mark.parametrize("where", ["report", "tsm/report"])
def test_g30_symlinked_root(tmp_path: Path, where: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(AttesterError, match="not a symbolic link"):
        provider(Configfs(tmp_path / "loop"))
    (tmp_path / "real" / "report").mkdir(parents=True)
    link = tmp_path / Path(where).parts[0]
    link.symlink_to(tmp_path / "real" / ("" if "/" in where else "report"))
    with pytest.raises(AttesterError, match="not a symbolic link"):
        TsmAttester("tdx", Configfs(tmp_path / where)).attest(DATA)
    assert not list((tmp_path / "real" / "report").iterdir())


def test_g29_a_provider_of_ones_own_makes_evidence_that_leads_to_no_vendor() -> None:
    """Whoever chooses the folder chooses what answers there: it is the root that tells."""
    stranger = FakeIntel(NOW, name="stranger")
    evidence = attest(machine(mint=minting(stranger, {})))
    anchors = {"intel": frozenset({INTEL.root_sha256})}
    assert TdxScheme().open(evidence, Endorsements(anchors, stranger.documents), NOW).standing == "unknown"
    with pytest.raises(EvidenceError):
        TdxScheme().open(evidence, Endorsements(anchors, INTEL.documents), NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_over_a_real_file_system(kind: Kind) -> None:
    with fake_configfs(KINDS[kind], INTEL if kind == "tdx" else AMD) as place:
        attester = TsmAttester(kind, Configfs(place.reports))
        first, second = attester.attest(DATA), attester.attest(bytes(64))
        assert first.body != second.body
        assert provider(Configfs(place.reports)) == KINDS[kind]
        assert not list(place.reports.iterdir())


def test_what_is_lost_at_the_close_is_seen_in_the_generation() -> None:
    """A binary attribute is taken at the close, and nobody is told whether it was: here a second write wins."""
    with fake_configfs("tdx_guest", INTEL) as place:

        class Twice(Configfs):
            def write(self, name: str, attribute: str, data: bytes) -> int:
                super().write(name, attribute, bytes(64))
                return super().write(name, attribute, data)

        with pytest.raises(AttesterError, match="somebody else wrote"):
            TsmAttester("tdx", Twice(place.reports)).attest(DATA)
        assert not list(place.reports.iterdir())
