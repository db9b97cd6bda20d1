"""What is tried on Nitro documents, by groups, and the code that each try gets.

Most of it is signed with the right key of the fake AWS, so that only the check which is meant can refuse it.
"""

import tracemalloc
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.claims import Endorsements
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, NotDebug
from attest.schemes.nitro import MAX_SIZE, MEDIA_TYPE
from attest.schemes.roots import VENDOR_ROOTS
from attest.verifier import Verifier
from attest.x509 import P384_ORDER, milliseconds
from tests.attest.made import BINDING
from tests.attest.schemes.enclave import AWS, NOW, SCHEME, code, opened, trusting
from tests.attest.schemes.groups import flipped, grouped
from tests.attest.schemes.test_nitro import manifest_sample
from tests.pki.authority import moment, usage
from tests.pki.aws import PROTECTED, REGION, ROOT, ZONE, FakeAws, der, indefinite, pcrs

STRIDE = 5
"""Of the bytes of a document every so many are flipped; 1 flips them all, in half a minute."""
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
OTHER = FakeAws(NOW, "other")
GOOD = AWS.document()
DATA = BINDING.report_data()
POLICY = AllOf([NotDebug(), Measurement("pcr0", frozenset({pcrs()[0].hex()})), MinAssurance("hardware")])


@grouped(
    ("g01-debug", AWS.document(user_data=DATA, registers=pcrs(debug=True)), "debug"),
    ("g01-not-debug", AWS.document(user_data=DATA), ""),
    ("g10-own-root-in-the-bundle", OTHER.document(user_data=DATA), "root"),
    ("g20-zero", GOOD, "binding"),
    ("g20-other-request", AWS.document(user_data=b"\1" * 64), "binding"),
    ("g20-last-half-wrong", AWS.document(user_data=DATA[:32] + bytes(32)), "binding"),
    ("g20-only-half", AWS.document(user_data=DATA[:32]), "binding"),
    ("g20-longer", AWS.document(user_data=DATA + b"\0"), "binding"),
    ("g20-absent", AWS.document(user_data=None), "binding"),
    ("g20-as-nonce-instead", AWS.document(user_data=None, nonce=DATA), "binding"),
    ("g20-as-key-instead", AWS.document(user_data=None, public_key=DATA), "binding"),
    ("g24-other-image", AWS.document(user_data=DATA, registers=pcrs() | {0: b"\1" * 48}), "measurement"),
)
def test_the_verifier_refuses(tried: bytes, expected: str) -> None:
    assert appraised(tried, trusting()) == expected


@grouped(
    ("g10-no-anchor", {}, "root"),
    ("g10-real-roots-only", VENDOR_ROOTS, "root"),
    ("g10-anchor-of-another-vendor", {"amd": frozenset({AWS.root_sha256})}, "root"),
    ("g10-anchored", {"aws": frozenset({AWS.root_sha256})}, ""),
)
def test_the_root_has_to_be_an_anchor(tried: Mapping[str, frozenset[str]], expected: str) -> None:
    assert appraised(AWS.document(user_data=DATA), Endorsements(tried)) == expected


def appraised(body: bytes, endorsements: Endorsements) -> str:
    verifier = Verifier(schemes=[SCHEME], endorsements=endorsements, policy=POLICY)
    try:
        verifier.appraise(Evidence(MEDIA_TYPE, body), BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
    except AttestError as e:
        return e.code
    return ""


def test_g02_a_document_that_was_cut_is_refused() -> None:
    assert {code(GOOD[:size]) for size in [*range(64), *range(64, len(GOOD), 61), len(GOOD) - 1]} == {"malformed"}


def test_g03_each_flipped_byte_is_refused() -> None:
    assert not [at for at in range(0, len(GOOD), STRIDE) if code(flipped(GOOD, at)) == ""]


@pytest.mark.parametrize("case", ["nitro-prod", "nitro-prod2"])
def test_g03_each_flipped_byte_of_a_sample_is_refused(case: str, shared: Path) -> None:
    document, at = manifest_sample(shared, case)
    roots = Endorsements(VENDOR_ROOTS)
    assert not [place for place in range(0, len(document), STRIDE) if code(flipped(document, place), roots, at) == ""]


def test_g05_the_other_signature_of_ecdsa_gives_the_same_claims() -> None:
    other = GOOD[:-48] + (P384_ORDER - int.from_bytes(GOOD[-48:], "big")).to_bytes(48, "big")
    assert other != GOOD
    assert opened(other) == opened(GOOD)


@grouped(
    ("g06-r-zero", GOOD[:-96] + bytes(48) + GOOD[-48:], "signature"),
    ("g06-s-zero", GOOD[:-48] + bytes(48), "signature"),
    ("g06-r-order", GOOD[:-96] + P384_ORDER.to_bytes(48, "big") + GOOD[-48:], "signature"),
    ("g06-s-order", GOOD[:-48] + P384_ORDER.to_bytes(48, "big"), "signature"),
    ("g06-by-another-key", AWS.sign(indefinite(AWS.payload()), key=OTHER.key), "signature"),
)
def test_signatures_out_of_range_or_by_others_are_refused(tried: bytes, expected: str) -> None:
    assert code(tried) == expected


def packed(*items: Any, document: bytes = GOOD) -> bytes:
    """The four items of the document with some, from the left, replaced unless they are `...`."""
    parts = [item if item is not ... else part for item, part in zip(items, cbor2.loads(document), strict=False)]
    return cbor2.dumps(parts)


PARTS = cbor2.loads(GOOD)
PAYLOAD = indefinite(AWS.payload())
NESTED = b"\x81" * 5000 + b"\1"


@grouped(
    ("g04-one-byte", GOOD + b"\0", "malformed"),
    ("g04-a-break", GOOD + b"\xff", "malformed"),
    ("g04-twice", GOOD + GOOD, "malformed"),
    ("g04-behind-the-payload", AWS.sign(PAYLOAD + b"\0"), "malformed"),
    ("g04-a-break-behind-the-payload", AWS.sign(PAYLOAD + b"\xff"), "malformed"),
    ("g07-megabyte", b"\x84" + b"\xff" * (1 << 20), "malformed"),
    ("g07-just-too-long", bytes(MAX_SIZE + 1), "malformed"),
    ("g07-length-7fffffffffffffff", b"\x5b\x7f" + b"\xff" * 7, "malformed"),
    ("g07-length-ffffffffffffffff", b"\x9b" + b"\xff" * 8, "malformed"),
    ("g07-map-of-billions", b"\xba\x7f\xff\xff\xff", "malformed"),
    ("g07-depth-5000", NESTED, "malformed"),
    ("g07-depth-5000-in-the-payload", AWS.sign(NESTED), "malformed"),
    ("g07-depth-5-in-the-payload", AWS.document(nonce=[[[[[]]]]]), "malformed"),
    ("g07-duplicate-member", AWS.sign(PAYLOAD[:-1] + b"\x65nonce\xf6\xff"), "malformed"),
    ("g07-duplicate-register", AWS.sign(PAYLOAD.replace(b"\x64pcrs\xb0\x00", b"\x64pcrs\xb0\x01")), "malformed"),
    ("g07-indefinite-strings", b"\x84\x5f\x44" + PROTECTED + b"\xff" + GOOD[6:], "malformed"),
    ("g07-indefinite-array", b"\x9f" + GOOD[1:] + b"\xff", "malformed"),
    ("g07-longer-length", b"\x98\x04" + GOOD[1:], "malformed"),
    ("g07-nan", AWS.document(timestamp=float("nan")), "malformed"),
    (
        "g07-regular-expression",
        packed(..., ..., ..., cbor2.CBORTag(35, "(?i)" + "[\0-\U0010ffff]" * 2000)),
        "malformed",
    ),
    ("g07-message", AWS.document(nonce=cbor2.CBORTag(36, "a: b")), "malformed"),
    ("g07-cycle", b"\xd8\x1c\x84\xd8\x1d\0\xa0\x40\x40", "malformed"),
    ("g07-references", AWS.sign(b"\xd9\x01\x00" + PAYLOAD), "malformed"),
    ("g08-tagged", b"\xd2" + GOOD, ""),
    ("g08-tagged-twice", b"\xd2\xd2" + GOOD, "malformed"),
    ("g08-tagged-in-another-encoding", b"\xd8\x12" + GOOD, "malformed"),
    ("g08-sign-of-many", cbor2.dumps(cbor2.CBORTag(98, PARTS)), "malformed"),
    ("g08-three-items", b"\x83" + GOOD[1:-98], "malformed"),
    ("g08-five-items", cbor2.dumps([*PARTS, b""]), "malformed"),
    ("g08-a-map", cbor2.dumps({}), "malformed"),
    ("g08-payload-detached", packed(..., ..., None), "malformed"),
    ("g08-payload-inline", packed(..., ..., AWS.payload()), "malformed"),
    ("g08-payload-a-list", AWS.sign(cbor2.dumps([1])), "malformed"),
    ("g08-definite-map", AWS.sign(cbor2.dumps(AWS.payload())), ""),
    ("g09-hex", GOOD.hex().encode(), "malformed"),
    ("g09-0x", b"0x" + GOOD.hex().encode(), "malformed"),
    ("g09-base64", b64encode(GOOD), "malformed"),
    ("g09-base64url", urlsafe_b64encode(GOOD).rstrip(b"="), "malformed"),
)
def test_other_encodings_are_refused(tried: bytes, expected: str) -> None:
    tracemalloc.start()
    try:
        assert code(tried) == expected
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("size", "told"), [(MAX_SIZE, "not CBOR"), (MAX_SIZE + 1, "at most 32768 bytes")])
def test_g07_what_is_too_long_is_not_even_read(size: int, told: str) -> None:
    with pytest.raises(EvidenceError, match=told):
        opened(b"\xff" * size)


def with_es256() -> bytes:
    """A document whose leaf has a key on P-256, signed with it, and which says ES384 all the same."""
    key = ec.generate_private_key(ec.SECP256R1())
    payload = indefinite(AWS.payload(certificate=AWS.endorse(key=key)))
    signed = cbor2.dumps(["Signature1", PROTECTED, b"", payload])
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
    unprotected: dict[int, bytes] = {}
    return cbor2.dumps([PROTECTED, unprotected, payload, r.to_bytes(48, "big") + s.to_bytes(48, "big")])


@grouped(
    ("g26-es256", AWS.sign(PAYLOAD, protected=cbor2.dumps({1: -7})), "malformed"),
    ("g26-no-algorithm", AWS.sign(PAYLOAD, protected=b"\xa0"), "malformed"),
    ("g26-empty-protected", AWS.sign(PAYLOAD, protected=b""), "malformed"),
    ("g26-algorithm-unprotected", AWS.sign(PAYLOAD, protected=b"\xa0", unprotected={1: -35}), "malformed"),
    ("g26-algorithm-in-both", AWS.sign(PAYLOAD, unprotected={1: -35}), "malformed"),
    ("g26-another-header", AWS.sign(PAYLOAD, protected=cbor2.dumps({1: -35, 4: b"kid"})), "malformed"),
    ("g26-unprotected-header", AWS.sign(PAYLOAD, unprotected={4: b"kid"}), "malformed"),
    ("g26-protected-in-another-encoding", AWS.sign(PAYLOAD, protected=b"\xbf\x01\x38\x22\xff"), "malformed"),
    ("g26-key-on-p256", with_es256(), "chain"),
    ("g26-short-signature", cbor2.dumps([*PARTS[:3], PARTS[3][:64]]), "malformed"),
    ("g26-der-signature", cbor2.dumps([*PARTS[:3], b"\x30" + PARTS[3]]), "malformed"),
    ("g26-user-data-512", AWS.document(user_data=bytes(512)), ""),
    ("g26-user-data-513", AWS.document(user_data=bytes(513)), "malformed"),
    ("g26-nonce-513", AWS.document(nonce=bytes(513)), "malformed"),
    ("g26-public-key-1025", AWS.document(public_key=bytes(1025)), "malformed"),
    ("g26-user-data-text", AWS.document(user_data="a" * 64), "malformed"),
    ("g26-member-of-ours", AWS.document(debug=False), "malformed"),
    ("g26-member-missing", AWS.document(digest=...), "malformed"),
    ("g26-registers-missing", AWS.document(pcrs=...), "malformed"),
    ("g26-number-as-member", AWS.sign(PAYLOAD[:-1] + b"\1\1\xff"), "malformed"),
    ("g26-digest-sha512", AWS.document(digest="SHA512"), "malformed"),
    ("g26-no-module", AWS.document(module_id=""), "malformed"),
    ("g26-module-of-bytes", AWS.document(module_id=b"i"), "malformed"),
    ("g26-timestamp-0", AWS.document(timestamp=0), "malformed"),
    ("g26-timestamp-negative", AWS.document(timestamp=-1), "malformed"),
    ("g26-timestamp-true", AWS.document(timestamp=True), "malformed"),
    ("g26-timestamp-2-to-64", AWS.document(timestamp=2**64 - 1), "malformed"),
    ("g26-registers-of-sha256", AWS.document(pcrs={i: bytes(32) for i in range(3)}), "malformed"),
    ("g26-registers-without-2", AWS.document(pcrs={0: bytes(48), 1: bytes(48)}), "malformed"),
    ("g26-register-32", AWS.document(pcrs=pcrs() | {32: bytes(48)}), "malformed"),
    ("g26-register-negative", AWS.document(pcrs=pcrs() | {-1: bytes(48)}), "malformed"),
    ("g26-register-by-float", AWS.document(pcrs={0.0: bytes(48), 1: bytes(48), 2: bytes(48)}), "malformed"),
    ("g26-register-by-text", AWS.document(pcrs=pcrs() | {"0": bytes(48)}), "malformed"),
    ("g26-registers-a-list", AWS.document(pcrs=[bytes(48)] * 3), "malformed"),
    ("g26-register-31", AWS.document(pcrs=pcrs() | {31: bytes(48)}), ""),
    ("g26-bundle-empty", AWS.sign(indefinite(AWS.payload() | {"cabundle": []})), "malformed"),
    ("g26-bundle-of-nine", AWS.document(cabundle=[AWS.root] * 9), "malformed"),
    ("g26-bundle-a-map", AWS.sign(indefinite(AWS.payload() | {"cabundle": {}})), "malformed"),
    ("g26-bundle-of-text", AWS.sign(indefinite(AWS.payload() | {"cabundle": ["a"]})), "malformed"),
    ("g26-certificate-empty", AWS.sign(indefinite(AWS.payload() | {"certificate": b""})), "malformed"),
    ("g26-certificate-twice", AWS.sign(indefinite(AWS.payload() | {"certificate": der(AWS.leaf) * 2})), "malformed"),
)
def test_members_and_headers_are_exactly_those_of_aws(tried: bytes, expected: str) -> None:
    assert code(tried) == expected


def bundled(*cabundle: x509.Certificate, leaf: x509.Certificate | None = None) -> bytes:
    return AWS.document(cabundle=cabundle or (AWS.root, AWS.region, AWS.zone), certificate=leaf)


def zone(issuer: str = REGION, key: str = "region", **changes: Any) -> x509.Certificate:
    return AWS.authority(ZONE, "zone", issuer, key, **changes)


@grouped(
    ("g10-root-of-the-same-name", bundled(OTHER.root, AWS.region, AWS.zone), "chain"),
    ("g10-bundle-of-another", bundled(OTHER.root, OTHER.region, OTHER.zone), "chain"),
    ("g10-leaf-of-another", bundled(leaf=OTHER.leaf), "chain"),
    ("g10-leaf-first", bundled(AWS.zone, AWS.region, AWS.root), "chain"),
    ("g10-zone-missing", bundled(AWS.root, AWS.region), "chain"),
    ("g10-root-missing", bundled(AWS.region, AWS.zone), "chain"),
    ("g10-root-twice", bundled(AWS.root, AWS.root, AWS.region, AWS.zone), ""),
    ("g10-root-alone", bundled(AWS.root), "chain"),
    ("g10-intermediate-as-leaf", bundled(AWS.root, AWS.region, leaf=AWS.zone), "chain"),
    ("g10-root-as-leaf", bundled(AWS.root, leaf=AWS.root), "chain"),
    ("g10-leaf-as-authority", bundled(AWS.root, AWS.region, AWS.zone, AWS.leaf, leaf=AWS.leaf), "chain"),
    ("g10-leaf-is-authority", bundled(leaf=AWS.endorse(authority=True)), "chain"),
    ("g10-leaf-signs-nothing", bundled(leaf=AWS.endorse(key_usage=usage(signs=False, certifies=False))), "chain"),
    ("g10-zone-without-constraints", bundled(AWS.root, AWS.region, zone(is_authority=None)), "chain"),
    ("g10-zone-is-no-authority", bundled(AWS.root, AWS.region, zone(is_authority=False)), "chain"),
    ("g10-zone-by-the-root", bundled(AWS.root, AWS.region, zone(ROOT, "root")), "chain"),
    ("g10-zone-by-another-key", bundled(AWS.root, AWS.region, zone(key="root")), "chain"),
    (
        "g10-path-too-long",
        bundled(AWS.root, AWS.authority(REGION, "region", ROOT, "root", path_length=0), AWS.zone),
        "chain",
    ),
    ("g11-leaf-expired-by-a-second", bundled(leaf=AWS.endorse(end=moment(NOW) - SECOND)), "expired"),
    ("g11-leaf-in-its-last-second", bundled(leaf=AWS.endorse(end=moment(NOW))), ""),
    ("g11-leaf-a-second-early", bundled(leaf=AWS.endorse(begin=moment(NOW) + SECOND)), "not_yet_valid"),
    ("g11-zone-expired", bundled(AWS.root, AWS.region, zone(end=moment(NOW) - SECOND)), "expired"),
    ("g11-zone-early", bundled(AWS.root, AWS.region, zone(begin=moment(NOW) + SECOND)), "not_yet_valid"),
    ("g21-from-the-future", AWS.document(timestamp=NOW + 60_001), "not_yet_valid"),
    ("g21-within-the-skew", AWS.document(timestamp=NOW + 60_000), ""),
    ("g26-before-its-certificate", AWS.document(timestamp=NOW - 3001), "not_yet_valid"),
    ("g26-at-its-certificate-s-begin", AWS.document(timestamp=NOW - 3000), ""),
)
def test_the_chain_is_one_line_and_in_its_dates(tried: bytes, expected: str) -> None:
    assert code(tried) == expected


@grouped(
    ("g11-clock-in-2020", NOW - 6 * 365 * 86_400_000, "not_yet_valid"),
    ("g11-clock-before-1970", -1, "not_yet_valid"),
    ("g11-last-moment", milliseconds(AWS.leaf.not_valid_after_utc), ""),
    ("g11-a-moment-later", milliseconds(AWS.leaf.not_valid_after_utc) + 1, "expired"),
    ("g11-next-year", NOW + 365 * 86_400_000, "expired"),
)
def test_dates_are_judged_at_the_time_that_is_given(tried: int, expected: str) -> None:
    assert code(GOOD, now=tried) == expected


def test_g26_a_document_dated_after_its_certificate_is_refused_although_both_are_past() -> None:
    late = milliseconds(AWS.leaf.not_valid_after_utc) + 1
    assert code(AWS.document(timestamp=late), now=late) == "expired"


def test_g16_aws_has_no_tcb_to_be_held_to() -> None:
    assert opened(GOOD).tcb is None


def test_g23_an_instance_is_named() -> None:
    """A twin on another machine has the same registers, so a policy that pins the machine has this to go by."""
    twin = opened(AWS.document(module_id="i-0fedcba9876543210-enc0123456789abcdef"))
    assert twin.instance == "ec2:i-0fedcba9876543210"
    assert twin.instance != opened(GOOD).instance
    assert twin.measurement == opened(GOOD).measurement


def test_no_tag_of_cbor_is_read() -> None:
    """Some stand for programs: a regular expression that takes minutes, a message that is parsed, a cycle."""
    values = (b"\1", b"\x61a", b"\x41a", b"\x82\0\1", b"\xa0")
    heads = [bytes([0xDA]) + number.to_bytes(4, "big") for number in [*range(2000), 43_000, 43_001, 55_799, 1 << 31]]
    opened_ = {code(head + value) for head in heads for value in values}
    inside = {code(AWS.document(user_data=cbor2.CBORTag(number, bytes(64)))) for number in [*range(300), 1004, 55_799]}
    assert opened_ | inside == {"malformed"}


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=3000))
def test_garbage_is_refused_and_nothing_else_leaks(data: bytes) -> None:
    assert code(data) == "malformed"
    assert code(AWS.sign(data)) == "malformed"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_payload_that_is_signed_again_leaks_nothing(data: st.DataObject) -> None:
    payload = bytearray(PAYLOAD)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    code(AWS.sign(bytes(payload)))
