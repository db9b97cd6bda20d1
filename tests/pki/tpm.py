"""A fake TPM: keys, quotes and certificates, right and wrong. It has the layout of a TPM's structures by itself."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.evidence import Evidence
from attest.schemes.tpm2 import TpmEvidence, key_name
from attest.schemes.tpm_quote import Attested
from tests.pki.authority import YEARS, issue, moment, p384_key, rsa_key, usage

Kind = Literal["ecdsa", "rsassa", "rsapss"]

ALGORITHMS: Mapping[str, int] = {"sha1": 4, "sha256": 0xB, "sha384": 0xC, "sha512": 0xD}
SCHEMES: Mapping[Kind, int] = {"rsassa": 0x14, "rsapss": 0x16, "ecdsa": 0x18}
ATTRIBUTES = 0x50472
EKU, AIK = "2.5.29.37", bytes.fromhex("3007060567810508" + "03")
TLS_SERVER = bytes.fromhex("300a06082b06010505070301")
RESET, CLOCK = 3, 77_000


@cache
def p256_key(name: str) -> ec.EllipticCurvePrivateKey:
    """The one P-256 key of this name in this run."""
    return ec.generate_private_key(ec.SECP256R1())


def pcrs(bank: str = "sha256", registers: Sequence[int] = range(16)) -> dict[int, bytes]:
    """What a machine measured; PCR 13 is not used."""
    size = hashlib.new(bank).digest_size
    return {
        number: bytes(size) if number == 13 else hashlib.new(bank, b"fake pcr %d" % number).digest()
        for number in registers
    }


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def select(bank: str, registers: Sequence[int], size: int = 3) -> bytes:
    """A TPMS_PCR_SELECTION."""
    bits = sum(1 << register for register in registers)
    return ALGORITHMS[bank].to_bytes(2, "big") + bytes([size]) + bits.to_bytes(size, "little")


def message(
    report_data: bytes,
    banks: Mapping[str, Mapping[int, bytes]],
    *,
    extra_data: bytes | None = None,
    magic: bytes = b"\xffTCG",
    kind: int = 0x8018,
    safe: int = 1,
    selection: bytes | None = None,
    digest: bytes | None = None,
    hash_name: str = "sha256",
    reset_count: int = RESET,
    trailing: bytes = b"",
) -> bytes:
    """A TPMS_ATTEST of a quote over `banks`, right unless told; `selection` is the whole TPML_PCR_SELECTION."""
    data = hashlib.sha256(report_data).digest() if extra_data is None else extra_data
    chosen = [select(bank, list(values)) for bank, values in banks.items()]
    values = b"".join(values[number] for values in banks.values() for number in sorted(values))
    return (
        magic
        + kind.to_bytes(2, "big")
        + sized(b"\x00\x0b" + bytes(32))
        + sized(data)
        + CLOCK.to_bytes(8, "big")
        + reset_count.to_bytes(4, "big")
        + bytes(4)
        + bytes([safe])
        + (0x2019_0000_0001).to_bytes(8, "big")
        + (selection if selection is not None else len(chosen).to_bytes(4, "big") + b"".join(chosen))
        + sized(hashlib.new(hash_name, values).digest() if digest is None else digest)
        + trailing
    )


@dataclass(frozen=True)
class FakeTpm:
    """A TPM with one attestation key, and an authority that certified it.

    `now` in milliseconds since 1970. Two of the same `name` have the same keys in one run.
    """

    now: int
    kind: Kind = "ecdsa"
    name: str = "tpm"
    hash_name: str = "sha256"

    @property
    def key(self) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
        """What signs quotes."""
        return p256_key(f"{self.name} ak") if self.kind == "ecdsa" else rsa_key(f"{self.name} ak")

    def public(
        self, *, attributes: int = ATTRIBUTES, kind: Kind | None = None, patch: Mapping[int, bytes] = {}
    ) -> bytes:
        """The key's TPMT_PUBLIC; `patch` is written over it, by offset."""
        scheme = SCHEMES[kind or self.kind].to_bytes(2, "big") + ALGORITHMS[self.hash_name].to_bytes(2, "big")
        head = b"\x00\x0b" + attributes.to_bytes(4, "big") + sized(b"") + b"\x00\x10" + scheme
        key = self.key
        if isinstance(key, rsa.RSAPrivateKey):
            modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
            raw = bytearray(b"\x00\x01" + head + (2048).to_bytes(2, "big") + bytes(4) + sized(modulus))
        else:
            point = key.public_key().public_numbers()
            x, y = (number.to_bytes(32, "big") for number in (point.x, point.y))
            raw = bytearray(b"\x00\x23" + head + b"\x00\x03\x00\x10" + sized(x) + sized(y))
        for offset, data in patch.items():
            raw[offset : offset + len(data)] = data
        return bytes(raw)

    @property
    def key_name(self) -> str:
        """What is pinned."""
        return key_name(self.public())

    @property
    def instance(self) -> str:
        """What a policy calls this machine."""
        told = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"tpm:{hashlib.sha256(told).hexdigest()}"

    def sign(self, signed: bytes, *, kind: Kind | None = None, hash_name: str = "") -> bytes:
        """A TPMT_SIGNATURE by the key under its scheme, or under another that it can do."""
        name, scheme, key = hash_name or self.hash_name, kind or self.kind, self.key
        algorithm = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384}[name]()
        head = SCHEMES[scheme].to_bytes(2, "big") + ALGORITHMS[name].to_bytes(2, "big")
        if isinstance(key, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
            return head + sized(key.sign(signed, pss if scheme == "rsapss" else padding.PKCS1v15(), algorithm))
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(algorithm)))
        return head + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))

    def attested(
        self,
        report_data: bytes,
        *,
        banks: Mapping[str, Mapping[int, bytes]] | None = None,
        shown: Mapping[str, Mapping[int, bytes]] | None = None,
        signed: bytes | None = None,
        signature: bytes | None = None,
    ) -> Attested:
        """A quote with its values; `shown` are other values beside it, `signed` and `signature` other bytes."""
        quoted = {"sha256": pcrs()} if banks is None else banks
        text = message(report_data, quoted, hash_name=self.hash_name) if signed is None else signed
        told = self.sign(text) if signature is None else signature
        return Attested(report_data, text, told, quoted if shown is None else shown)

    def evidence(
        self, report_data: bytes, *, certificates: Sequence[x509.Certificate] = (), attested: Attested | None = None
    ) -> Evidence:
        """TPM evidence."""
        chain = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
        return TpmEvidence(attested or self.attested(report_data), self.public(), chain).encode()

    @cached_property
    def root(self) -> x509.Certificate:
        """The authority's own certificate."""
        return issue(
            f"{self.name} CA",
            p384_key(f"{self.name} CA"),
            f"{self.name} CA",
            p384_key(f"{self.name} CA"),
            begin=moment(self.now) - timedelta(days=1),
            end=moment(self.now) + YEARS,
            authority=True,
            key_usage=usage(signs=False, certifies=True),
        )

    def certify(
        self,
        *,
        eku: bytes | None = AIK,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
        authority: bool = False,
        issuer_key: str = "",
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> x509.Certificate:
        """The attestation key's certificate, right unless told; `eku` is in DER, None where it is absent."""
        return issue(
            "ak",
            key or self.key,
            f"{self.name} CA",
            p384_key(issuer_key or f"{self.name} CA"),
            begin=begin or moment(self.now) - timedelta(days=1),
            end=end or moment(self.now) + timedelta(days=365),
            authority=authority,
            key_usage=usage(signs=True, certifies=authority),
            extensions=[] if eku is None else [(EKU, eku)],
        )

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """Leaf first, with the root."""
        return (self.certify(), self.root)
