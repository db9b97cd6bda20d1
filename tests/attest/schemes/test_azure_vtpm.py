"""Azure vTPM evidence: the chain from the processor to the quote, and what is tried on each link of it, by groups.

The hardware reports are signed by the fake AMD, the quotes by a fake vTPM; no sample of Azure's is read here.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.canonical import canonical
from attest.claims import Endorsements
from attest.encoding import b64encode
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, NotDebug, Policy
from attest.schemes.azure_vtpm import MAX_BODY, MEDIA_TYPE, AzureEvidence, AzureVtpmScheme
from attest.schemes.roots import VENDOR_ROOTS
from attest.schemes.tpm_quote import LAUNCH, Attested
from attest.verifier import Verifier
from tests.attest.made import BINDING
from tests.attest.schemes.groups import flipped, grouped
from tests.attest.schemes.snp import AMD, NOW, trusting
from tests.pki.amd import FakeAmd, octets
from tests.pki.authority import rsa_key
from tests.pki.azure import CONFIGURATION, hcl_report, jwk, runtime
from tests.pki.tpm import FakeTpm, message, pcrs

SCHEME = AzureVtpmScheme()
VTPM = FakeTpm(NOW, "rsassa", "azure")
OTHER = FakeTpm(NOW, "rsassa", "other")
AK, EK, OTHER_AK = (rsa_key(name).public_key() for name in ("azure ak", "azure ek", "other ak"))
RUNTIME = runtime(jwk(AK), jwk(EK, "HCLEkPub"))
DATA = BINDING.report_data()
PCRS = pcrs()
GOOD = VTPM.attested(DATA)
REPORT = hcl_report(AMD, RUNTIME)
AS_ECDSA = b"\0\x18" + GOOD.signature[2:] + bytes(2)
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SLACK = _ALPHABET[_ALPHABET.index(jwk(AK)["n"][-1]) + 1]
OTHER_PCRS = PCRS | {4: bytes(32)}
DIGEST = hashlib.sha256(RUNTIME).digest()


def evidence(report: bytes = REPORT, attested: Attested = GOOD) -> Evidence:
    return AzureEvidence(attested, report).encode()


def vouching(data: bytes) -> Evidence:
    """The hardware vouches for this runtime data."""
    return evidence(hcl_report(AMD, data))


def with_key(**members: Any) -> Evidence:
    """The attestation key has these members."""
    return vouching(runtime(jwk(AK, **members)))


def code(tried: Evidence, endorsements: Endorsements | None = None, now: int = NOW) -> str:
    """The code of the refusal; `untrusted` where it opens under no anchor, empty where under one."""
    try:
        claims = SCHEME.open(tried, endorsements or trusting(), now)
    except EvidenceError as e:
        return e.code
    return "" if claims.anchored else "untrusted"


def covering(*left_out: str) -> Policy:
    """Reference values for every register of the launch but those."""
    values = {"measurement": octets("measurement", 48).hex()}
    values |= {name: PCRS[int(name[3:])].hex() for name in LAUNCH}
    rules = [Measurement(name, frozenset({value})) for name, value in values.items() if name not in left_out]
    return AllOf([NotDebug(), *rules, MinAssurance("hardware")])


def appraised(tried: Evidence, policy: Policy) -> str:
    verifier = Verifier(schemes=[SCHEME], endorsements=trusting(), policy=policy)
    try:
        result = verifier.appraise(tried, BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
    except AttestError as e:
        return e.code
    return result.assurance


@pytest.mark.parametrize("digest", [1, 2, 3])
def test_the_claims_say_what_the_platform_and_the_quote_say(digest: int) -> None:
    claims = SCHEME.open(evidence(hcl_report(AMD, RUNTIME, digest=digest)), trusting(), NOW)
    assert (claims.scheme, claims.assurance, claims.standing) == ("azure-vtpm", "hardware", "trusted")
    assert (claims.anchor, claims.report_data) == (AMD.root_sha256, DATA)
    assert claims.instance == f"chip:{AMD.chip_id.hex()}"
    assert claims.measurement.keys() == {"measurement", "hostdata"} | {f"pcr{number}" for number in PCRS}
    assert claims.measurement["pcr4"] == PCRS[4].hex()
    assert claims.launch == {"measurement"} | LAUNCH
    told = claims.details
    assert (told["vmpl"], told["secureBoot"], told["consoleEnabled"], told["resetCount"]) == ("0", "true", "true", "3")
    assert told["vmUniqueId"] == CONFIGURATION["vmUniqueId"].lower()
    assert claims.tcb is not None


@pytest.mark.parametrize("odd", [7, None, ["x"], {"vmpl": "3"}, "x" * 65], ids=str)
def test_what_the_paravisor_says_in_another_form_is_left_out(odd: Any) -> None:
    for told in (odd, {"secure-boot": odd, "vmUniqueId": odd}):
        data = runtime(jwk(AK), **{"vm-configuration": told})
        details = SCHEME.open(vouching(data), trusting(), NOW).details
        assert (details["vmpl"], details.keys() & {"secureBoot", "consoleEnabled", "vmUniqueId"}) == ("0", set())


def test_it_asks_for_what_the_report_inside_needs() -> None:
    assert set(SCHEME.wants(evidence())) >= set(AMD.documents())
    with pytest.raises(EvidenceError, match="malformed"):
        SCHEME.wants(Evidence(MEDIA_TYPE, b"{}"))


def test_what_the_vtpm_holds_is_cut_at_its_end() -> None:
    held = REPORT.ljust(2600, b"\0")
    assert AzureEvidence.of(GOOD, held) == AzureEvidence(GOOD, REPORT)
    for wrong in (held[:-1] + b"\1", REPORT[:-1], b"", b"HCLA"):
        with pytest.raises(EvidenceError, match="malformed"):
            AzureEvidence.of(GOOD, wrong)


def test_hardware_only_where_every_register_of_the_launch_has_a_reference_value() -> None:
    assert appraised(evidence(), covering()) == "hardware"
    for name in ("measurement", *LAUNCH):
        assert appraised(evidence(), covering(name)) == "measurement"


@grouped(
    ("g25-no-key", vouching(runtime(jwk(EK, "HCLEkPub"))), "malformed"),
    ("g25-no-keys", vouching(b'{"keys":[]}'), "malformed"),
    ("g25-keys-absent", vouching(b"{}"), "malformed"),
    ("g25-keys-as-object", vouching(b'{"keys":{"kid":"HCLAkPub"}}'), "malformed"),
    ("g25-two-keys", vouching(runtime(jwk(OTHER_AK), jwk(AK))), "malformed"),
    ("g25-two-keys-the-other-way-round", vouching(runtime(jwk(AK), jwk(OTHER_AK))), "malformed"),
    ("g25-one-key-twice", vouching(runtime(jwk(AK), jwk(AK))), "malformed"),
    ("g25-keys-twice", vouching(RUNTIME.replace(b'{"keys"', b'{"keys":[],"keys"')), "malformed"),
    ("g25-kid-twice", vouching(RUNTIME.replace(b'"kid"', b'"kid":"x","kid"', 1)), "malformed"),
    ("g25-quote-by-the-other-key", vouching(runtime(jwk(EK, "HCLAkPub"))), "signature"),
    ("g25-key-not-in-runtime-data", evidence(attested=OTHER.attested(DATA)), "signature"),
    ("g25-no-signature", evidence(attested=Attested(DATA, GOOD.message, bytes(262), GOOD.pcrs)), "unsupported"),
    ("g25-elliptic-key", with_key(kty="EC"), "malformed"),
    ("g25-exponent-3", with_key(e="Aw"), "malformed"),
    ("g25-exponent-padded", with_key(e="AQAB="), "malformed"),
    ("g25-modulus-short", with_key(n="AQAB"), "malformed"),
    ("g25-modulus-of-no-text", with_key(n=7), "malformed"),
    ("g25-modulus-in-base64", with_key(n=jwk(AK)["n"] + "=="), "malformed"),
    ("g25-modulus-of-1024-bits", with_key(n="A" * 170 + jwk(AK)["n"][-172:]), "unsupported"),
    ("g25-modulus-even", with_key(n="_" * 341 + "A"), "unsupported"),
    ("g25-runtime-data-no-json", vouching(b"\xff" * 40), "malformed"),
    ("g25-runtime-data-a-list", vouching(b"[]"), "malformed"),
    ("g25-runtime-data-deep", vouching(b"[" * 5000), "malformed"),
    ("g25-nan", vouching(runtime(jwk(AK), more=float("nan"))), "malformed"),
    ("g25-modulus-with-slack-bits", with_key(n=jwk(AK)["n"][:-1] + SLACK), "malformed"),
    (
        "g25-rsa-signature-named-ecdsa",
        evidence(attested=Attested(DATA, GOOD.message, AS_ECDSA, GOOD.pcrs)),
        "signature",
    ),
    ("g25-pss-is-a-quote-too", evidence(attested=FakeTpm(NOW, "rsapss", "azure").attested(DATA)), ""),
    ("g25-good", evidence(), ""),
)
def test_a_key_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


@grouped(
    ("g22-other-runtime-data", evidence(hcl_report(AMD, RUNTIME, bound=bytes(32))), "chain"),
    ("g22-runtime-data-replaced", evidence(REPORT[:1236] + runtime(jwk(OTHER_AK))), "malformed"),
    ("g22-runtime-data-of-ones-own", evidence(hcl_report(AMD, runtime(jwk(OTHER_AK)), bound=RUNTIME[:32])), "chain"),
    (
        "g22-digest-then-rest",
        evidence(hcl_report(AMD, RUNTIME, bound=hashlib.sha256(RUNTIME).digest() + b"\1")),
        "chain",
    ),
    ("g22-digest-of-another-kind", evidence(REPORT[:1228] + b"\2" + REPORT[1229:]), "chain"),
    ("g22-report-data-of-the-guest", evidence(hcl_report(AMD, RUNTIME, bound=DATA)), "chain"),
    ("g22-asked-for-by-the-guest", evidence(hcl_report(AMD, RUNTIME, vmpl=2)), "chain"),
    ("g22-asked-for-at-vmpl-1", evidence(hcl_report(AMD, RUNTIME, vmpl=1)), "chain"),
    ("g08-tdx", evidence(hcl_report(AMD, RUNTIME, kind=4)), "unsupported"),
    ("g08-vbs", evidence(hcl_report(AMD, RUNTIME, kind=1)), "unsupported"),
    ("g08-digest-0", evidence(hcl_report(AMD, RUNTIME, digest=0)), "unsupported"),
    ("g08-digest-4", evidence(hcl_report(AMD, RUNTIME, digest=4)), "unsupported"),
    ("g07-magic", evidence(hcl_report(AMD, RUNTIME, magic=b"HCLB")), "malformed"),
    ("g07-length-ffffffff", evidence(hcl_report(AMD, RUNTIME, length=0xFFFFFFEB)), "malformed"),
    ("g07-length-0", evidence(hcl_report(AMD, RUNTIME, length=0)), "malformed"),
    ("g07-one-longer", evidence(hcl_report(AMD, RUNTIME, length=len(RUNTIME) + 1)), "malformed"),
    ("g07-one-shorter", evidence(hcl_report(AMD, RUNTIME, length=len(RUNTIME) - 1)), "malformed"),
    ("g04-trailing", evidence(hcl_report(AMD, RUNTIME, trailing=b"\0")), "malformed"),
    ("g10-of-a-fake-amd", evidence(hcl_report(FakeAmd(NOW, name="fake"), RUNTIME)), "chain"),
    ("g01-debug-is-said", evidence(hcl_report(AMD, RUNTIME, policy=0xB0000)), ""),
    ("g18-other-tcb", evidence(hcl_report(AMD, RUNTIME, reported=(3, 0, 8, 115, 0))), "chain"),
    ("g20-other-request", evidence(attested=VTPM.attested(bytes(64), signed=GOOD.message)), "binding"),
    ("g20-other-quote", evidence(attested=VTPM.attested(DATA, signed=message(bytes(64), {"sha256": PCRS}))), "binding"),
    (
        "g24-other-values",
        evidence(attested=VTPM.attested(DATA, shown={"sha256": PCRS | {4: bytes(32)}})),
        "measurement",
    ),
)
def test_a_link_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


def test_g08_why_tdx_is_not_supported_is_said() -> None:
    with pytest.raises(EvidenceError, match="SEPT_VE_DISABLE"):
        SCHEME.open(evidence(hcl_report(AMD, RUNTIME, kind=4)), trusting(), NOW)


def test_g07_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(EvidenceError, match="is longer than"):
        SCHEME.wants(Evidence(MEDIA_TYPE, bytes(MAX_BODY + 1)))


@grouped(
    ("g01-debug", hcl_report(AMD, RUNTIME, policy=0xB0000), "debug"),
    ("g24-other-paravisor", hcl_report(AMD, RUNTIME, measurement=bytes(48)), "measurement"),
    ("g24-good", REPORT, "hardware"),
)
def test_the_verifier_refuses(tried: bytes, expected: str) -> None:
    assert appraised(evidence(tried), covering()) == expected


@pytest.mark.parametrize("register", [2, 4, 8, 9, 12, 13, 14])
def test_g24_hardware_knows_whatever_was_run_before_the_server(register: int) -> None:
    """Drivers that the firmware was told to load from a disk are in PCR 2 alone."""
    other = VTPM.attested(DATA, banks={"sha256": PCRS | {register: b"\1" * 32}})
    assert appraised(evidence(attested=other), covering()) == "measurement"


def test_g24_only_pcr_16_where_pcr_4_is_asked() -> None:
    only = VTPM.attested(DATA, banks={"sha256": pcrs(registers=(16,))})
    assert appraised(evidence(attested=only), covering()) == "measurement"


@grouped(
    ("g10-amds-real-roots", Endorsements(VENDOR_ROOTS, AMD.documents()), "untrusted"),
    ("g10-as-anchor-of-a-tpm", Endorsements({"tpm": frozenset({AMD.root_sha256})}, AMD.documents()), "untrusted"),
    ("g10-no-documents", Endorsements({"amd": frozenset({AMD.root_sha256})}), "chain"),
)
def test_the_root_has_to_be_an_anchor(tried: Endorsements, expected: str) -> None:
    assert code(evidence(), tried) == expected


def test_g11_certificates_have_their_dates() -> None:
    assert code(evidence(), now=1_577_836_800_000) == "not_yet_valid"
    assert code(evidence(), now=NOW + 4000 * 86_400_000) == "expired"


def document(change: Callable[[dict[str, Any]], object]) -> Evidence:
    value = json.loads(evidence().body)
    change(value)
    return Evidence(MEDIA_TYPE, canonical(value))


@grouped(
    ("g09-hex", document(lambda d: d.update(hclReport=REPORT.hex())), "malformed"),
    ("g09-base64url", document(lambda d: d.update(hclReport=d["hclReport"].replace("/", "_"))), "malformed"),
    ("g09-space", Evidence(MEDIA_TYPE, evidence().body + b" "), "malformed"),
    ("g07-more", document(lambda d: d.update(key="")), "malformed"),
    ("g07-less", document(lambda d: d.pop("pcrs")), "malformed"),
    ("g07-long-report", document(lambda d: d.update(hclReport=b64encode(bytes(17_000)))), "malformed"),
    ("g07-long", Evidence(MEDIA_TYPE, bytes(MAX_BODY + 1)), "malformed"),
    ("g07-megabyte", Evidence(MEDIA_TYPE, b"[" * (1 << 20)), "malformed"),
)
def test_another_spelling_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


HARDWARE_SIGNED, SIGNATURE_END, RUNTIME_BEGIN = 32 + 0x2A0, 32 + 0x330, 32 + 1184 + 20


def test_g03_no_flipped_bit_of_what_is_signed_survives() -> None:
    signed = [*range(32, HARDWARE_SIGNED, 7), *range(HARDWARE_SIGNED, SIGNATURE_END, 7)]
    for at in (*signed, *range(RUNTIME_BEGIN, len(REPORT), 7)):
        assert code(evidence(flipped(REPORT, at))) not in ("", "untrusted"), at
    for at in range(0, len(GOOD.message), 3):
        assert code(evidence(attested=Attested(DATA, flipped(GOOD.message, at), GOOD.signature, GOOD.pcrs)))


def test_g02_no_cut_survives() -> None:
    for end in range(0, len(REPORT), 11):
        assert code(evidence(REPORT[:end])) == "malformed"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(REPORT) - 1), st.binary(min_size=1, max_size=4), st.binary(max_size=80))
def test_nothing_but_our_error_leaves(at: int, patch: bytes, whole: bytes) -> None:
    for report in (REPORT[:at] + patch + REPORT[at + len(patch) :], hcl_report(AMD, whole), whole):
        code(evidence(report))
    code(Evidence(MEDIA_TYPE, whole))
