"""X.509 as strictly as attestation chains need it (RFC 5280): one straight line of certificates to a given root.

No path building, no names of hosts, no network. Everything here raises `EvidenceError` and nothing else.
"""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attest.errors import EvidenceError

MAX_CERTIFICATES = 10
MAX_CERTIFICATE = 16 << 10
MAX_CRL = 256 << 10

P384_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
"""SEC 2, section 2.5.1."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_PEM = b"-----BEGIN "
_SEQUENCE = 0x30
_RSA_BITS = range(2048, 4097)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid})
_HARMLESS = r"Parsed a serial number which wasn't positive|Attribute's length must be"
_FOREIGN = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)

T = TypeVar("T")


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """Exactly one certificate, PEM or DER; code `malformed`. `what` names it in the error."""
    return load_certificates(data, what, maximum=1)[0]


def load_certificates(data: bytes, what: str, *, maximum: int = MAX_CERTIFICATES) -> list[x509.Certificate]:
    """One certificate to `maximum` of them in the order of `data`: PEM, or DER end to end. Code `malformed`."""
    # Tools write words before and between certificates, and RFC 7468 section 2 lets them; not where DER begins.
    if _PEM in data and data[0] != _SEQUENCE:
        if len(data) > maximum * 2 * MAX_CERTIFICATE or data.count(_PEM) > maximum:
            raise EvidenceError("malformed", f"{what}: more than {maximum} certificates, or too long")
        found = _strictly(lambda: x509.load_pem_x509_certificates(data), what)
    else:
        found = [
            _strictly(lambda der=der: x509.load_der_x509_certificate(der), what) for der in _split(data, what, maximum)
        ]
    for certificate in found:
        _strictly(lambda certificate=certificate: _touch(certificate), what)
    return found


def load_crl(data: bytes, what: str) -> x509.CertificateRevocationList:
    """A certificate revocation list in DER; code `malformed`."""
    if len(data) > MAX_CRL:
        raise EvidenceError("malformed", f"{what}: longer than {MAX_CRL} bytes")
    crl = _strictly(lambda: x509.load_der_x509_crl(data), what)
    _strictly(lambda: (crl.extensions, crl.issuer, crl.last_update_utc, crl.signature_hash_algorithm), what)
    return crl


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, hex: the name of an anchor."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def serial_number(certificate: x509.Certificate) -> int:
    """The serial number, also where it is 0 as AMD's are."""
    with _quietly():
        return certificate.serial_number


def milliseconds(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def expiry(certificates: Sequence[x509.Certificate]) -> int:
    """The first end among the certificates, in milliseconds since 1970."""
    return min(milliseconds(certificate.not_valid_after_utc) for certificate in certificates)


def check_validity(certificates: Sequence[x509.Certificate], at: int) -> None:
    """All are valid at `at`, milliseconds since 1970, both ends included; codes `not_yet_valid` and `expired`."""
    for certificate in certificates:
        name = certificate.subject.rfc4514_string()[:80]
        if at < milliseconds(certificate.not_valid_before_utc):
            raise EvidenceError("not_yet_valid", f"the certificate of {name} begins later")
        if at > milliseconds(certificate.not_valid_after_utc):
            raise EvidenceError("expired", f"the certificate of {name} is past its end")


def check_chain(
    chain: Sequence[x509.Certificate], *, understood: frozenset[x509.ObjectIdentifier] = frozenset(), signs: bool = True
) -> None:
    """The leaf comes first, each certificate is issued by the next, and the last, the root, by itself.

    Holds issuer against subject, the signature (SHA-2 only), basicConstraints with the path length (RFC 5280 section
    4.2.1.9: needed on everything that issues, never CA on the leaf), keyUsage where present, and refuses critical
    extensions other than these, extendedKeyUsage and `understood`. `signs`: the leaf's key is one for signatures.
    Dates and trust in the root are the caller's. Code `chain`; `malformed` for a length other than 2 to 10.
    """
    if not 2 <= len(chain) <= MAX_CERTIFICATES:
        raise EvidenceError("malformed", f"a chain has 2 to {MAX_CERTIFICATES} certificates")
    for place, certificate in enumerate(chain):
        name = certificate.subject.rfc4514_string()[:80]
        _check_extensions(certificate, name, place, understood, signs)
        _check_key(certificate, name)
        issuer = chain[min(place + 1, len(chain) - 1)]
        if not isinstance(certificate.signature_hash_algorithm, _HASHES):
            raise EvidenceError("chain", f"the certificate of {name} is not signed over SHA-2")
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, *_FOREIGN) as e:
            by = issuer.subject.rfc4514_string()[:80]
            raise EvidenceError("chain", f"the certificate of {name} is not issued by {by}") from e


def check_p384(certificate: x509.Certificate, r: int, s: int, signed: bytes, what: str) -> None:
    """`certificate` has a key on P-384 (else code `chain`), and (r, s) is its ECDSA signature with SHA-384 over
    `signed` (else code `signature`). `what` names that in the error.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EvidenceError("chain", f"{what}: the certificate of its signer has no key on P-384")
    if not (0 < r < P384_ORDER and 0 < s < P384_ORDER):
        raise EvidenceError("signature", f"{what} has a signature out of range")
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as e:
        raise EvidenceError("signature", f"{what} is not signed by its certificate's key") from e


def check_crl(crl: x509.CertificateRevocationList, issuer: x509.Certificate, at: int | None) -> None:
    """The list is signed by `issuer` and current at `at`, milliseconds since 1970 (None: it was once, or will be).

    Codes `chain`, `not_yet_valid`, `expired`; a list without an end is `malformed`.
    """
    if crl.next_update_utc is None:
        raise EvidenceError("malformed", "the revocation list does not say when the next one comes")
    if any(extension.critical for extension in _strictly(lambda: crl.extensions, "the revocation list")):
        raise EvidenceError("chain", "the revocation list has a critical extension")
    try:
        key = issuer.public_key()
        sound = crl.is_signature_valid(key)  # pyright: ignore[reportArgumentType]  # refused below where it cannot sign
    except _FOREIGN:
        sound = False
    if not sound or crl.issuer != issuer.subject or not isinstance(crl.signature_hash_algorithm, _HASHES):
        raise EvidenceError("chain", "the revocation list is not signed by the authority")
    if at is None:
        return
    if at < milliseconds(crl.last_update_utc):
        raise EvidenceError("not_yet_valid", "the revocation list begins later")
    if at > milliseconds(crl.next_update_utc):
        raise EvidenceError("expired", "the revocation list is past its end; get the next one")


def is_revoked(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the list names the certificate's serial number; 0 names none, since AMD gives it to all chips."""
    number = serial_number(certificate)
    found = _strictly(lambda: crl.get_revoked_certificate_by_serial_number(number), "the revocation list")
    return number > 0 and found is not None


def _check_key(certificate: x509.Certificate, name: str) -> None:
    """A longer key of RSA than any vendor's would cost time, and a shorter one proves nothing."""
    match certificate.public_key():
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1() | ec.SECP521R1()):
            return
        case rsa.RSAPublicKey(key_size=size) as key if size in _RSA_BITS and key.public_numbers().e < 1 << 32:
            return
        case _:
            raise EvidenceError("chain", f"the certificate of {name} has a key of a kind or size that we do not take")


def _check_extensions(
    certificate: x509.Certificate,
    name: str,
    place: int,
    understood: frozenset[x509.ObjectIdentifier],
    signs: bool,
) -> None:
    authority, usage = False, None
    for extension in certificate.extensions:
        match extension.value:
            case x509.BasicConstraints(ca=authority, path_length=longest):
                if longest is not None and longest < place - 1:
                    raise EvidenceError("chain", f"the certificate of {name} allows no chain of this length")
            case x509.KeyUsage() as usage:
                pass
            case _:
                pass
        if extension.critical and extension.oid not in _UNDERSTOOD | understood:
            raise EvidenceError("chain", f"critical extension {extension.oid.dotted_string} in that of {name}")
    if authority != (place > 0):
        raise EvidenceError("chain", f"the certificate of {name} is {'' if authority else 'not '}an authority's")
    if usage is None:
        return
    if (place > 0 and not usage.key_cert_sign) or (place == 0 and signs and not usage.digital_signature):
        raise EvidenceError("chain", f"the certificate of {name} has another key usage")


def _split(data: bytes, what: str, maximum: int) -> Iterator[bytes]:
    """The certificates of DER end to end. Each is longer than 255 bytes and so begins 30 82 and two of length."""
    begin = 0
    for _ in range(maximum):
        head = data[begin : begin + 4]
        end = begin + 4 + int.from_bytes(head[2:], "big")
        if len(head) < 4 or head[0] != _SEQUENCE or head[1] != 0x82 or end > len(data) or end - begin > MAX_CERTIFICATE:
            raise EvidenceError("malformed", f"{what}: not a certificate in PEM or DER")
        yield data[begin:end]
        begin = end
        if begin == len(data):
            return
    raise EvidenceError("malformed", f"{what}: more than {maximum} certificates")


def _touch(certificate: x509.Certificate) -> None:
    """Have everything parsed that is read later, so that what is malformed is found when it is loaded."""
    _ = (certificate.extensions, certificate.public_key(), certificate.signature_hash_algorithm)
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    for name in (certificate.subject, certificate.issuer):
        name.rfc4514_string()


def _strictly(load: Callable[[], T], what: str) -> T:
    try:
        with _quietly():
            return load()
    except _FOREIGN as e:
        raise EvidenceError("malformed", f"{what}: {type(e).__name__} in the certificate or list") from e


@contextmanager
def _quietly() -> Generator[None]:
    """Without the warnings of two harmless things: AMD gives every chip's certificate the serial number 0, and a name
    may be longer than its standard has it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _HARMLESS, category=UserWarning)
        yield
