"""A fake AWS: the Nitro Enclaves root and everything below it, for attestation documents right and wrong."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from tests.pki.authority import YEARS, issue, moment, p384_key, usage

ROOT, REGION, ZONE = "aws.nitro-enclaves", "0.us-east-1.aws.nitro-enclaves", "0.zonal.us-east-1.aws.nitro-enclaves"
INSTANCE = "i-0123456789abcdef0"
MODULE = f"{INSTANCE}-enc0123456789abcdef"
PROTECTED = b"\xa1\x01\x38\x22"
"""{1: -35}: ES384."""
HOURS = timedelta(hours=3)


def pcrs(*, debug: bool = False) -> dict[int, bytes]:
    """The 16 registers that an enclave has; in debug mode the first three are zero."""
    measured = {0, 1, 2, 4} if not debug else {4}
    return {i: hashlib.sha384(b"fake pcr %d" % i).digest() if i in measured else bytes(48) for i in range(16)}


@dataclass(frozen=True)
class FakeAws:
    """One enclave, the authorities above it, and the documents that its NSM would sign.

    `now` in milliseconds since 1970; the leaf began three seconds before and lives three hours, as AWS's do. Two of the
    same `name` have the same keys in one run; another name is another vendor.
    """

    now: int
    name: str = "aws"

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """What signs documents."""
        return p384_key(f"{self.name} leaf")

    @cached_property
    def root(self) -> x509.Certificate:
        return self.authority(ROOT, "root", ROOT, "root", end=moment(self.now) + YEARS)

    @cached_property
    def region(self) -> x509.Certificate:
        return self.authority(REGION, "region", ROOT, "root", path_length=1)

    @cached_property
    def zone(self) -> x509.Certificate:
        return self.authority(ZONE, "zone", REGION, "region", path_length=0)

    @cached_property
    def leaf(self) -> x509.Certificate:
        return self.endorse()

    @property
    def root_sha256(self) -> str:
        """The anchor, hex."""
        return self.root.fingerprint(SHA256()).hex()

    def authority(
        self,
        subject: str,
        key: str,
        issuer: str,
        issuer_key: str,
        *,
        is_authority: bool | None = True,
        path_length: int | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> x509.Certificate:
        """A P-384 certificate; `key` and `issuer_key` name keys of this vendor."""
        return issue(
            subject,
            p384_key(f"{self.name} {key}"),
            issuer,
            p384_key(f"{self.name} {issuer_key}"),
            begin=begin or moment(self.now) - timedelta(days=1),
            end=end or moment(self.now) + timedelta(days=6),
            authority=is_authority,
            path_length=path_length,
            key_usage=usage(signs=True, certifies=True),
        )

    def endorse(
        self,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        authority: bool | None = False,
        key_usage: x509.KeyUsage | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> x509.Certificate:
        """The enclave's own certificate, right unless told."""
        return issue(
            f"{MODULE}.us-east-1.aws",
            key or self.key,
            ZONE,
            p384_key(f"{self.name} zone"),
            begin=begin or moment(self.now) - timedelta(seconds=3),
            end=end or moment(self.now) + HOURS,
            authority=authority,
            key_usage=key_usage or usage(signs=True, certifies=False),
        )

    def payload(
        self,
        *,
        user_data: bytes | None = bytes(64),
        registers: Mapping[int, bytes] | None = None,
        nonce: bytes | None = None,
        public_key: bytes | None = None,
        timestamp: int | None = None,
        certificate: x509.Certificate | None = None,
        cabundle: Sequence[x509.Certificate] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """The members of a document; `more` overrides them or adds to them, and a value of `...` drops one."""
        members: dict[str, Any] = {
            "module_id": MODULE,
            "digest": "SHA384",
            "timestamp": self.now if timestamp is None else timestamp,
            "pcrs": dict(pcrs() if registers is None else registers),
            "certificate": der(certificate or self.leaf),
            "cabundle": [der(each) for each in (cabundle or (self.root, self.region, self.zone))],
            "public_key": public_key,
            "user_data": user_data,
            "nonce": nonce,
        }
        return {name: value for name, value in (members | more).items() if value is not ...}

    def document(self, **changes: Any) -> bytes:
        """A signed document with some members changed as by `payload`. Its map is indefinite, as AWS's is."""
        return self.sign(indefinite(self.payload(**changes)))

    def sign(
        self,
        payload: bytes,
        *,
        protected: bytes = PROTECTED,
        unprotected: Mapping[Any, Any] | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """A COSE_Sign1 over any payload (RFC 9052 section 4.2)."""
        signed = cbor2.dumps(["Signature1", protected, b"", payload])
        r, s = decode_dss_signature((key or self.key).sign(signed, ec.ECDSA(SHA384())))
        signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
        return cbor2.dumps([protected, dict(unprotected or {}), payload, signature])


def indefinite(members: Mapping[str, Any]) -> bytes:
    """A CBOR map without its length in front."""
    return b"\xbf" + b"".join(cbor2.dumps(name) + cbor2.dumps(value) for name, value in members.items()) + b"\xff"


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
