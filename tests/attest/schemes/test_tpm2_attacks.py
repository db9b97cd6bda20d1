"""What is tried on TPM evidence, by groups, and the code that each try gets.

Most of it is signed with the right key of the fake TPM, so that only the check which is meant can refuse it.
"""

import json
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.canonical import canonical
from attest.claims import Endorsements
from attest.encoding import b64encode
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance
from attest.rules import DenyInstances
from attest.schemes.roots import VENDOR_ROOTS
from attest.schemes.tpm2 import MAX_BODY, MEDIA_TYPE, TpmEvidence
from attest.schemes.tpm_quote import Attested, check_quote
from attest.verifier import Verifier
from attest.x509 import milliseconds
from tests.attest.made import BINDING
from tests.attest.schemes.groups import flipped, grouped
from tests.attest.schemes.tpm import (
    ANCHORS,
    CERTIFIED,
    DATA,
    DAY,
    GOOD,
    N_P256,
    NOW,
    OTHER,
    PCRS,
    POLICY,
    ROOT,
    RSA,
    SCHEME,
    SECOND,
    TPM,
    appraised,
    code,
    document,
    ecdsa,
    over,
    parts,
    raw,
    shown,
    signed,
    with_key,
    with_signature,
)
from tests.pki.authority import issue, moment, p384_key, usage
from tests.pki.tpm import ATTRIBUTES, TLS_SERVER, FakeTpm, Kind, pcrs, select, sized

R, S = parts()
AS_PEM = [b64encode(certificate.public_bytes(Encoding.PEM)) for certificate in TPM.chain]


@grouped(
    ("g25-no-signature", with_signature(b"\x00\x18\x00\x0b" + sized(b"") * 2), "signature"),
    ("g25-zero-signature", with_signature(ecdsa(0, 0)), "signature"),
    ("g25-signature-of-another-quote", with_signature(TPM.attested(bytes(64)).signature), "signature"),
    ("g25-signature-of-another-key", with_signature(OTHER.attested(DATA).signature), "signature"),
    ("g25-null-scheme", with_signature(b"\x00\x10"), "unsupported"),
    ("g25-wrong-magic", signed(magic=b"\xffTCH"), "malformed"),
    ("g25-external-data", signed(magic=b"\x00\x00\x00\x00"), "malformed"),
    ("g25-type-certify", signed(kind=0x8017), "unsupported"),
    ("g25-type-time", signed(kind=0x8019), "unsupported"),
    ("g25-type-0018", signed(kind=0x0018), "unsupported"),
    ("g25-missing-bank", shown({"sha256": PCRS}, selection=b"\0\0\0\1" + select("sha384", range(16))), "measurement"),
    ("g25-other-bank-only", over({"sha384": pcrs("sha384")}), "measurement"),
    ("g25-sha1-bank", over({"sha256": PCRS, "sha1": pcrs("sha1")}), "malformed"),
    (
        "g25-sha1-selected",
        shown({"sha256": PCRS}, selection=b"\0\0\0\2" + select("sha1", [0]) + select("sha256", range(16))),
        "unsupported",
    ),
    ("g25-no-selection", shown({}, selection=bytes(4), digest=b""), "malformed"),
    ("g25-empty-selection", over({"sha256": {}}), "measurement"),
    ("g25-empty-beside-another", over({"sha256": {}, "sha384": pcrs("sha384")}), "measurement"),
    ("g25-bank-twice", signed(selection=b"\0\0\0\2" + select("sha256", [0]) + select("sha256", [1])), "malformed"),
    ("g25-many-banks", signed(selection=b"\xff\xff\xff\xff" + select("sha256", range(16))), "malformed"),
    ("g25-long-bitmap", signed(selection=b"\0\0\0\1" + select("sha256", range(16), 5)), "malformed"),
    ("g25-no-bitmap", signed(selection=b"\0\0\0\1\0\x0b\0"), "malformed"),
    ("g25-value-not-quoted", shown({"sha256": PCRS | {16: bytes(32)}}), "measurement"),
    ("g25-quoted-not-shown", shown({"sha256": pcrs(registers=range(15))}), "measurement"),
    ("g25-other-value", shown({"sha256": PCRS | {4: bytes(32)}}), "measurement"),
    ("g25-values-swapped", shown({"sha256": PCRS | {4: PCRS[5], 5: PCRS[4]}}), "measurement"),
    ("g25-other-digest", signed(digest=bytes(32)), "measurement"),
    ("g25-digest-cut", signed(digest=b""), "measurement"),
    ("g25-trailing", signed(trailing=b"\0"), "malformed"),
    ("g25-unsafe-is-said", signed(safe=0), ""),
    ("g25-flag-of-2", signed(safe=2), "malformed"),
    ("g25-good", TPM.evidence(DATA), ""),
)
def test_a_quote_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


@grouped(
    ("g05-other-s", with_signature(ecdsa(R, N_P256 - S)), ""),
    ("g06-r-zero", with_signature(ecdsa(0, S)), "signature"),
    ("g06-s-zero", with_signature(ecdsa(R, 0)), "signature"),
    ("g06-r-order", with_signature(ecdsa(N_P256, S)), "signature"),
    ("g06-s-order", with_signature(ecdsa(R, N_P256)), "signature"),
    ("g06-r-longer", with_signature(b"\x00\x18\x00\x0b" + sized(bytes(900)) + GOOD.signature[38:]), "signature"),
    (
        "g06-r-padded",
        with_signature(b"\x00\x18\x00\x0b" + sized(b"\0" + GOOD.signature[6:38]) + GOOD.signature[38:]),
        "signature",
    ),
    ("g06-trailing", with_signature(GOOD.signature + b"\0"), "malformed"),
    ("g27-sha1", with_signature(TPM.sign(GOOD.message, hash_name="sha1")), "unsupported"),
    ("g27-other-digest", with_signature(TPM.sign(GOOD.message, hash_name="sha384")), "signature"),
    ("g27-rsa-signature-on-ecc", with_signature(RSA.attested(DATA).signature), "signature"),
    ("g27-ecc-signature-on-rsa", with_signature(GOOD.signature, RSA), "signature"),
    ("g27-pss-where-pkcs1", with_signature(RSA.sign(RSA.attested(DATA).message, kind="rsapss"), RSA), "signature"),
    ("g27-hmac", with_signature(b"\x00\x05\x00\x0b" + bytes(32)), "unsupported"),
    ("g27-rsa-short", with_signature(b"\x00\x14\x00\x0b" + sized(bytes(255)), RSA), "signature"),
)
def test_a_signature_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


@grouped(
    ("g22-other-key", with_key(OTHER.public()), "signature"),
    ("g22-unrestricted", with_key(TPM.public(attributes=ATTRIBUTES & ~(1 << 16))), "signature"),
    ("g22-not-of-the-tpm", with_key(TPM.public(attributes=ATTRIBUTES & ~(1 << 1))), "signature"),
    ("g22-may-move", with_key(TPM.public(attributes=ATTRIBUTES & ~(1 << 4))), "signature"),
    ("g22-imported", with_key(TPM.public(attributes=ATTRIBUTES & ~(1 << 5))), "signature"),
    ("g22-decrypts", with_key(TPM.public(attributes=ATTRIBUTES | 1 << 17)), "signature"),
    ("g22-does-not-sign", with_key(TPM.public(attributes=ATTRIBUTES & ~(1 << 18))), "signature"),
    ("g22-same-key-other-attributes-is-not-pinned", with_key(TPM.public(attributes=ATTRIBUTES | 1 << 7)), "untrusted"),
    ("g22-named-by-sha1", with_key(TPM.public(patch={2: b"\x00\x04"})), "unsupported"),
    ("g22-symmetric", with_key(TPM.public(patch={10: b"\x00\x06"})), "unsupported"),
    ("g22-no-scheme", with_key(TPM.public(patch={12: b"\x00\x10"})), "unsupported"),
    ("g22-scheme-of-rsa", with_key(TPM.public(kind="rsassa")), "unsupported"),
    ("g22-scheme-over-sha1", with_key(TPM.public(patch={14: b"\x00\x04"})), "unsupported"),
    ("g22-other-curve", with_key(TPM.public(patch={16: b"\x00\x10"})), "unsupported"),
    ("g22-curve-of-other-size", with_key(TPM.public(patch={16: b"\x00\x04"})), "malformed"),
    ("g22-key-derivation", with_key(TPM.public(patch={18: b"\x00\x20"})), "unsupported"),
    ("g22-no-point", with_key(TPM.public(patch={22: b"\x01" * 32})), "malformed"),
    ("g22-keyed-hash", with_key(TPM.public(patch={0: b"\x00\x08"})), "unsupported"),
    ("g22-rsa-size", with_key(RSA.public(patch={16: b"\x04\x00"}), RSA), "malformed"),
    ("g22-rsa-exponent-3", with_key(RSA.public(patch={18: b"\0\0\0\3"}), RSA), "unsupported"),
    ("g22-rsa-even", with_key(RSA.public(patch={279: b"\0"}), RSA), "unsupported"),
    ("g22-rsa-short-modulus", with_key(RSA.public(patch={24: b"\0"}), RSA), "unsupported"),
    ("g22-trailing", with_key(TPM.public() + b"\0"), "malformed"),
    ("g22-empty", with_key(b""), "malformed"),
)
def test_a_key_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


@grouped(
    ("g20-zero", TPM.evidence(bytes(64)), "binding"),
    ("g20-other-request", TPM.evidence(b"\1" * 64), "binding"),
    ("g20-last-half-wrong", TPM.evidence(DATA[:32] + bytes(32)), "binding"),
    ("g20-quote-of-another-request", signed(extra_data=bytes(32)), "binding"),
    ("g20-first-32-bytes", signed(extra_data=DATA[:32]), "binding"),
    ("g20-all-64-bytes", signed(extra_data=DATA), "binding"),
    ("g20-no-data", signed(extra_data=b""), "binding"),
    ("g24-only-pcr-16-where-pcr-4-is-asked", over({"sha256": pcrs(registers=(16,))}), "measurement"),
    ("g24-pcr-4-of-another-bank", over({"sha256": {16: PCRS[4]}, "sha384": pcrs("sha384")}), "measurement"),
    ("g24-other-boot-loader", over({"sha256": PCRS | {4: bytes(32)}}), "measurement"),
    ("g10-key-of-ones-own", OTHER.evidence(DATA), "root"),
    ("g10-chain-of-ones-own", OTHER.evidence(DATA, certificates=OTHER.chain), "root"),
    ("g10-good", TPM.evidence(DATA), ""),
)
def test_the_verifier_refuses(tried: Evidence, expected: str) -> None:
    assert appraised(tried) == expected


def test_g29_no_policy_makes_hardware_of_it() -> None:
    registers = [Measurement(f"pcr{number}", frozenset({value.hex()})) for number, value in PCRS.items()]
    verifier = Verifier(schemes=[SCHEME], endorsements=ANCHORS, policy=AllOf([*registers, MinAssurance("hardware")]))
    with pytest.raises(AttestError, match=r"assurance is software"):
        verifier.appraise(TPM.evidence(DATA), BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)


@grouped(
    ("g10-real-vendors-roots", VENDOR_ROOTS, "untrusted"),
    ("g10-anchor-of-another-vendor", {"amd": frozenset({TPM.key_name, ROOT})}, "untrusted"),
    ("g10-spki-is-not-the-name", {"tpm": frozenset({"00" * 32})}, "untrusted"),
    ("g10-root", {"tpm": frozenset({ROOT})}, ""),
)
def test_the_root_has_to_be_an_anchor(tried: Mapping[str, frozenset[str]], expected: str) -> None:
    assert code(TPM.evidence(DATA, certificates=TPM.chain), Endorsements(tried)) == expected


SAME_NAME = replace(OTHER, name="tpm")
FAKE_ROOT = issue(
    "tpm CA",
    p384_key("impostor"),
    "tpm CA",
    p384_key("impostor"),
    begin=moment(NOW) - DAY,
    end=moment(NOW) + DAY,
    authority=True,
    key_usage=usage(signs=False, certifies=True),
)


@grouped(
    ("g10-root-of-the-same-name", (TPM.certify(issuer_key="impostor"), FAKE_ROOT), "untrusted-root"),
    ("g10-signed-by-an-impostor", (TPM.certify(issuer_key="impostor"), TPM.root), "chain"),
    ("g10-order", (TPM.root, TPM.certify()), "chain"),
    ("g10-leaf-alone", (TPM.certify(),), "malformed"),
    ("g10-root-alone", (TPM.root,), "malformed"),
    ("g10-leaf-is-an-authority", (TPM.certify(authority=True), TPM.root), "chain"),
    ("g10-leaf-as-issuer", (TPM.certify(), TPM.certify(), TPM.root), "chain"),
    ("g10-another-keys-certificate", (TPM.certify(key=OTHER.key), TPM.root), "chain"),
    ("g10-no-purpose", (TPM.certify(eku=None), TPM.root), "chain"),
    ("g10-of-a-tls-server", (TPM.certify(eku=TLS_SERVER), TPM.root), "chain"),
    ("g11-expired", (TPM.certify(end=moment(NOW) - SECOND), TPM.root), "expired"),
    ("g11-not-yet-valid", (TPM.certify(begin=moment(NOW) + SECOND), TPM.root), "not_yet_valid"),
    ("g11-last-second", (TPM.certify(end=moment(NOW)), TPM.root), ""),
    ("g11-first-second", (TPM.certify(begin=moment(NOW)), TPM.root), ""),
)
def test_a_chain_is_refused(tried: Any, expected: str) -> None:
    only_root = Endorsements({"tpm": frozenset({ROOT})})
    assert code(TPM.evidence(DATA, certificates=tried), only_root) == expected.replace("untrusted-root", "untrusted")


def test_g11_a_wrong_chain_is_refused_though_the_key_is_pinned() -> None:
    chain = (TPM.certify(end=moment(NOW) - SECOND), TPM.root)
    assert code(TPM.evidence(DATA, certificates=chain), Endorsements({"tpm": frozenset({TPM.key_name})})) == "expired"


def test_g11_the_clock_back_in_2020() -> None:
    evidence = TPM.evidence(DATA, certificates=TPM.chain)
    assert code(evidence, now=1_577_836_800_000) == "not_yet_valid"
    assert code(evidence, now=milliseconds(TPM.certify().not_valid_after_utc) + 1) == "expired"


@grouped(
    ("g09-hex-in-capitals", raw(DATA.hex().encode(), DATA.hex().upper().encode()), "malformed"),
    ("g09-hex-with-prefix", raw(DATA.hex().encode(), b"0x" + DATA.hex().encode()[2:]), "malformed"),
    ("g09-base64url", document(lambda d: d.update(message=d["message"].replace("/", "_"))), "malformed"),
    ("g09-base64-unpadded", document(lambda d: d.update(message=d["message"].rstrip("="))), "malformed"),
    ("g09-hex-where-base64", document(lambda d: d.update(message=GOOD.message.hex())), "malformed"),
    ("g09-base64-with-a-line-end", document(lambda d: d.update(message=d["message"] + "\n")), "malformed"),
    ("g09-register-01", document(lambda d: d["pcrs"]["sha256"].update({"01": "00" * 32})), "malformed"),
    ("g09-register-32", document(lambda d: d["pcrs"]["sha256"].update({"32": "00" * 32})), "malformed"),
    ("g09-register-of-another-script", document(lambda d: d["pcrs"]["sha256"].update({"\u0663": ""})), "malformed"),
    ("g09-short-value", document(lambda d: d["pcrs"]["sha256"].update({"1": "00"})), "malformed"),
    ("g09-bank-in-capitals", document(lambda d: d.update(pcrs={"SHA256": d["pcrs"]["sha256"]})), "malformed"),
    ("g09-banks-as-list", document(lambda d: d.update(pcrs=[])), "malformed"),
    ("g09-bank-as-list", document(lambda d: d.update(pcrs={"sha256": []})), "malformed"),
    ("g09-space", raw(b'":"', b'": "'), "malformed"),
    ("g09-escape", raw(b'"message"', b'"\\u006dessage"'), "malformed"),
    ("g07-twice", raw(b'{"certificates":[]', b'{"certificates":[],"certificates":[]'), "malformed"),
    ("g07-nan", raw(b'"certificates":[]', b'"certificates":NaN'), "malformed"),
    ("g07-more", document(lambda d: d.update(more=1)), "malformed"),
    ("g07-less", document(lambda d: d.pop("key")), "malformed"),
    ("g07-certificates-of-no-kind", document(lambda d: d.update(certificates=[1])), "malformed"),
    ("g07-certificates-as-pem", document(lambda d: d.update(certificates=[b64encode(b"-----BEGIN ")])), "malformed"),
    ("g07-good-certificates-as-pem", document(lambda d: d.update(certificates=AS_PEM)), "malformed"),
    ("g07-certificates-of-garbage", document(lambda d: d.update(certificates=[b64encode(b"0000")] * 2)), "malformed"),
    ("g07-eleven-certificates", document(lambda d: d.update(certificates=[b64encode(b"0000")] * 11)), "malformed"),
    ("g07-long-message", document(lambda d: d.update(message=b64encode(bytes(2049)))), "malformed"),
    ("g07-deep", Evidence(MEDIA_TYPE, b"[" * 5000), "malformed"),
    ("g07-empty", Evidence(MEDIA_TYPE, b""), "malformed"),
    ("g07-null", Evidence(MEDIA_TYPE, b"null"), "malformed"),
)
def test_another_spelling_is_refused(tried: Evidence, expected: str) -> None:
    assert code(tried) == expected


def test_g27_a_signature_of_another_kind_than_the_key_is_no_foreign_error() -> None:
    """Where the key's own scheme is not known, as Azure's is not."""
    for tpm, other in ((TPM, RSA), (RSA, TPM)):
        with pytest.raises(EvidenceError, match="signature"):
            check_quote(replace(tpm.attested(DATA), signature=other.attested(DATA).signature), tpm.key.public_key())


@grouped(
    ("g07-body", Evidence(MEDIA_TYPE, bytes(MAX_BODY + 1)), "is longer than"),
    ("g07-chain", document(lambda d: d.update(certificates=[b64encode(b"0000")] * 11)), "more than 10 certificates"),
)
def test_too_much_is_refused_before_it_is_read(tried: Evidence, expected: str) -> None:
    with pytest.raises(EvidenceError, match=expected):
        SCHEME.open(tried, ANCHORS, NOW)


@pytest.mark.parametrize("tpm", [TPM, RSA], ids=["g03-ecdsa", "g03-rsassa"])
def test_g03_no_flipped_bit_of_what_is_signed_survives(tpm: FakeTpm) -> None:
    good = tpm.attested(DATA)
    for part in ("message", "signature"):
        data = getattr(good, part)
        for at in range(len(data)):
            changed = replace(good, **{part: flipped(data, at)})
            assert code(tpm.evidence(DATA, attested=changed)), f"{part} at {at}"
    for register, value in good.pcrs["sha256"].items():
        changed = replace(good, pcrs={"sha256": {**good.pcrs["sha256"], register: flipped(value, register)}})
        assert code(tpm.evidence(DATA, attested=changed)) == "measurement"
    for at in range(len(tpm.public())):
        assert code(TpmEvidence(good, flipped(tpm.public(), at)).encode()), f"key at {at}"


def test_g02_no_cut_survives() -> None:
    for end in range(len(GOOD.message)):
        assert code(TPM.evidence(DATA, attested=replace(GOOD, message=GOOD.message[:end])))
        cut = GOOD.message[:end]  # and signed so by a key that signs anything
        assert code(TPM.evidence(DATA, attested=Attested(DATA, cut, TPM.sign(cut), GOOD.pcrs))) == "malformed"
    for end in range(len(TPM.public())):
        assert code(with_key(TPM.public()[:end])) in ("malformed", "unsupported")


GARBAGE = {
    "zeros": bytes(1 << 20),
    "brackets": b"[" * (1 << 20),
    "objects": b'{"a":' * (1 << 17),
    "strings": b'"' * (1 << 20),
    "just-short-enough": b'{"key":"' + b"A" * (MAX_BODY - 10) + b'"}',
    "many-members": (b"{" + b",".join(b'"%d":0' % i for i in range(25_000)) + b"}")[:MAX_BODY],
    "many-registers": canonical({"pcrs": {"sha256": {str(i): "" for i in range(20_000)}}})[:MAX_BODY],
}


@pytest.mark.parametrize("case", GARBAGE)
def test_g07_g33_garbage_is_refused_in_bounded_time_and_memory(case: str) -> None:
    tracemalloc.start()
    try:
        began = time.process_time()
        assert code(Evidence(MEDIA_TYPE, GARBAGE[case])) == "malformed"
        took = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    assert took < 5


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_nothing_but_our_error_leaves(data: st.DataObject) -> None:
    good = json.loads(TPM.evidence(DATA, certificates=TPM.chain).body)
    member = data.draw(st.sampled_from(["message", "signature", "key", "certificates", "whole"]))
    value = data.draw(st.binary(max_size=300))
    match member:
        case "whole":
            body = value
        case "certificates":
            body = canonical(good | {"certificates": [b64encode(b"0" + value)] * 2})
        case _:
            body = canonical(good | {member: b64encode(value)})
    assert code(Evidence(MEDIA_TYPE, body)) != ""


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4), st.sampled_from(["message", "signature", "key"]))
def test_nothing_but_our_error_leaves_what_is_nearly_right(at: int, patch: bytes, member: str) -> None:
    parts = {"message": GOOD.message, "signature": GOOD.signature, "key": TPM.public()}
    begin = at % len(parts[member])
    parts[member] = parts[member][:begin] + patch + parts[member][begin + len(patch) :]
    attested = Attested(DATA, parts["message"], parts["signature"], GOOD.pcrs)
    same = attested == GOOD and parts["key"] == TPM.public()
    assert (code(TpmEvidence(attested, parts["key"]).encode()) == "") == same


KINDS: tuple[Kind, ...] = ("ecdsa", "rsassa", "rsapss")


@pytest.mark.parametrize("kind", KINDS)
def test_g23_a_relay_from_another_genuine_tpm_is_another_instance(kind: Kind) -> None:
    here, there = FakeTpm(NOW, kind), FakeTpm(NOW, kind, "twin")
    anchors = Endorsements({"tpm": frozenset({here.key_name, there.key_name})})
    found = {SCHEME.open(tpm.evidence(DATA), anchors, NOW).instance for tpm in (here, there)}
    assert found == {here.instance, there.instance}


def test_g34_a_certified_machine_that_is_denied_does_not_pass_under_another_name() -> None:
    """A certificate is for the key, and not for what else its TPMT_PUBLIC says."""
    certificates = [certificate.public_bytes(Encoding.DER) for certificate in TPM.chain]
    policy = AllOf([DenyInstances(frozenset({TPM.instance})), POLICY])
    for public in (TPM.public(), TPM.public(attributes=ATTRIBUTES | 1 << 7)):
        evidence = TpmEvidence(TPM.attested(DATA), public, certificates).encode()
        assert appraised(evidence, CERTIFIED) == ""
        assert appraised(evidence, CERTIFIED, policy) == "revoked"
