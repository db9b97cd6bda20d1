"""Documents of vendors in a bundle and beside it: a stranger checks it years later, with those that he has then."""

from dataclasses import replace
from datetime import timedelta

import pytest

from attest import schemes
from attest.bundle import Bundle
from attest.claims import Endorsements
from attest.evidence import Evidence
from attest.policy import MinAssurance
from attest.schemes.intel import TDX_MEDIA_TYPE
from attest.schemes.sev_snp import MEDIA_TYPE
from attest.verdict import verify_bundle
from tests.attest.made import BINDING, FINISHED, NOW, bundle, failure
from tests.pki.amd import FakeAmd, der
from tests.pki.authority import moment
from tests.pki.intel import ROOT, FakeIntel

YEAR = timedelta(days=365)
MONTH = timedelta(days=30)
LATER, EARLIER = moment(NOW) + YEAR, moment(NOW) - YEAR
INTEL, AMD, STRANGER = FakeIntel(NOW), FakeAmd(NOW), FakeAmd(NOW, name="stranger")
COLLATERAL, (_, LEAF, CRL) = INTEL.document_name, AMD.names()
TRUST = {"intel": frozenset({INTEL.root_sha256}), "amd": frozenset({AMD.root_sha256})}
REPORT_DATA = BINDING.report_data()
TD = bundle(
    speaker=(Evidence(TDX_MEDIA_TYPE, INTEL.quote(report_data=REPORT_DATA)), BINDING), endorsements=INTEL.documents
)
GUEST = bundle(
    speaker=(Evidence(MEDIA_TYPE, AMD.report(report_data=REPORT_DATA)), BINDING),
    endorsements=AMD.documents(crl=AMD.crl()),
)
PLATFORMS = INTEL.crl(INTEL.issuer_name, INTEL.authority, [INTEL.pck], begin=LATER, end=LATER + MONTH)
AUTHORITIES = INTEL.crl(ROOT, "root", [INTEL.issuer], begin=LATER, end=LATER + YEAR)
SIGNERS = INTEL.crl(ROOT, "root", [INTEL.signer], begin=LATER, end=LATER + YEAR)
REVOKED = [AMD.ask.serial_number]


def late(parts: dict[str, str] | None = None) -> bytes:
    return INTEL.collateral(issued=LATER, until=LATER + MONTH, parts=parts)


def judged(made: Bundle, documents: dict[str, bytes]) -> tuple[str, str]:
    """The step that fails and its code, two years later."""
    trust = Endorsements(TRUST, documents)
    now = NOW + 2 * YEAR // timedelta(milliseconds=1)
    policy = MinAssurance("none")
    return failure(verify_bundle(made.encode(), schemes=schemes.ALL, endorsements=trust, policy=policy, now=now))


@pytest.mark.parametrize(("behind", "code"), [(0, ""), (60, ""), (61, "not_yet_valid")])
def test_a_servers_clock_may_be_a_minute_behind_the_vendors(behind: int, code: str) -> None:
    issued = moment(FINISHED) + timedelta(seconds=behind)
    fresh = {COLLATERAL: INTEL.collateral(issued=issued, until=issued + MONTH)}
    assert judged(replace(TD, endorsements=fresh), {}) == (("evidence", code) if code else ("", ""))


@pytest.mark.parametrize(
    ("made", "documents", "code"),
    [
        pytest.param(TD, {}, "", id="tdx-what-it-brings"),
        pytest.param(TD, {COLLATERAL: late()}, "", id="tdx-later"),
        pytest.param(TD, {COLLATERAL: INTEL.collateral(issued=EARLIER, until=EARLIER + MONTH)}, "", id="tdx-earlier"),
        *(
            pytest.param(TD, {COLLATERAL: late({part: crl.hex()})}, "revoked", id=name)
            for name, part, crl in (
                ("tdx-platform-revoked-since", "pck_crl", PLATFORMS),
                ("tdx-authority-revoked-since", "root_ca_crl", AUTHORITIES),
                ("tdx-signer-of-collateral-revoked-since", "root_ca_crl", SIGNERS),
            )
        ),
        pytest.param(TD, {COLLATERAL: INTEL.collateral(revoked=[INTEL.pck])}, "revoked", id="tdx-own-before-brought"),
        pytest.param(TD, {COLLATERAL: b"{}"}, "malformed", id="tdx-not-a-document"),
        pytest.param(GUEST, {}, "", id="snp-what-it-brings"),
        pytest.param(GUEST, {CRL: AMD.crl(begin=LATER, end=LATER + YEAR)}, "", id="snp-later"),
        pytest.param(GUEST, {LEAF: der(AMD.endorse(begin=LATER))}, "", id="snp-certificate-of-when-it-was-asked-for"),
        pytest.param(GUEST, {CRL: AMD.crl(begin=EARLIER, end=EARLIER + MONTH)}, "", id="snp-earlier"),
        pytest.param(
            GUEST, {CRL: AMD.crl(REVOKED, begin=LATER, end=LATER + MONTH)}, "revoked", id="snp-signer-revoked-since"
        ),
        pytest.param(GUEST, {CRL: AMD.crl(REVOKED)}, "revoked", id="snp-own-before-brought"),
        pytest.param(GUEST, {CRL: STRANGER.crl(begin=LATER, end=LATER + YEAR)}, "chain", id="snp-somebody-elses-list"),
    ],
)
def test_documents_of_another_time_decide_only_what_is_revoked(
    made: Bundle, documents: dict[str, bytes], code: str
) -> None:
    assert judged(made, documents) == (("evidence", code) if code else ("", ""))
