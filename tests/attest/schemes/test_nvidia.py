"""GPU evidence: what its claims say, how little that is, and what is tried on it, by groups."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.canonical import canonical
from attest.claims import Endorsements
from attest.encoding import b64encode
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance
from attest.schemes.nvidia import MAX_BODY, MEDIA_TYPE, NvidiaScheme
from attest.schemes.roots import VENDOR_ROOTS
from attest.verifier import Verifier
from tests.attest.made import BINDING
from tests.attest.schemes.groups import flipped, grouped
from tests.pki.authority import moment, rsa_key
from tests.pki.nvidia import LINE, FakeNvidia, blocks, measurements
from tests.pki.tpm import p256_key

NOW = 1_795_176_000_000
SCHEME = NvidiaScheme()
GPU, OTHER = FakeNvidia(NOW), FakeNvidia(NOW, "other")
DATA = BINDING.report_data()
REPORT = GPU.report(DATA)
ANCHORS = Endorsements({"nvidia": frozenset({GPU.root_sha256})})
SIGNATURE = 96
N_P384 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
OTHER_CURVE: ec.EllipticCurvePrivateKey = p256_key("gpu")


def code(tried: Evidence, endorsements: Endorsements = ANCHORS, now: int = NOW) -> str:
    """The code of the refusal; `untrusted` where it opens under no anchor, empty where under one."""
    try:
        claims = SCHEME.open(tried, endorsements, now)
    except EvidenceError as e:
        return e.code
    return "" if claims.anchored else "untrusted"


def reporting(**wrong: Any) -> Evidence:
    """A report signed as it is; `wrong` as for `FakeNvidia.report`."""
    return GPU.evidence(DATA, report=GPU.report(DATA, **wrong))


def signature(r: int, s: int) -> Evidence:
    return GPU.evidence(DATA, report=REPORT[:-SIGNATURE] + r.to_bytes(48, "big") + s.to_bytes(48, "big"))


def under(chain: Sequence[x509.Certificate]) -> Evidence:
    return GPU.evidence(DATA, chain=chain)


def document(change: Callable[[dict[str, Any]], object]) -> Evidence:
    value = json.loads(GPU.evidence(DATA).body)
    change(value)
    return Evidence(MEDIA_TYPE, canonical(value))


def test_the_claims_say_how_little_was_checked() -> None:
    claims = SCHEME.open(GPU.evidence(DATA), ANCHORS, NOW)
    assert (claims.scheme, claims.assurance, claims.standing) == ("nvidia-gpu", "none", "trusted")
    assert (claims.anchor, claims.report_data, claims.instance) == (GPU.root_sha256, DATA, "gpu:7bc2")
    assert claims.measurement == {f"gpu{index}": value.hex() for index, value in measurements()}
    assert claims.details["verified"] == "signature only"
    assert "RIM" in claims.details["notVerified"]
    assert SCHEME.wants(GPU.evidence(DATA)) == ()


def test_no_policy_makes_more_of_it() -> None:
    rules = [Measurement(f"gpu{index}", frozenset({value.hex()})) for index, value in measurements()]
    verifier = Verifier(schemes=[SCHEME], endorsements=ANCHORS, policy=AllOf([*rules, MinAssurance("software")]))
    with pytest.raises(AttestError, match="assurance is none"):
        verifier.appraise(GPU.evidence(DATA), BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)


R, S = int.from_bytes(REPORT[-96:-48], "big"), int.from_bytes(REPORT[-48:], "big")
MANY = measurements(64)


@grouped(
    ("g02-empty", GPU.evidence(DATA, report=b""), "unsupported"),
    ("g02-request-alone", GPU.evidence(DATA, report=REPORT[:37]), "malformed"),
    ("g04-trailing", reporting(trailing=b"\0"), "malformed"),
    ("g05-other-s", signature(R, N_P384 - S), ""),
    ("g06-r-zero", signature(0, S), "signature"),
    ("g06-s-zero", signature(R, 0), "signature"),
    ("g06-r-order", signature(N_P384, S), "signature"),
    ("g06-s-order", signature(R, N_P384), "signature"),
    ("g06-zero", signature(0, 0), "signature"),
    ("g07-opaque-ffff", reporting(opaque_length=0xFFFF), "malformed"),
    ("g07-record-short", reporting(record=blocks(MANY)[:-1], count=64), "malformed"),
    ("g07-record-long", reporting(record=blocks(MANY) + b"\0", count=64), "malformed"),
    ("g07-more-than-counted", reporting(count=3), "malformed"),
    ("g07-less-than-counted", reporting(count=255), "malformed"),
    ("g07-index-twice", reporting(record=blocks([(1, b"a"), (1, b"b")]), count=2), "malformed"),
    ("g07-block-too-small", reporting(record=b"\x01\x01\x02\x00\x01\x00", count=1), "malformed"),
    ("g07-block-of-another-size", reporting(record=b"\x01\x01\x04\x00\x01\x02\x00a", count=1), "malformed"),
    ("g07-block-of-another-specification", reporting(record=b"\x01\x02\x04\x00\x01\x01\x00a", count=1), "malformed"),
    ("g07-as-many-as-gpus-have", reporting(record=blocks(MANY), count=64), ""),
    ("g08-spdm-1.2", reporting(request=b"\x12\xe0\x01\xff", response=b"\x12\x60\0\0"), "unsupported"),
    ("g08-another-request", reporting(request=b"\x11\xe1\x01\xff"), "malformed"),
    ("g08-another-response", reporting(response=b"\x11\x7f\0\0"), "malformed"),
    ("g08-response-of-1.2", reporting(response=b"\x12\x60\0\0"), "malformed"),
    ("g08-no-signature-asked-for", reporting(request=b"\x11\xe0\x00\xff"), "malformed"),
    ("g20-other-request", GPU.evidence(bytes(64), report=REPORT), "binding"),
    ("g20-nonce-of-zeros", reporting(nonce=bytes(32)), "binding"),
    ("g20-first-half", reporting(nonce=DATA[:32]), "binding"),
    ("g22-signed-by-another", GPU.evidence(DATA, report=OTHER.report(DATA)), "signature"),
    ("g27-rsa-key", under([GPU.certificate(0, key=rsa_key("gpu")), *GPU.chain[1:]]), "chain"),
    ("g27-p256-key", under([GPU.certificate(0, key=OTHER_CURVE), *GPU.chain[1:]]), "chain"),
    ("g10-own-chain", OTHER.evidence(DATA), "untrusted"),
    ("g10-foreign-leaf", under([OTHER.chain[0], *GPU.chain[1:]]), "chain"),
    ("g10-foreign-root", under([*GPU.chain[:-1], OTHER.chain[-1]]), "chain"),
    ("g10-root-left-out", under(GPU.chain[:-1]), "chain"),
    ("g10-link-left-out", under([GPU.chain[0], *GPU.chain[2:]]), "chain"),
    ("g10-intermediate-as-leaf", under(GPU.chain[1:]), "chain"),
    ("g10-reversed", under(GPU.chain[::-1]), "chain"),
    ("g10-none", under([]), "malformed"),
    ("g11-expired", under([GPU.certificate(0, end=moment(NOW) - timedelta(seconds=1)), *GPU.chain[1:]]), "expired"),
    ("g11-last-second", under([GPU.certificate(0, end=moment(NOW)), *GPU.chain[1:]]), ""),
    ("g09-hex", document(lambda d: d.update(report=REPORT.hex())), "malformed"),
    ("g09-capitals", document(lambda d: d.update(reportData=DATA.hex().upper())), "malformed"),
    ("g09-space", Evidence(MEDIA_TYPE, GPU.evidence(DATA).body.replace(b'":"', b'": "', 1)), "malformed"),
    ("g07-more", document(lambda d: d.update(more=1)), "malformed"),
    ("g07-less", document(lambda d: d.pop("report")), "malformed"),
    ("g07-long-report", document(lambda d: d.update(report=b64encode(bytes(17_000)))), "malformed"),
    ("g07-many-certificates", document(lambda d: d.update(certificates=[b64encode(b"0")] * 11)), "malformed"),
    ("g07-long", Evidence(MEDIA_TYPE, bytes(MAX_BODY + 1)), "malformed"),
    ("g07-megabyte", Evidence(MEDIA_TYPE, b'{"a":' * 200_000), "malformed"),
    ("g07-good", GPU.evidence(DATA), ""),
)
def test_evidence_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


@grouped(
    ("g10-nvidias-real-root", VENDOR_ROOTS, "untrusted"),
    ("g10-anchor-of-another-vendor", {"intel": frozenset({GPU.root_sha256})}, "untrusted"),
    ("g10-none", {}, "untrusted"),
)
def test_the_root_has_to_be_an_anchor(tried: Mapping[str, frozenset[str]], expected: str) -> None:
    assert code(GPU.evidence(DATA), Endorsements(tried)) == expected


def test_g07_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(EvidenceError, match="is longer than"):
        SCHEME.open(Evidence(MEDIA_TYPE, bytes(MAX_BODY + 1)), ANCHORS, NOW)


def test_g11_the_clock_back_in_2020() -> None:
    assert code(GPU.evidence(DATA), now=1_577_836_800_000) == "not_yet_valid"


def test_g02_g03_no_flip_and_no_cut_survives() -> None:
    assert len(LINE) == len(GPU.chain)
    for at in range(len(REPORT)):
        assert code(GPU.evidence(DATA, report=flipped(REPORT, at))), at
        assert code(GPU.evidence(DATA, report=REPORT[:at])) in ("malformed", "unsupported"), at


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(REPORT) - 1), st.binary(min_size=1, max_size=4), st.binary(max_size=200))
def test_nothing_but_our_error_leaves(at: int, patch: bytes, whole: bytes) -> None:
    changed = REPORT[:at] + patch + REPORT[at + len(patch) :]
    assert (code(GPU.evidence(DATA, report=changed)) == "") == (changed == REPORT)
    signed = changed[:-SIGNATURE]
    code(GPU.evidence(DATA, report=signed + GPU.sign(signed)))
    assert code(GPU.evidence(DATA, report=b"\x11\xe0\x01" + whole))
    assert code(Evidence(MEDIA_TYPE, whole))
