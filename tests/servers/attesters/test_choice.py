"""Which attester a server has: what answers on this machine, or what is named, and never a weaker one."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers.attesters import AttesterError, nsm
from servers.attesters.choice import KINDS, Chosen, KeyFileError, chosen, declare
from servers.attesters.detect import Places, detect
from servers.attesters.tsm import TsmAttester
from servers.storage.__main__ import main as storage
from servers.tee.__main__ import main as tee
from servers.tpm.attester import TpmAttester
from servers.verifier.__main__ import main as verifier
from tests.pki.amd import FakeAmd
from tests.pki.intel import FakeIntel
from tests.support.swtpm import SoftwareTpm, answering
from tests.tsm import Place, Provider, fake_configfs

NOW = 1_800_000_000_000
DATA = bytes(64)


def choose(*words: str, descriptor: int | None = None) -> Chosen:
    parser = argparse.ArgumentParser()
    declare(parser)
    return chosen(parser.parse_args(words), lambda: NOW, descriptor)


@pytest.fixture
def nowhere(tmp_path: Path) -> list[str]:
    """Options for a machine without anything."""
    if nsm.DEVICE.exists():
        pytest.skip(f"this machine has {nsm.DEVICE}")
    return ["--reports", str(tmp_path / "report"), "--tpm", str(tmp_path / "tpm")]


@pytest.fixture(scope="module")
def tdx() -> Iterator[Place]:
    with fake_configfs("tdx_guest", FakeIntel(NOW)) as place:
        yield place


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    machine = SoftwareTpm(tmp_path_factory.mktemp("tpm"))
    machine.start()
    yield machine.path
    machine.stop()


def test_g29_without_a_tee_nothing_is_chosen(nowhere: list[str]) -> None:
    with pytest.raises(AttesterError, match=r"no TEE on this machine: .*; say --attester software if"):
        choose(*nowhere)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"auto", "software"}))
def test_g31_a_tee_that_is_named_is_not_replaced_by_another(kind: str, nowhere: list[str]) -> None:
    with pytest.raises(AttesterError):
        choose(*nowhere, "--attester", kind)


def test_g31_a_named_tee_is_not_replaced_by_the_one_that_is_there(tdx: Place, nowhere: list[str]) -> None:
    with pytest.raises(AttesterError, match="'tdx_guest' and not 'sev_guest'"):
        choose(*nowhere, "--reports", str(tdx.reports), "--attester", "sev-snp")


def test_g31_a_tee_that_does_not_answer_is_not_replaced_by_a_tpm(tmp_path: Path, tpm: Path) -> None:
    (tmp_path / "report").mkdir()
    with pytest.raises(AttesterError, match="report: No such file"):
        choose("--reports", str(tmp_path / "report"), "--tpm", str(tpm))


def test_g31_a_td_whose_module_is_not_loaded_does_not_become_a_tpm(tmp_path: Path, tpm: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu tdx_guest\n")
    places = Places(tmp_path / "none", processor=tmp_path / "cpuinfo", nsm=tmp_path / "none", tpm=tpm)
    with pytest.raises(AttesterError, match="load the module tdx_guest"):
        detect(places)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu sev_snp\n")
    assert detect(places) == "tpm"


@pytest.mark.parametrize("code", [0x922, 0x98E, 0x101, 0x149], ids=["busy", "password", "failed", "not-readable"])
def test_g31_azures_tpm_that_refuses_does_not_become_a_tpm(code: int, tmp_path: Path) -> None:
    """Only where it says that it has no HCL report is it another's."""
    refusal = b"\x80\x01" + (10).to_bytes(4, "big") + code.to_bytes(4, "big")
    places = Places(*[tmp_path / "none"] * 3, tpm=tmp_path / "tpm")
    with answering(places.tpm, refusal), pytest.raises(AttesterError, match=f"TPM_RC {code:#05x}"):
        detect(places)


def test_a_device_that_does_not_work_is_seen_at_the_start(tdx: Place) -> None:
    tdx.claims["errno"] = 5
    try:
        with pytest.raises(AttesterError, match="Input/output error"):
            choose("--reports", str(tdx.reports))
    finally:
        del tdx.claims["errno"]


@pytest.mark.parametrize(("provider", "told"), [("tdx_guest", "tdx"), ("sev_guest", "sev-snp")])
def test_the_processor_is_found(provider: Provider, told: str, tpm: Path) -> None:
    with fake_configfs(provider, FakeIntel(NOW) if told == "tdx" else FakeAmd(NOW)) as place:
        found = choose("--reports", str(place.reports), "--tpm", str(tpm))
    assert found.told == told
    assert isinstance(found.attester, TsmAttester)


def test_a_provider_that_nobody_knows_is_an_error_and_no_reason_to_look_further(tpm: Path) -> None:
    with fake_configfs("arm_cca_guest", FakeIntel(NOW)) as place, pytest.raises(AttesterError, match="arm_cca_guest"):
        choose("--reports", str(place.reports), "--tpm", str(tpm))


def test_a_tpm_is_found_where_nothing_stronger_is(tpm: Path, nowhere: list[str]) -> None:
    found = choose(*nowhere, "--tpm", str(tpm))
    assert found.told == TpmAttester(tpm).key_name()
    assert isinstance(found.attester, TpmAttester)
    assert found.attester.attest(DATA).body


def test_software_is_what_was_asked_for_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("11" * 32)
    first, second = (choose("--attester", "software", "--key-file", str(tmp_path / "key")) for _ in range(2))
    assert first.told == second.told != choose("--attester", "software").told
    (tmp_path / "key").write_text("11" * 31)
    with pytest.raises(KeyFileError, match="name a file with 64 hex digits"):
        choose("--attester", "software", "--key-file", str(tmp_path / "key"))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"software"}))
def test_a_key_is_for_software_only(kind: str, tdx: Place, tmp_path: Path) -> None:
    with pytest.raises(AttesterError, match="--key-file belongs to --attester software"):
        choose("--attester", kind, "--reports", str(tdx.reports), "--key-file", str(tmp_path / "key"))


@pytest.mark.parametrize("kind", ["tdx", "software"])
def test_whoever_started_it_is_told_a_software_key_and_of_a_tee_nothing(kind: str, tdx: Place) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        told = choose("--attester", kind, "--reports", str(tdx.reports), descriptor=writing).told
        assert pipe.read() == (told.encode() + b"\n" if kind == "software" else b"")


BARE: dict[str, tuple[Callable[[list[str]], None], list[str]]] = {
    "etmcp-tee stdio": (tee, ["--cache", "{tmp}", "stdio"]),
    "etmcp-tee http": (tee, ["--cache", "{tmp}", "http"]),
    "etmcp-tee host": (tee, ["--cache", "{tmp}", "host", "--unsigned-policy", "{tmp}/policy", sys.executable]),
    "etmcp-storage stdio": (storage, ["stdio", "--single-user", "alice", "--data", "{tmp}"]),
    "etmcp-storage http": (storage, ["http", "--gateway", "00" * 32, "--data", "{tmp}"]),
    "etmcp-verifier stdio": (verifier, ["stdio"]),
    "etmcp-verifier http": (verifier, ["http"]),
}


@pytest.mark.parametrize(("main", "words"), BARE.values(), ids=BARE)
def test_g31_a_server_that_was_told_nothing_wants_a_tee(
    main: Callable[[list[str]], None],
    words: list[str],
    nowhere: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "policy").write_text('{"kind": "execution", "version": 1, "tier": "service"}')
    given = [word.replace("{tmp}", str(tmp_path)) for word in words]
    place = given.index(sys.executable) if sys.executable in given else len(given)
    with pytest.raises(SystemExit) as ended:
        main([*given[:place], *nowhere, *given[place:]])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no TEE on this machine" in said[0]
    assert "--attester software" in said[0]
