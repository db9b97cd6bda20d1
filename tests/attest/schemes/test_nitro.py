"""Nitro documents, fake and genuine, and what their claims say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from attest.claims import Endorsements
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, NotDebug
from attest.schemes.nitro import MEDIA_TYPE, NitroScheme
from attest.schemes.roots import VENDOR_ROOTS
from attest.verdict import verify_bundle
from attest.x509 import milliseconds
from tests.attest.made import BINDING, STATEMENT, bundle, failure
from tests.attest.schemes.enclave import AWS, NOW, SCHEME, code, opened, trusting
from tests.pki.aws import INSTANCE, MODULE, pcrs

HOUR = 3_600_000


def test_the_claims_say_what_the_document_says() -> None:
    claims = opened(AWS.document(user_data=b"\7" * 64, nonce=b"\1" * 32, public_key=b"\2\3"))
    assert (claims.scheme, claims.assurance, claims.standing) == ("aws-nitro", "hardware", "trusted")
    assert claims.anchor == AWS.root_sha256
    assert claims.report_data == b"\7" * 64
    assert claims.measurement == {f"pcr{index}": value.hex() for index, value in pcrs().items()}
    assert claims.launch == {"pcr0"}
    assert claims.details == {"moduleId": MODULE, "nonce": "01" * 32, "publicKey": "0203"}
    assert claims.instance == f"ec2:{INSTANCE}"
    assert (claims.issued_at, claims.expires_at) == (NOW, milliseconds(AWS.leaf.not_valid_after_utc))
    assert (claims.tcb, claims.collateral_date, claims.debug) == (None, None, False)


def test_members_that_may_be_absent_may_be_null_too() -> None:
    absent = AWS.document(user_data=..., nonce=..., public_key=...)
    assert opened(absent) == opened(AWS.document(user_data=None))
    assert opened(absent).report_data == b""


def test_it_asks_for_no_documents() -> None:
    assert NitroScheme().wants(Evidence(MEDIA_TYPE, AWS.document())) == ()


def test_under_no_anchor_it_opens_and_says_so() -> None:
    assert opened(AWS.document(), Endorsements({})).standing == "unknown"
    tested = replace(trusting(), anchors={}, test_anchors={"aws": frozenset({AWS.root_sha256})})
    assert opened(AWS.document(), tested).standing == "test"


def test_it_holds_as_long_as_its_key_and_no_longer() -> None:
    """A receipt is checked later at its own time, so the same document has to open then and be refused today."""
    document, end = AWS.document(), milliseconds(AWS.leaf.not_valid_after_utc)
    assert [code(document, now=at) for at in (NOW, NOW + 2 * HOUR, end)] == ["", "", ""]
    assert code(document, now=end + 1) == "expired"


def test_a_clock_that_is_a_minute_late_does_not_matter() -> None:
    """The key is three seconds old when the first document is signed."""
    assert code(AWS.document(), now=NOW - 60_000) == ""
    assert code(AWS.document(), now=NOW - 60_001) == "not_yet_valid"


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        pytest.param(NOW + 2000, "", id="at once"),
        pytest.param(NOW - 59_000, "", id="by a clock that is late"),
        pytest.param(NOW - 61_000, "not_yet_valid", id="before the document"),
        pytest.param(NOW + 3 * HOUR, "", id="in the key's last second"),
        pytest.param(NOW + 3 * HOUR + 1, "expired", id="after it"),
    ],
)
def test_a_receipt_is_checked_years_later_as_of_its_own_time(finished: int, expected: str) -> None:
    evidence = Evidence(MEDIA_TYPE, AWS.document(user_data=BINDING.report_data()))
    said = replace(STATEMENT, received_at=finished, finished_at=finished)
    policy = AllOf([NotDebug(), Measurement("pcr0", frozenset({pcrs()[0].hex()})), MinAssurance("hardware")])
    years = NOW + 5 * 365 * 24 * HOUR
    data = bundle(said, speaker=(evidence, BINDING)).encode()
    verdict = verify_bundle(data, schemes=(SCHEME,), endorsements=trusting(), policy=policy, now=years)
    assert failure(verdict) == (("evidence", expected) if expected else ("", ""))
    assert verdict.assurance == ("none" if expected else "hardware")


@pytest.mark.parametrize(("case", "expected"), [("nitro-prod", ""), ("nitro-prod2", ""), ("nitro-expired", "expired")])
def test_each_sample_of_the_manifest_gets_its_verdict(case: str, expected: str, shared: Path) -> None:
    document, at = manifest_sample(shared, case)
    assert code(document, Endorsements(VENDOR_ROOTS), at) == expected


def test_a_sample_says_of_itself_what_it_should(shared: Path) -> None:
    document, at = manifest_sample(shared, "nitro-prod")
    claims = opened(document, Endorsements(VENDOR_ROOTS), at)
    assert claims.measurement["pcr0"].startswith("eb7d0dab08ff")
    assert len(claims.report_data) == 64
    assert (claims.debug, claims.instance) == (False, "ec2:i-0827e799ec9232d44")
    assert opened(document, Endorsements({}), at).standing == "unknown"


def manifest_sample(shared: Path, case: str) -> tuple[bytes, int]:
    folder = shared / "data" / "evidence"
    [entry] = [entry for entry in json.loads((folder / "manifest.json").read_text()) if entry["id"] == case]
    return (folder / entry["evidence"]).read_bytes(), entry["at"] * 1000
