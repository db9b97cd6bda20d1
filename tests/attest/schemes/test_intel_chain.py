"""What is tried on the certificates of Intel quotes and on collateral, by groups, and the code that each try gets.

Nearly all of it is signed with the right keys of the fake Intel, so that only the check which is meant can refuse it.
"""

import json
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509

from attest.errors import EvidenceError
from tests.attest.schemes.groups import flipped, grouped
from tests.attest.schemes.quotes import (
    DAY,
    ENCLAVES,
    INTEL,
    NOW,
    OTHER,
    SECOND,
    TODAY,
    Tried,
    opened,
    parts,
    trusting,
)
from tests.pki.intel import ROOT, SIGNER, Edit, FakeIntel, pem, signature
from tests.pki.intel_tcb import CPU_SVN, TDX_SVN

MADE = INTEL.collateral()
MEMBERS: dict[str, str] = json.loads(MADE)
ADDED = parts(MADE, pck_certificate_chain=pem(INTEL.pck, INTEL.issuer, INTEL.root))
"""With the platform's certificates, as dcap-qvl writes what it fetched for a quote."""
FOREIGN_SIGNER = INTEL.certificate("Intel SGX PCK Certificate", "pck", ROOT, "root")
"""Under the root, and not what signs collateral."""


def root(
    name: str = ROOT, issuer: str = ROOT, *, end: datetime | None = None, begin: datetime | None = None
) -> x509.Certificate:
    return INTEL.certificate(name, "root", issuer, "root", authority=True, path_length=1, begin=begin, end=end)


def issuer(authority: bool | None = True, end: datetime | None = None) -> x509.Certificate:
    return INTEL.certificate(INTEL.issuer_name, "platform", ROOT, "root", authority=authority, end=end)


def chain(*certificates: x509.Certificate) -> Tried:
    return Tried(INTEL.quote(chain=certificates))


def leaf(certificate: x509.Certificate) -> Tried:
    return chain(certificate, INTEL.issuer, INTEL.root)


def tcb(edit: Edit, intel: FakeIntel = INTEL) -> Tried:
    return Tried(collateral=intel.collateral(tcb=edit), intel=intel)


def qe(edit: Edit) -> Tried:
    return Tried(collateral=INTEL.collateral(qe=edit))


def replaced(**members: Any) -> Tried:
    return Tried(collateral=parts(MADE, **members))


def status(word: str) -> Edit:
    """All levels of what is edited get this status, and an advisory."""

    def edit(info: dict[str, Any]) -> None:
        for level in info["tcbLevels"]:
            level |= {"tcbStatus": word, "advisoryIDs": ["INTEL-SA-09999"]}

    return edit


def module(word: str) -> Edit:
    return lambda info: status(word)(info["tdxModuleIdentities"][0])


def signed(text: str, key: str, *certificates: x509.Certificate) -> Tried:
    """TCB information that another key of the same vendor signed, with this chain."""
    made = signature(INTEL.key(key), text.encode()).hex()
    return replaced(tcb_info=text, tcb_info_signature=made, tcb_info_issuer_chain=pem(*certificates))


def signer(begin: datetime | None = None, end: datetime | None = None) -> x509.Certificate:
    return INTEL.certificate(SIGNER, "signer", ROOT, "root", begin=begin, end=end)


def platforms(begin: datetime = TODAY - DAY, end: datetime | None = None) -> str:
    """The list of revoked platforms, in hex."""
    return INTEL.crl(INTEL.issuer_name, "platform", begin=begin, end=end).hex()


def last_flipped(text: str) -> str:
    """Hex with its last byte, which is one of a signature, changed."""
    data = bytes.fromhex(text)
    return flipped(data, len(data) - 1).hex()


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@grouped(
    ("g10-right", chain(INTEL.pck, INTEL.issuer, INTEL.root), ""),
    ("g10-other-root-above-ours", chain(INTEL.pck, INTEL.issuer, OTHER.root), "chain"),
    ("g10-other-vendor-below-ours", chain(OTHER.pck, OTHER.issuer, INTEL.root), "chain"),
    ("g10-other-vendor-whole", Tried(OTHER.quote()), "chain"),
    ("g10-issued-by-another-key", leaf(INTEL.certify(issuer_key="other")), "chain"),
    ("g10-intermediate-as-leaf", leaf(INTEL.issuer), "chain"),
    ("g10-signer-as-leaf", leaf(INTEL.signer), "chain"),
    ("g10-leaf-as-authority", leaf(INTEL.certify(authority=True)), "chain"),
    ("g10-issuer-is-no-authority", chain(INTEL.pck, issuer(False), INTEL.root), "chain"),
    ("g10-issuer-without-constraints", chain(INTEL.pck, issuer(None), INTEL.root), "chain"),
    ("g10-other-order", chain(INTEL.root, INTEL.issuer, INTEL.pck), "chain"),
    ("g10-two-certificates", chain(INTEL.pck, INTEL.issuer), "malformed"),
    ("g10-leaf-expired", leaf(INTEL.certify(end=TODAY - SECOND)), "expired"),
    ("g10-leaf-ends-now", leaf(INTEL.certify(end=TODAY)), ""),
    ("g10-leaf-begins-later", leaf(INTEL.certify(begin=TODAY + SECOND)), "not_yet_valid"),
    ("g10-leaf-begins-now", leaf(INTEL.certify(begin=TODAY)), ""),
    ("g10-issuer-expired", chain(INTEL.pck, issuer(end=TODAY - SECOND), INTEL.root), "expired"),
    ("g10-root-expired", chain(INTEL.pck, INTEL.issuer, root(end=TODAY - SECOND)), "expired"),
    ("g10-root-begins-later", chain(INTEL.pck, INTEL.issuer, root(begin=TODAY + SECOND)), "not_yet_valid"),
    ("g10-root-renamed", chain(INTEL.pck, INTEL.issuer, root("Intel SGX Root CB")), "chain"),
    ("g10-root-of-another", chain(INTEL.pck, INTEL.issuer, root(issuer="Intel SGX Root CB")), "chain"),
)
def test_g10_the_platform_is_certified_in_one_line_to_the_root(tried: Tried, expected: str) -> None:
    """The last two would end the whole process inside the library."""
    assert tried.code == expected


def test_g10_each_flipped_byte_of_the_roots_names_is_survived() -> None:
    """Before names were compared, half of these aborted the process; at others it opens under an unknown root."""
    quote = INTEL.quote()
    begin = quote.rindex(b"-----BEGIN CERTIFICATE")
    for at in range(begin, len(quote)):
        with suppress(EvidenceError):
            assert not opened(flipped(quote, at), trusting()).anchored


@grouped(
    ("g11-expired-by-a-second", Tried(collateral=INTEL.collateral(until=TODAY - SECOND)), "expired"),
    ("g11-ends-now", Tried(collateral=INTEL.collateral(until=TODAY)), ""),
    ("g11-issued-in-a-second", Tried(collateral=INTEL.collateral(issued=TODAY + SECOND)), "not_yet_valid"),
    ("g11-issued-now", Tried(collateral=INTEL.collateral(issued=TODAY)), ""),
    ("g11-clock-back-to-2020", Tried(at=1_577_836_800_000), "not_yet_valid"),
    ("g11-clock-before-1970", Tried(at=-1000), "malformed"),
    ("g11-clock-in-2100", Tried(at=4_102_444_800_000), "expired"),
    ("g11-identity-expired", qe(lambda it: it.update(nextUpdate=iso(TODAY - SECOND))), "expired"),
    ("g11-identity-issued-later", qe(lambda it: it.update(issueDate=iso(TODAY + SECOND))), "not_yet_valid"),
    ("g11-no-date", tcb(lambda it: it.update(issueDate="yesterday")), "malformed"),
    ("g11-signer-expired", replaced(tcb_info_issuer_chain=pem(signer(end=TODAY - SECOND), INTEL.root)), "expired"),
    (
        "g11-signer-begins-later",
        replaced(qe_identity_issuer_chain=pem(signer(begin=TODAY + SECOND), INTEL.root)),
        "not_yet_valid",
    ),
)
def test_g11_collateral_holds_in_its_own_time(tried: Tried, expected: str) -> None:
    assert tried.code == expected


@grouped(
    ("g12-other-family", tcb(lambda it: it.update(fmspc="00A067110000")), "chain"),
    ("g12-no-family", tcb(lambda it: it.update(fmspc="00")), "chain"),
    ("g12-other-pce", tcb(lambda it: it.update(pceId="0001")), "chain"),
    ("g12-sgx-collateral", Tried(collateral=ENCLAVES.collateral()), "chain"),
    ("g12-tdx-collateral", Tried(collateral=MADE, intel=ENCLAVES), "chain"),
    ("g12-identity-of-the-sgx-enclave", qe(lambda it: it.update(id="QE")), "chain"),
    ("g12-identity-of-another-signer", qe(lambda it: it.update(mrsigner="00" * 32)), "chain"),
    ("g12-identity-of-another-product", qe(lambda it: it.update(isvprodid=9)), "chain"),
    ("g12-quoting-enclave-in-debug", Tried(INTEL.quote(qe_patches={48: b"\x17"})), "chain"),
    ("g12-quoting-enclave-with-other-attributes", Tried(INTEL.quote(qe_patches={48: b"\x35"})), "chain"),
    ("g12-other-platform", leaf(INTEL.certify(family=b"\1\2\3\4\5\6")), "chain"),
)
def test_g12_collateral_is_of_this_platform(tried: Tried, expected: str) -> None:
    assert tried.code == expected


@grouped(
    ("g13-by-a-platform's-key", Tried(collateral=INTEL.collateral(signer_key="pck")), "signature"),
    ("g13-by-a-platform", signed(MEMBERS["tcb_info"], "pck", INTEL.pck, INTEL.root), "chain"),
    ("g13-by-a-platform-of-three", signed(MEMBERS["tcb_info"], "pck", INTEL.pck, INTEL.issuer), "chain"),
    ("g13-by-a-leaf-of-the-root", signed(MEMBERS["tcb_info"], "pck", FOREIGN_SIGNER, INTEL.root), "chain"),
    ("g13-by-the-authority", signed(MEMBERS["tcb_info"], "platform", INTEL.issuer, INTEL.root), "chain"),
    ("g13-by-the-root", signed(MEMBERS["tcb_info"], "root", INTEL.root, INTEL.root), "chain"),
    ("g13-by-another-vendor", replaced(tcb_info_issuer_chain=pem(OTHER.signer, OTHER.root)), "chain"),
    ("g13-chain-exchanged", replaced(tcb_info_issuer_chain=pem(INTEL.root, INTEL.signer)), "chain"),
    ("g13-under-another-root-of-that-key", replaced(qe_identity_issuer_chain=pem(INTEL.signer, root())), "chain"),
    ("g13-without-a-chain", replaced(tcb_info_issuer_chain=""), "malformed"),
    ("g13-one-added-space", replaced(tcb_info=MEMBERS["tcb_info"] + " "), "signature"),
    ("g13-written-again", replaced(tcb_info=json.dumps(json.loads(MEMBERS["tcb_info"]))), "signature"),
    ("g13-identity-written-again", replaced(qe_identity=json.dumps(json.loads(MEMBERS["qe_identity"]))), "signature"),
    ("g13-signature-of-zeros", replaced(tcb_info_signature="00" * 64), "signature"),
    ("g13-signature-cut", replaced(tcb_info_signature="00"), "malformed"),
    ("g13-quote-by-another-key", Tried(INTEL.quote(key="other")), "signature"),
    ("g13-report-by-another-key", Tried(INTEL.quote(qe_key="other")), "signature"),
    ("g13-report-binds-another-key", Tried(INTEL.quote(qe_patches={320: bytes(32)})), "signature"),
)
def test_g13_everything_is_signed_by_who_may(tried: Tried, expected: str) -> None:
    assert tried.code == expected


@grouped(
    ("g14-platform-revoked", Tried(collateral=INTEL.collateral(revoked=[INTEL.pck])), "revoked"),
    ("g14-another-revoked", Tried(collateral=INTEL.collateral(revoked=[OTHER.pck])), ""),
    ("g14-many-others-revoked", Tried(collateral=INTEL.collateral(revoked=[OTHER.pck] * 1800)), ""),
    ("g14-authority-revoked", Tried(collateral=INTEL.collateral(revoked_authorities=[INTEL.issuer])), "revoked"),
    ("g14-signer-revoked", Tried(collateral=INTEL.collateral(revoked_authorities=[INTEL.signer])), "revoked"),
    ("g14-root-revoked", Tried(collateral=INTEL.collateral(revoked_authorities=[INTEL.root])), "revoked"),
    ("g14-flipped", replaced(pck_crl=last_flipped(MEMBERS["pck_crl"])), "chain"),
    (
        "g14-flipped-of-the-root",
        replaced(root_ca_crl=last_flipped(MEMBERS["root_ca_crl"])),
        "chain",
    ),
    ("g14-empty", replaced(pck_crl=""), "malformed"),
    ("g14-empty-of-the-root", replaced(root_ca_crl=""), "malformed"),
    ("g14-of-another-vendor", replaced(pck_crl=OTHER.crl(OTHER.issuer_name, "platform").hex()), "chain"),
    (
        "g14-of-the-other-authority",
        replaced(pck_crl=INTEL.crl("Intel SGX PCK Processor CA", "processor").hex()),
        "chain",
    ),
    ("g14-of-nobody-by-the-root", replaced(root_ca_crl=INTEL.crl("Nobody", "root").hex()), "chain"),
    ("g14-of-the-root-by-another-key", replaced(root_ca_crl=INTEL.crl(ROOT, "other").hex()), "chain"),
    ("g14-exchanged", replaced(pck_crl=MEMBERS["root_ca_crl"], root_ca_crl=MEMBERS["pck_crl"]), "chain"),
    ("g14-expired", replaced(pck_crl=platforms(end=TODAY - SECOND)), "expired"),
    ("g14-ends-now", replaced(pck_crl=platforms(end=TODAY)), "expired"),
    ("g14-ends-in-a-second", replaced(pck_crl=platforms(end=TODAY + SECOND)), ""),
    (
        "g14-expired-of-the-root",
        replaced(root_ca_crl=INTEL.crl(ROOT, "root", begin=TODAY - DAY, end=TODAY).hex()),
        "expired",
    ),
    ("g14-begins-later", replaced(pck_crl=platforms(begin=TODAY + SECOND)), "not_yet_valid"),
    (
        "g14-begins-later-of-the-root",
        replaced(root_ca_crl=INTEL.crl(ROOT, "root", begin=TODAY + SECOND).hex()),
        "not_yet_valid",
    ),
)
def test_g14_revocation_lists_are_there_current_and_obeyed(tried: Tried, expected: str) -> None:
    assert tried.code == expected


@pytest.mark.parametrize(
    "word",
    [
        *("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"),
        *("OutOfDate", "OutOfDateConfigurationNeeded"),
    ],
)
@pytest.mark.parametrize("intel", [INTEL, ENCLAVES], ids=["tdx", "sgx"])
def test_g15_g16_a_known_status_is_told_with_its_advisories(word: str, intel: FakeIntel) -> None:
    found = tcb(status(word), intel).open().tcb
    assert found is not None
    assert (found.status, found.advisories) == (word, {"INTEL-SA-09999"})


@grouped(
    ("g15-quoting-enclave", qe(status("OutOfDate")), "OutOfDate"),
    ("g15-module", tcb(module("OutOfDate")), "OutOfDate"),
    ("g17-older-module", Tried(INTEL.quote(tee_tcb_svn=bytes([3, *TDX_SVN[1:]]))), "OutOfDate"),
    ("g17-older-platform", leaf(INTEL.certify(svn=bytes([2, *CPU_SVN[1:]]), pce=6)), "OutOfDate"),
    (
        "g17-launched-under-an-older-module",
        Tried(INTEL.quote(version=5, body_type=3, tee_tcb_svn=bytes([3, *TDX_SVN[1:]]), patches={54 + 584: TDX_SVN})),
        "TDRelaunchAdvised",
    ),
)
def test_g15_the_worst_part_of_the_platform_decides(tried: Tried, expected: str) -> None:
    found = tried.open().tcb
    assert found is not None
    assert found.status == expected


@grouped(
    ("g15-revoked", tcb(status("Revoked")), "revoked"),
    ("g15-revoked-enclaves", tcb(status("Revoked"), ENCLAVES), "revoked"),
    ("g15-revoked-quoting-enclave", qe(status("Revoked")), "revoked"),
    ("g15-revoked-module", tcb(module("Revoked")), "revoked"),
    ("g15-unknown", tcb(status("Splendid")), "tcb"),
    ("g15-other-case", tcb(status("uptodate")), "tcb"),
    ("g15-empty", tcb(status("")), "tcb"),
    ("g15-no-status-of-tcb-information", tcb(status("TDRelaunchAdvised")), "tcb"),
    ("g15-unknown-of-the-quoting-enclave", qe(status("Splendid")), "tcb"),
    ("g15-unknown-of-the-module", tcb(module("Splendid")), "tcb"),
    ("g15-no-levels", tcb(lambda it: it.update(tcbLevels=[])), "tcb"),
    ("g17-rolled-back", Tried(INTEL.quote(tee_tcb_svn=bytes(16))), "tcb"),
    ("g17-module-below-all-levels", Tried(INTEL.quote(tee_tcb_svn=bytes([1, *TDX_SVN[1:]]))), "tcb"),
    ("g17-processor-rolled-back", leaf(INTEL.certify(svn=bytes(16))), "tcb"),
    ("g17-pce-rolled-back", leaf(INTEL.certify(pce=4)), "tcb"),
    ("g17-quoting-enclave-rolled-back", Tried(INTEL.quote(qe_patches={258: b"\3"})), "tcb"),
    ("g17-module-of-another-signer", Tried(INTEL.quote(patches={48 + 64: b"\1"})), "tcb"),
    ("g17-module-with-attributes", Tried(INTEL.quote(patches={48 + 112: b"\1"})), "tcb"),
    ("g17-module-unknown", tcb(lambda it: it.update(tdxModuleIdentities=[])), "tcb"),
    ("g17-current-module-unknown", Tried(INTEL.quote(version=5, body_type=3, patches={54 + 584: bytes(16)})), "tcb"),
)
def test_g15_g17_what_intel_does_not_stand_behind_is_refused(tried: Tried, expected: str) -> None:
    assert tried.code == expected


def test_g17_older_tcb_information_shows_by_its_number() -> None:
    found = tcb(lambda it: it.update(tcbEvaluationDataNumber=3)).open().tcb
    assert found is not None
    assert found.versions["evaluationDataNumber"] == 3


@grouped(
    ("g19-another-member", replaced(more=""), "malformed"),
    ("g19-of-another-vendor", Tried(collateral=OTHER.collateral()), "chain"),
    ("g07-nothing", Tried(collateral=b""), "malformed"),
    ("g07-no-object", Tried(collateral=b"[]"), "malformed"),
    ("g07-no-text", Tried(collateral=b"\xff"), "malformed"),
    ("g07-a-number", replaced(tcb_info=5), "malformed"),
    ("g07-no-hex", replaced(pck_crl="zz"), "malformed"),
    ("g07-twice", Tried(collateral=MADE[:-1] + b',"pck_crl":""}'), "malformed"),
    ("g07-deep", Tried(collateral=b"[" * 5000), "malformed"),
    ("g07-long", Tried(collateral=b" " * (1 << 20) + MADE), "malformed"),
    (
        "g07-no-json-inside",
        replaced(tcb_info="x", tcb_info_signature=signature(INTEL.key("signer"), b"x").hex()),
        "malformed",
    ),
    ("g07-levels-lack", tcb(lambda it: it.pop("tcbLevels")), "malformed"),
    ("g07-components-lack", tcb(lambda it: it["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop()), "malformed"),
)
def test_g19_collateral_from_anywhere_is_read_strictly(tried: Tried, expected: str) -> None:
    assert tried.code == expected


def test_g19_a_chain_of_certificates_in_collateral_counts_for_nothing() -> None:
    older = leaf(INTEL.certify(svn=bytes([2, *CPU_SVN[1:]]), pce=6)).quote
    assert Tried(collateral=ADDED).open() == Tried().open()
    assert Tried(older, ADDED).open() == Tried(older).open() != Tried().open()


def test_g19_old_collateral_hides_what_came_later_and_the_claims_say_how_old_it_is() -> None:
    old = INTEL.collateral(issued=TODAY - 20 * DAY)
    assert Tried(collateral=INTEL.collateral(revoked=[INTEL.pck])).code == "revoked"
    assert Tried(collateral=old).open().collateral_date == NOW - 20 * 86_400_000
