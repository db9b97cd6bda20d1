"""Quotes of Intel's that open: genuine ones under Intel's root, and what each field of them becomes."""

import json
from dataclasses import replace
from pathlib import Path

import dcap_qvl
import pytest

from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.intel import SGX_MEDIA_TYPE, TDX_MEDIA_TYPE
from attest.schemes.roots import VENDOR_ROOTS
from tests.attest.schemes.groups import flipped
from tests.attest.schemes.quotes import (
    DAY,
    ENCLAVES,
    INTEL,
    NOW,
    OTHER,
    SCHEMES,
    SECOND,
    SIGNATURE,
    TODAY,
    Tried,
    opened,
    parts,
    samples,
    trusting,
)
from tests.pki.intel import P256_ORDER, ROOT, FakeIntel, octets
from tests.pki.intel_tcb import CPU_SVN, TDX_SVN

GENUINE = {
    "tdx-uptodate-v4": "UpToDate",
    "tdx-uptodate-v4-expired": "expired",
    "tdx-uptodate-v4-future": "not_yet_valid",
    "tdx-uptodate-gcp": "UpToDate",
    "tdx-outofdate-automata": "OutOfDate",
    "tdx-outofdate-coco6": "OutOfDate",
    "tdx-unlisted-tcb": "tcb",
    "tdx-unlisted-tcb2": "tcb",
    "tdx-service-td": "unsupported",
    "tdx-wrong-fmspc": "chain",
    "tdx-sgx-collateral": "chain",
    "sgx-conf": "ConfigurationAndSWHardeningNeeded",
}
COLLATERAL = tuple(json.loads(INTEL.collateral()))
OPEN = [name for name, verdict in GENUINE.items() if verdict[0].isupper()]
"""Those that are accepted. Of each every fifth byte is flipped, from another start: TD quotes have one layout."""


@pytest.mark.parametrize("name", GENUINE)
def test_a_genuine_quote_gets_its_expected_verdict(name: str, shared: Path) -> None:
    sample = samples(shared)[name]
    try:
        claims = sample.open()
        verdict = claims.tcb.status if claims.tcb else ""
        assert claims.standing == "trusted"
    except EvidenceError as e:
        verdict = e.code
        assert sample.expected == "reject"
    assert verdict == GENUINE[name]
    assert sample.expected in {verdict, "reject"}


def test_a_genuine_quote_of_a_padded_buffer_says_what_is_in_it(shared: Path) -> None:
    sample = samples(shared)["tdx-uptodate-gcp"]
    claims = sample.open()
    assert len(sample.quote) == 8000
    assert claims == sample.open(sample.quote.rstrip(b"\0") + b"\0")
    assert claims.anchor in VENDOR_ROOTS["intel"]
    assert claims.report_data == sample.quote[48 + 520 : 48 + 584]
    assert claims.details["fmspc"] == "00806f050000"
    assert claims.instance == "ppid:8ebf889447fd60ab1913348582eb509e"


def test_the_advisories_against_a_genuine_platform_are_named(shared: Path) -> None:
    tcb = samples(shared)["tdx-outofdate-automata"].open().tcb
    assert tcb is not None
    assert tcb.advisories == {"INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986"}
    assert tcb.versions["evaluationDataNumber"] == 17


@pytest.mark.parametrize("name", ["tdx-uptodate-v4", "tdx-outofdate-coco6", "sgx-conf"])
def test_a_document_is_named_as_the_library_reads_family_and_authority(name: str, shared: Path) -> None:
    sample = samples(shared)[name]
    media_type = TDX_MEDIA_TYPE if sample.tee == "tdx" else SGX_MEDIA_TYPE
    parsed = dcap_qvl.parse_quote(sample.quote)
    wanted = SCHEMES[media_type].wants(Evidence(media_type, sample.quote))
    assert list(wanted) == [f"intel/{sample.tee}/{parsed.fmspc().lower()}/{parsed.ca()}"]


@pytest.mark.parametrize(("start", "name"), list(enumerate(OPEN)))
def test_g03_each_flipped_byte_of_a_genuine_quote_is_refused(start: int, name: str, shared: Path) -> None:
    """In the root's certificate it may open, under another anchor than Intel's."""
    sample = samples(shared)[name]
    passed: list[int] = []
    for at in range(start, len(sample.quote.rstrip(b"\0")), len(OPEN)):
        try:
            if sample.open(flipped(sample.quote, at)).anchored:
                passed.append(at)
        except EvidenceError:
            pass
    assert not passed


@pytest.mark.parametrize("member", [name for name in COLLATERAL if name != "pck_crl_issuer_chain"])
@pytest.mark.parametrize("name", ["tdx-uptodate-v4", "sgx-conf"])
def test_g03_each_flipped_byte_of_genuine_collateral_is_refused(name: str, member: str, shared: Path) -> None:
    """But for the one chain that nothing rests on."""
    sample = samples(shared)[name]
    text: str = json.loads(sample.collateral)[member]
    binary = member.endswith(("crl", "signature"))
    data = bytes.fromhex(text) if binary else text.encode()
    for at in range(0, len(data), 1 + len(data) // 100):
        changed = flipped(data, at)
        with pytest.raises(EvidenceError):
            replace(
                sample,
                collateral=parts(sample.collateral, **{member: changed.hex() if binary else changed.decode("latin-1")}),
            ).open()


@pytest.mark.parametrize("name", ["tdx-uptodate-v4", "sgx-conf"])
def test_g05_s_and_its_negative_are_one_genuine_quote(name: str, shared: Path) -> None:
    sample = samples(shared)[name]
    assert sample.open(negated(sample.quote)) == sample.open()


@pytest.mark.parametrize("authority", ["platform", "processor"])
@pytest.mark.parametrize(("version", "body_type"), [(4, 2), (5, 2), (5, 3)])
def test_a_td_is_read_whole(authority: str, version: int, body_type: int) -> None:
    intel = FakeIntel(NOW, authority="platform" if authority == "platform" else "processor")
    quote = intel.quote(
        report_data=octets("report data", 64),
        rtmrs={index: octets(f"rtmr{index}", 48) for index in range(4)},
        version=4 if version == 4 else 5,
        body_type=2 if body_type == 2 else 3,
    )
    claims = opened(quote, trusting(intel))
    assert (claims.scheme, claims.assurance, claims.standing, claims.debug) == (
        "intel-tdx",
        "hardware",
        "trusted",
        False,
    )
    assert claims.anchor == intel.root_sha256
    assert claims.report_data == octets("report data", 64)
    assert claims.measurement == {name: octets(name, 48).hex() for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")}
    assert claims.launch == {"mrtd", "rtmr1", "rtmr2", "rtmr3"}
    assert claims.details["quoteVersion"] == str(version)
    assert claims.details["septVeDisable"] == "yes"
    assert claims.details["xfam"] == "e702060000000000"
    assert claims.details["fmspc"] == intel.fmspc
    assert ("teeTcbSvn2" in claims.details) == (body_type == 3)
    assert ("platformInstanceId" in claims.details) == (authority == "platform")
    assert claims.instance == f"ppid:{octets('intel ppid', 16).hex()}"
    assert claims.tcb is not None
    assert claims.tcb.status == "UpToDate"
    assert [claims.tcb.versions[f"tdx{index:02}"] for index in range(16)] == list(TDX_SVN)
    assert [claims.tcb.versions[f"sgx{index:02}"] for index in range(16)] == list(CPU_SVN)
    assert (claims.tcb.versions["pce"], claims.tcb.versions["evaluationDataNumber"]) == (11, 17)


@pytest.mark.parametrize("authority", ["platform", "processor"])
def test_an_enclave_is_read_whole(authority: str) -> None:
    intel = FakeIntel(NOW, "sgx", "platform" if authority == "platform" else "processor")
    claims = opened(intel.enclave_quote(report_data=octets("report data", 64)), trusting(intel), tee="sgx")
    assert (claims.scheme, claims.assurance, claims.standing, claims.debug) == (
        "intel-sgx",
        "hardware",
        "trusted",
        False,
    )
    assert claims.report_data == octets("report data", 64)
    assert claims.measurement == {name: octets(name, 32).hex() for name in ("mrenclave", "mrsigner")}
    assert claims.launch == {"mrenclave"}
    assert (claims.details["isvProdId"], claims.details["isvSvn"]) == ("7", "2")
    assert claims.tcb is not None
    assert (claims.tcb.status, claims.tcb.versions["isvSvn"]) == ("UpToDate", 2)


@pytest.mark.parametrize("intel", [INTEL, ENCLAVES], ids=["tdx", "sgx"])
def test_g05_s_and_its_negative_give_the_same_claims(intel: FakeIntel) -> None:
    quote = INTEL.quote() if intel is INTEL else ENCLAVES.enclave_quote()
    assert negated(quote) != quote
    assert Tried(negated(quote), intel=intel).open() == Tried(quote, intel=intel).open()


def test_collateral_is_as_old_as_its_oldest_part_that_ages() -> None:
    begin = TODAY - 9 * DAY
    older = INTEL.crl(INTEL.issuer_name, "platform", begin=begin).hex()
    yearly = INTEL.crl(ROOT, "root", begin=TODAY - 300 * DAY).hex()
    assert Tried(collateral=INTEL.collateral()).open().collateral_date == NOW - 86_400_000
    assert Tried(collateral=INTEL.collateral(parts={"pck_crl": older})).open().collateral_date == NOW - 9 * 86_400_000
    assert Tried(collateral=INTEL.collateral(parts={"root_ca_crl": yearly})).open().collateral_date == NOW - 86_400_000


def test_it_expires_with_what_ends_first() -> None:
    soon, sooner = TODAY + 60 * SECOND, TODAY + 30 * SECOND
    leaf = INTEL.quote(chain=(INTEL.certify(end=sooner), INTEL.issuer, INTEL.root))
    list_ = INTEL.crl(INTEL.issuer_name, "platform", end=soon).hex()
    assert Tried().open().expires_at == NOW + 29 * 86_400_000
    assert Tried(collateral=INTEL.collateral(until=soon)).open().expires_at == NOW + 60_000
    assert Tried(collateral=INTEL.collateral(parts={"pck_crl": list_})).open().expires_at == NOW + 60_000
    assert Tried(leaf, INTEL.collateral(until=soon)).open().expires_at == NOW + 30_000


def test_an_older_identity_of_the_quoting_enclave_lowers_the_evaluation_number() -> None:
    tcb = Tried(collateral=INTEL.collateral(qe=lambda identity: identity.update(tcbEvaluationDataNumber=12))).open().tcb
    assert tcb is not None
    assert tcb.versions["evaluationDataNumber"] == 12


def test_what_the_platform_hides_names_no_machine() -> None:
    quote = INTEL.quote(chain=(INTEL.certify(ppid=bytes(16)), INTEL.issuer, INTEL.root))
    assert Tried(quote).open().instance is None


def test_documents_that_nobody_wants_are_ignored_and_the_one_that_lacks_is_named() -> None:
    endorsements = trusting(OTHER)
    with pytest.raises(EvidenceError, match=INTEL.document_name) as caught:
        opened(INTEL.quote(), type(endorsements)(endorsements.anchors, {"intel/tdx/other/platform": b"?"}))
    assert caught.value.code == "chain"


def negated(quote: bytes) -> bytes:
    """With n - s in the place of s in its own signature."""
    at = SIGNATURE[quote[0]] + 32
    s = int.from_bytes(quote[at : at + 32], "big")
    return quote[:at] + (P256_ORDER - s).to_bytes(32, "big") + quote[at + 32 :]
