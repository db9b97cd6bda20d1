"""Certificates for any purpose, right or wrong, and keys that are made once in a run."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PSS = padding.PSS(padding.MGF1(SHA384()), 48)
YEARS = timedelta(days=3650)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """The one RSA key of this name in this run."""
    return rsa.generate_private_key(65537, 2048)


@cache
def p256_key(name: str) -> ec.EllipticCurvePrivateKey:
    """The one P-256 key of this name in this run."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def p384_key(name: str) -> ec.EllipticCurvePrivateKey:
    """The one P-384 key of this name in this run."""
    return ec.generate_private_key(ec.SECP384R1())


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a date."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    """A key usage that allows signatures, certificates, or neither."""
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=certifies,
        crl_sign=certifies,
        content_commitment=False,
        key_encipherment=not (signs or certifies),
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def issue(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    begin: datetime,
    end: datetime,
    authority: bool | None = None,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    extensions: Sequence[tuple[str, bytes]] = (),
    critical: bool = False,
    serial_number: int | None = None,
    digest: type[SHA256] | type[SHA384] = SHA384,
) -> x509.Certificate:
    """Sign a certificate over `digest`, with RSA as PSS. `authority` None leaves basicConstraints out.

    `extensions` are dotted names and raw values, `critical` says so of them.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    for oid, value in extensions:
        raw = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(raw, critical=critical)
    return builder.sign(issuer_key, digest(), rsa_padding=PSS if isinstance(issuer_key, rsa.RSAPrivateKey) else None)


def named(common_name: str) -> x509.Name:
    """A distinguished name of one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
