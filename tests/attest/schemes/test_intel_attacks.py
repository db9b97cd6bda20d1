"""What is tried on Intel quotes, by groups, and the code that each try gets.

Most of it is signed with the right keys of the fake Intel, so that only the check which is meant can refuse it.
"""

import tracemalloc
from base64 import b64encode, urlsafe_b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.claims import Endorsements
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, NotDebug
from attest.schemes.intel import SGX_MEDIA_TYPE, TDX_MEDIA_TYPE
from attest.schemes.intel_quote import MAX_QUOTE
from attest.schemes.roots import VENDOR_ROOTS
from attest.verifier import Verifier
from tests.attest.made import BINDING
from tests.attest.schemes.groups import flipped, grouped
from tests.attest.schemes.quotes import (
    ENCLAVES,
    INTEL,
    NOW,
    OTHER,
    SCHEMES,
    SIGNATURE,
    Tried,
    opened,
    trusting,
)
from tests.pki.intel import P256_ORDER, SEPT_VE_DISABLE, octets, patched, pem

TD = INTEL.quote()
TD5 = INTEL.quote(version=5, body_type=3)
ENCLAVE = ENCLAVES.enclave_quote()
AUTH = 48 + 584
"""Where the length of a version 4 quote's authentication data stands."""
R, S = SIGNATURE[4], SIGNATURE[4] + 32
RTMRS = {index: octets(f"rtmr{index}", 48) for index in (1, 2, 3)}
RIGHT = {"mrtd": octets("mrtd", 48).hex()} | {f"rtmr{index}": value.hex() for index, value in RTMRS.items()}
EXPECTED = AllOf(
    [
        NotDebug(),
        *(Measurement(name, frozenset({value})) for name, value in RIGHT.items()),
        MinAssurance("hardware"),
    ]
)


PEM = pem(INTEL.pck, INTEL.issuer, INTEL.root).encode()
LONGER = (int.from_bytes(TD[AUTH : AUTH + 4], "little") + 8).to_bytes(4, "little")


def attributes(bit: int) -> Tried:
    return Tried(INTEL.quote(attributes=SEPT_VE_DISABLE | 1 << bit))


@grouped(
    ("g01-debug-td", attributes(0), "debug"),
    ("g01-reserved-debug-bit", attributes(1), "debug"),
    ("g01-profiled-td", attributes(4), "debug"),
    ("g01-debug-td-version-5", Tried(INTEL.quote(version=5, attributes=SEPT_VE_DISABLE | 1)), "debug"),
    ("g01-debug-enclave", Tried(ENCLAVES.enclave_quote(attributes=7), intel=ENCLAVES), "debug"),
    ("g01-no-debug-enclave", Tried(intel=ENCLAVES), ""),
    ("g01-host-chooses-exceptions", Tried(INTEL.quote(attributes=0)), "unsupported"),
    ("g01-migratable", attributes(29), "unsupported"),
    ("g01-reserved-attribute", attributes(40), "unsupported"),
    ("g01-service-td", Tried(INTEL.quote(version=5, body_type=3, patches={54 + 600: b"\1"})), "unsupported"),
)
def test_g01_what_others_may_look_into_is_refused(tried: Tried, expected: str) -> None:
    assert tried.code == expected


@pytest.mark.parametrize("size", [0, 1, 47, 48, 631, 632, 636, 700, 764, 770, 1154, 1218, 1252, 1258, 2000, -1])
def test_g02_a_quote_that_was_cut_is_refused(size: int) -> None:
    assert Tried(TD[:size]).code == "malformed"


@pytest.mark.parametrize("quote", [TD5, ENCLAVE], ids=["v5", "sgx"])
def test_g02_any_cut_is_refused(quote: bytes) -> None:
    intel = INTEL if quote is TD5 else ENCLAVES
    assert {Tried(quote[:size], intel=intel).code for size in range(0, len(quote), 41)} == {"malformed"}


@pytest.mark.parametrize("quote", [TD, TD5, ENCLAVE], ids=["v4", "v5", "sgx"])
def test_g03_each_flipped_byte_is_refused(quote: bytes) -> None:
    """In the root's certificate it may open, under another anchor."""
    intel = ENCLAVES if quote is ENCLAVE else INTEL
    endorsements = trusting(intel)
    passed: list[int] = []
    for at in range(0, len(quote), 3):
        try:
            if opened(flipped(quote, at), endorsements, tee=intel.tee).anchored:
                passed.append(at)
        except EvidenceError:
            pass
    assert not passed


@grouped(
    ("g04-one-zero", Tried(TD + b"\0"), ""),
    ("g04-zeros-of-a-buffer", Tried(TD.ljust(8000, b"\0")), ""),
    ("g04-one-byte", Tried(TD + b"\1"), "malformed"),
    ("g04-last-byte-of-padding", Tried(TD.ljust(8000, b"\0") + b"\1"), "malformed"),
    ("g04-a-second-quote", Tried(TD + TD), "malformed"),
    ("g04-version-5", Tried(TD5 + b"\1"), "malformed"),
    ("g04-sgx", Tried(ENCLAVE + b"\1", intel=ENCLAVES), "malformed"),
    ("g04-sgx-zeros", Tried(ENCLAVE.ljust(8000, b"\0"), intel=ENCLAVES), ""),
    ("g04-hidden-in-the-authentication-data", Tried(patched(TD, {AUTH: LONGER}) + b"\1" * 8), "malformed"),
    ("g04-text-before-the-certificates", Tried(INTEL.sign(TD[:AUTH], certificates=b"#" + PEM)), "malformed"),
    (
        "g04-text-between-certificates",
        Tried(INTEL.sign(TD[:AUTH], certificates=PEM.replace(b"-\n-", b"-\n#\n-", 1))),
        "malformed",
    ),
    ("g04-text-behind-the-certificates", Tried(INTEL.sign(TD[:AUTH], certificates=PEM + b"#")), "malformed"),
    ("g04-a-fourth-certificate", Tried(INTEL.sign(TD[:AUTH], certificates=PEM + PEM)), "malformed"),
)
def test_g04_what_is_behind_a_quote_has_to_be_zeros(tried: Tried, expected: str) -> None:
    assert tried.code == expected


@grouped(
    ("g06-r-zero", patched(TD, {R: bytes(32)}), "signature"),
    ("g06-s-zero", patched(TD, {S: bytes(32)}), "signature"),
    ("g06-r-is-n", patched(TD, {R: P256_ORDER.to_bytes(32, "big")}), "signature"),
    ("g06-s-is-n", patched(TD, {S: P256_ORDER.to_bytes(32, "big")}), "signature"),
    ("g06-r-and-s-beyond-n", patched(TD, {R: b"\xff" * 64}), "signature"),
    ("g06-key-off-the-curve", patched(TD, {R + 64: b"\1" * 64}), "signature"),
    ("g06-report-signature-zero", patched(TD, {R + 134 + 384: bytes(64)}), "signature"),
)
def test_g06_signatures_out_of_range_are_refused(tried: bytes, expected: str) -> None:
    assert Tried(tried).code == expected


@grouped(
    ("g07-authentication-ffffffff", patched(TD, {AUTH: b"\xff" * 4}), "malformed"),
    ("g07-authentication-7fffffff", patched(TD, {AUTH: b"\xff\xff\xff\x7f"}), "malformed"),
    ("g07-report-ffffffff", patched(TD, {R + 130: b"\xff" * 4}), "malformed"),
    ("g07-qe-data-ffff", patched(TD, {R + 134 + 448: b"\xff" * 2}), "malformed"),
    ("g07-certificates-ffffffff", patched(TD, {R + 134 + 484: b"\xff" * 4}), "malformed"),
    ("g07-body-ffffffff", patched(TD5, {50: b"\xff" * 4}), "unsupported"),
    ("g07-longer-than-any-quote", TD.ljust(MAX_QUOTE + 1, b"\0"), "malformed"),
    (
        "g07-certificate-too-long",
        INTEL.sign(TD[:AUTH], certificates=PEM.replace(b"MII", b"A" * 40_000, 1)),
        "malformed",
    ),
    ("g07-certificate-of-line-ends", INTEL.sign(TD[:AUTH], certificates=PEM[:28] + b"\n" * 60_000), "malformed"),
    ("g07-megabyte", TD[:48] + b"\xff" * (1 << 20), "malformed"),
)
def test_g07_lengths_that_lie_are_refused_in_little_memory(tried: bytes, expected: str) -> None:
    endorsements = trusting()
    tracemalloc.start()
    with pytest.raises(EvidenceError) as caught:
        opened(tried, endorsements)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code == expected
    assert peak < 1 << 20


@grouped(
    ("g08-version-3-of-tdx", patched(TD, {0: b"\3"}), "unsupported"),
    ("g08-version-6", patched(TD, {0: b"\6"}), "unsupported"),
    ("g08-tee-0", patched(TD, {4: b"\0"}), "unsupported"),
    ("g08-tee-unknown", patched(TD, {4: b"\x82"}), "unsupported"),
    ("g08-body-of-an-enclave", patched(TD5, {48: b"\1"}), "unsupported"),
    ("g08-body-type-4", patched(TD5, {48: b"\4"}), "unsupported"),
    ("g08-body-of-the-other-length", patched(TD5, {48: b"\2"}), "unsupported"),
    ("g08-p384-key", patched(TD, {2: b"\3"}), "unsupported"),
    ("g08-other-vendor", patched(TD, {12: b"\0"}), "unsupported"),
    ("g08-sgx", ENCLAVE, "unsupported"),
    ("g08-no-certificates", INTEL.sign(TD[:AUTH], certificates_type=1), "unsupported"),
    ("g09-hex", TD.hex().encode(), "unsupported"),
    ("g09-0x", b"0x" + TD.hex().encode(), "unsupported"),
    ("g09-base64", b64encode(TD), "unsupported"),
    ("g09-base64url", urlsafe_b64encode(TD), "unsupported"),
)
def test_g08_what_is_no_td_quote_is_refused(tried: bytes, expected: str) -> None:
    assert Tried(tried).code == expected
    with pytest.raises(EvidenceError) as caught:
        SCHEMES[TDX_MEDIA_TYPE].wants(Evidence(TDX_MEDIA_TYPE, tried))
    assert caught.value.code == expected


@grouped(
    ("g08-td", TD, "unsupported"),
    ("g08-td-version-5", TD5, "unsupported"),
    ("g08-version-2", patched(ENCLAVE, {0: b"\2"}), "unsupported"),
    ("g08-version-4-of-sgx", patched(ENCLAVE, {0: b"\4"}), "unsupported"),
    ("g09-hex", ENCLAVE.hex().encode(), "unsupported"),
)
def test_g08_what_is_no_enclave_quote_is_refused(tried: bytes, expected: str) -> None:
    assert Tried(tried, intel=ENCLAVES).code == expected
    with pytest.raises(EvidenceError):
        SCHEMES[SGX_MEDIA_TYPE].wants(Evidence(SGX_MEDIA_TYPE, tried))


@grouped(
    ("g10-other-vendor", Endorsements({"intel": frozenset({OTHER.root_sha256})}, INTEL.documents), "root"),
    ("g10-real-roots-only", Endorsements(VENDOR_ROOTS, INTEL.documents), "root"),
    ("g10-anchor-of-another-vendor", Endorsements({"amd": frozenset({INTEL.root_sha256})}, INTEL.documents), "root"),
    ("g10-for-tests", Endorsements({}, INTEL.documents, {"intel": frozenset({INTEL.root_sha256})}), ""),
    ("g10-anchored", trusting(), ""),
)
def test_g10_the_root_has_to_be_an_anchor(tried: Endorsements, expected: str) -> None:
    assert appraised(INTEL.quote(report_data=BINDING.report_data(), rtmrs=RTMRS), tried) == expected


@grouped(
    ("g20-right", BINDING.report_data(), ""),
    ("g20-zero", bytes(64), "binding"),
    ("g20-other-request", octets("other", 64), "binding"),
    ("g20-last-half-wrong", BINDING.report_data()[:32] + bytes(32), "binding"),
    ("g20-first-half-wrong", bytes(32) + BINDING.report_data()[32:], "binding"),
)
def test_g20_it_has_to_bind_these_keys(tried: bytes, expected: str) -> None:
    assert appraised(INTEL.quote(report_data=tried, rtmrs=RTMRS)) == expected


@grouped(
    ("g24-other-mrtd", {"mrtd": bytes(48)}, "measurement"),
    ("g24-other-rtmr1", {"rtmrs": RTMRS | {1: bytes(48)}}, "measurement"),
    ("g24-other-rtmr2", {"rtmrs": RTMRS | {2: octets("other", 48)}}, "measurement"),
    ("g24-other-rtmr3", {"rtmrs": RTMRS | {3: octets("other", 48)}}, "measurement"),
    ("g24-registers-exchanged", {"rtmrs": RTMRS | {1: RTMRS[2], 2: RTMRS[1]}}, "measurement"),
    ("g24-other-firmware-settings", {"rtmrs": RTMRS | {0: octets("other", 48)}}, ""),
)
def test_g24_it_has_to_be_what_was_measured(tried: dict[str, Any], expected: str) -> None:
    made: dict[str, Any] = {"report_data": BINDING.report_data(), "rtmrs": RTMRS} | tried
    assert appraised(INTEL.quote(**made)) == expected


def appraised(body: bytes, endorsements: Endorsements | None = None) -> str:
    """The code of the whole verifier's refusal, empty where it accepts."""
    held = trusting() if endorsements is None else endorsements
    verifier = Verifier(schemes=list(SCHEMES.values()), endorsements=held, policy=EXPECTED)
    evidence = Evidence(TDX_MEDIA_TYPE, body)
    try:
        result = verifier.appraise(evidence, BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
    except AttestError as e:
        return e.code
    assert result.assurance == "hardware"
    return ""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(TD) - 1))
def test_whatever_the_bytes_nothing_but_an_evidence_error_comes_out(junk: bytes, at: int) -> None:
    for quote, tee in ((TD, "tdx"), (ENCLAVE, "sgx")):
        spliced = quote[:at] + junk + quote[at + len(junk) :]
        with suppress(EvidenceError):
            opened(spliced, trusting(INTEL if tee == "tdx" else ENCLAVES), tee=tee)
