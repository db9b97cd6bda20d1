"""TPM 2.0: a quote over PCRs, under an attestation key that an authority certified or that the verifier pinned.

A TPM tells what was started on a machine. It isolates nothing: whoever owns the machine reads and changes the memory
of what it measured. Its assurance is `software`.
Sources: TCG, TPM 2.0 Library, Parts 1 and 2; TCG, TPM 2.0 Keys for Device Identity and Attestation (the key);
TCG OID registry, tcg-kp-AIKCertificate (its certificate).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.canonical import canonical
from attest.claims import Claims, Endorsements
from attest.encoding import Fields, b64encode
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.chain import chain_to_json, take_chain
from attest.schemes.tpm_quote import LAUNCH, AttestationKey, Attested, check_quote, details, rsa_key
from attest.schemes.tpm_structures import (
    CURVES,
    DECRYPT,
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    RSA,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
    Public,
    read_public,
)
from attest.x509 import (
    check_chain,
    check_validity,
    expiry,
    fingerprint,
    load_certificate,
)

MEDIA_TYPE = "application/vnd.etmcp.tpm2+json"
SCHEME = "tpm2"
VENDOR = "tpm"
MAX_BODY = 256 << 10
MAX_PUBLIC = 1024
NEVER = 253_402_300_799_999
"""The last millisecond of 9999, as RFC 5280 section 4.1.2.5 writes an end that there is not: a pinned key has none."""

AIK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.3")
_UNDERSTOOD = frozenset({x509.SubjectAlternativeName.oid})
"""Critical where the subject is empty; it names the TPM's model, which we do not judge."""
_NEEDED = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN
_CURVES: dict[str, type[ec.EllipticCurve]] = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1}


@dataclass(frozen=True, slots=True)
class TpmEvidence:
    """The body of TPM evidence: `key` is the attestation key's TPMT_PUBLIC, `certificates` its chain in DER with the
    root, leaf first, or nothing.
    """

    attested: Attested
    key: bytes
    certificates: Sequence[bytes] = ()

    def encode(self) -> Evidence:
        """In canonical JSON, the one form that is read."""
        told = {"key": b64encode(self.key), "certificates": chain_to_json(self.certificates)}
        return Evidence(MEDIA_TYPE, canonical(self.attested.to_json() | told))

    @classmethod
    def decode(cls, evidence: Evidence) -> "TpmEvidence":
        """Read `encode`'s form and no other; code `malformed`."""
        if len(evidence.body) > MAX_BODY:
            raise EvidenceError("malformed", f"TPM evidence is longer than {MAX_BODY} bytes")
        fields = Fields.parse(evidence.body, "TPM evidence", EvidenceError)
        attested, key = Attested.take(fields), fields.base64("key", maximum=MAX_PUBLIC)
        read = cls(attested, key, take_chain(fields, "certificates"))
        fields.done()
        if read.encode().body != evidence.body:
            raise EvidenceError("malformed", "TPM evidence is not in canonical form")
        return read


class TpmScheme:
    """Opens quotes under RSA and ECDSA keys, over the SHA-256 bank and others beside it."""

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:  # noqa: ARG002
        """The evidence brings its certificates along."""
        return ()

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`. The anchor is the chain's root, or where the key itself is one of the caller's, its name.

        Codes: `malformed`, `unsupported`, `signature`, `binding`, `measurement`, `chain`, `expired`, `not_yet_valid`.
        """
        told = TpmEvidence.decode(evidence)
        public = read_public(told.key)
        if public.attributes & (_NEEDED | DECRYPT) != _NEEDED:
            raise EvidenceError("signature", "the TPM's key is not bound to the TPM and to what a TPM states")
        key = _key(public)
        quote = check_quote(told.attested, key, (public.algorithm, public.hash))
        chain = _check_certificates(told.certificates, key, now)
        name = key_name(told.key)
        pinned = not chain or endorsements.standing(VENDOR, name) != "unknown"
        anchor = name if pinned else fingerprint(chain[-1])
        return Claims(
            scheme=SCHEME,
            assurance="software",
            anchor=anchor,
            standing=endorsements.standing(VENDOR, anchor),
            report_data=told.attested.report_data,
            debug=False,
            issued_at=0,
            expires_at=expiry(chain) if chain else NEVER,
            measurement=told.attested.measurement,
            launch=LAUNCH,
            details=details(quote) | {"key": name, "keyTrust": "pinned" if pinned else "certified"},
            instance=f"tpm:{_digest(key)}",
        )


def key_name(public: bytes) -> str:
    """The TPM's own name for a key: SHA-256 of its TPMT_PUBLIC, hex. Tools show it behind `000b`.

    It covers what the key may do besides the key, so it is what an operator pins.
    """
    return hashlib.sha256(public).hexdigest()


def _digest(key: AttestationKey) -> str:
    """SHA-256 of the key alone. Its name does not say which machine this is: a certificate leaves open the rest of what
    the name covers, so that a machine which a policy denies could show its key under another name.
    """
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _key(public: Public) -> AttestationKey:
    if public.kind == RSA:
        return rsa_key(public.unique[0])
    x, y = (int.from_bytes(part, "big") for part in public.unique)
    try:
        return ec.EllipticCurvePublicNumbers(x, y, _CURVES[CURVES[public.curve]]()).public_key()
    except ValueError as e:
        raise EvidenceError("malformed", "the TPM's key is no point on its curve") from e


def _check_certificates(given: Sequence[bytes], key: AttestationKey, now: int) -> Sequence[x509.Certificate]:
    chain = [load_certificate(der, "a TPM's certificate") for der in given]
    if not chain:
        return chain
    check_chain(chain, understood=_UNDERSTOOD)
    check_validity(chain, now)
    if chain[0].public_key() != key:
        raise EvidenceError("chain", "the certificate is for another key than the one that signed")
    usages = [extension.value for extension in chain[0].extensions if extension.oid == x509.ExtendedKeyUsage.oid]
    if not any(AIK_CERTIFICATE in usage for usage in usages if isinstance(usage, x509.ExtendedKeyUsage)):
        raise EvidenceError("chain", "the certificate is not one for a TPM's attestation key (tcg-kp-AIKCertificate)")
    return chain
