"""TPM evidence: what its claims say, whom it leads to, and how long."""

import hashlib

import pytest

from attest.claims import Endorsements
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.tpm2 import NEVER, TpmEvidence, TpmScheme
from attest.schemes.tpm_quote import LAUNCH, Attested
from attest.x509 import fingerprint, milliseconds
from tests.pki.tpm import CLOCK, RESET, FakeTpm, Kind, message, pcrs

NOW = 1_795_176_000_000
DATA = hashlib.sha512(b"report data").digest()
SCHEME = TpmScheme()
TPM = FakeTpm(NOW)
ROOT = fingerprint(TPM.root)


def pinning(*names: str) -> Endorsements:
    return Endorsements({"tpm": frozenset(names)})


@pytest.mark.parametrize("kind", ["ecdsa", "rsassa", "rsapss"])
@pytest.mark.parametrize("hash_name", ["sha256", "sha384"])
def test_the_claims_say_what_the_quote_says(kind: Kind, hash_name: str) -> None:
    tpm = FakeTpm(NOW, kind, hash_name=hash_name)
    claims = SCHEME.open(tpm.evidence(DATA), pinning(tpm.key_name), NOW)
    assert (claims.scheme, claims.assurance, claims.standing) == ("tpm2", "software", "trusted")
    assert (claims.anchor, claims.instance) == (tpm.key_name, tpm.instance)
    assert claims.report_data == DATA
    assert claims.measurement == {f"pcr{number}": value.hex() for number, value in pcrs().items()}
    assert claims.measurement.keys() >= claims.launch == LAUNCH
    assert claims.details == {
        "clock": str(CLOCK),
        "clockSafe": "true",
        "resetCount": str(RESET),
        "restartCount": "0",
        "tpmFirmware": "0000201900000001",
        "signer": "000b" + "00" * 32,
        "key": tpm.key_name,
        "keyTrust": "pinned",
    }
    assert (claims.issued_at, claims.expires_at) == (0, NEVER)
    assert (claims.debug, claims.tcb, claims.collateral_date) == (False, None, None)


def test_it_asks_for_no_documents() -> None:
    assert SCHEME.wants(TPM.evidence(DATA)) == ()


def test_a_certified_key_leads_to_its_authority_and_ends_with_its_certificate() -> None:
    claims = SCHEME.open(TPM.evidence(DATA, certificates=TPM.chain), pinning(ROOT), NOW)
    assert (claims.anchor, claims.standing, claims.details["keyTrust"]) == (ROOT, "trusted", "certified")
    assert claims.expires_at == milliseconds(TPM.certify().not_valid_after_utc)


def test_a_key_that_is_pinned_counts_whoever_certified_it() -> None:
    claims = SCHEME.open(TPM.evidence(DATA, certificates=TPM.chain), pinning(TPM.key_name), NOW)
    assert (claims.anchor, claims.standing) == (TPM.key_name, "trusted")


def test_under_no_anchor_it_opens_and_says_so() -> None:
    for evidence, anchor in ((TPM.evidence(DATA), TPM.key_name), (TPM.evidence(DATA, certificates=TPM.chain), ROOT)):
        assert SCHEME.open(evidence, Endorsements({}), NOW).standing == "unknown"
        tested = Endorsements({}, test_anchors={"tpm": frozenset({anchor})})
        assert SCHEME.open(evidence, tested, NOW).standing == "test"
        other = Endorsements({"amd": frozenset({anchor}), "tpm2": frozenset({anchor})})
        assert SCHEME.open(evidence, other, NOW).standing == "unknown"


def test_other_banks_count_beside_the_first() -> None:
    attested = TPM.attested(DATA, banks={"sha256": pcrs(registers=(4, 7)), "sha384": pcrs("sha384", (4,))})
    claims = SCHEME.open(TPM.evidence(DATA, attested=attested), pinning(TPM.key_name), NOW)
    assert claims.measurement.keys() == {"pcr4", "pcr7", "sha384:pcr4"}


def test_the_digest_is_in_the_order_of_the_quote() -> None:
    other = {"sha384": pcrs("sha384", (4,)), "sha256": pcrs(registers=(0, 23))}
    assert SCHEME.open(TPM.evidence(DATA, attested=TPM.attested(DATA, banks=other)), pinning(TPM.key_name), NOW)
    swapped = message(DATA, dict(reversed(other.items())))
    attested = TPM.attested(DATA, banks=other, signed=swapped)
    assert SCHEME.open(TPM.evidence(DATA, attested=attested), pinning(TPM.key_name), NOW)
    wrong = swapped.replace(hashlib.sha256(other["sha256"][0] + other["sha256"][23] + other["sha384"][4]).digest(), b"")
    assert len(wrong) == len(swapped) - 32


def test_encoding_and_decoding_are_each_others_inverse() -> None:
    told = TpmEvidence(TPM.attested(DATA), TPM.public(), [b"\x30\x01"])
    assert TpmEvidence.decode(told.encode()) == told


def test_a_signature_may_lack_leading_zeros() -> None:
    """The TPM library leaves it to the maker."""
    attested = TPM.attested(DATA)
    while attested.signature[6] or attested.signature[7] > 0x7F:
        attested = TPM.attested(DATA)
    r, s = attested.signature[6:38], attested.signature[40:]
    short = b"\x00\x18\x00\x0b\x00\x1f" + r[1:] + b"\x00\x20" + s
    evidence = TPM.evidence(DATA, attested=Attested(DATA, attested.message, short, attested.pcrs))
    assert SCHEME.open(evidence, pinning(TPM.key_name), NOW).anchored


def test_another_media_types_body_is_refused() -> None:
    with pytest.raises(EvidenceError, match="malformed"):
        SCHEME.open(Evidence("application/json", b"{}"), Endorsements({}), NOW)
