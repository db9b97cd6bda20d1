"""A fake AMD: its roots, signing keys, chips and firmware, for SEV-SNP reports of every kind."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from tests.pki.authority import PSS, YEARS, issue, moment, named, p384_key, rsa_key, usage

Product = Literal["milan", "genoa", "turin"]
Kind = Literal["vcek", "vlek"]
Versions = tuple[int, int, int, int, int]
"""Boot loader, TEE, SNP, microcode, and FMC, which only Turin has."""

OID = "1.3.6.1.4.1.3704.1."
SIZE, SIGNED = 1184, 0x2A0
CPU = {"milan": (0x19, 0x01, 0x01), "genoa": (0x19, 0x11, 0x01), "turin": (0x1A, 0x02, 0x01)}
GUIDS = {
    "vcek": "63da758de6644564adc5f4b93be8accd",
    "vlek": "a8074bc2a25a483eaae639c045a0b8a1",
    "ask": "4ab7b379bbac4fe4a02f05aef327c782",
    "ark": "c0b406a4a803495297433fb6014cd0ae",
}


def octets(name: str, size: int) -> bytes:
    """Bytes that look random and are the same for ever."""
    return hashlib.shake_256(f"fake amd {name}".encode()).digest(size)


@dataclass(frozen=True)
class FakeAmd:
    """One chip of one product, its certificates, and the reports that its firmware would sign.

    `now` in milliseconds since 1970; the certificates began the day before and run ten years. Two of the same `name`
    have the same keys in one run; another name is another vendor.
    """

    now: int
    product: Product = "milan"
    kind: Kind = "vcek"
    tcb: Versions = (4, 0, 24, 219, 0)
    name: str = "amd"
    chip: bytes = field(default=b"")
    provider: str = "CN=cc-us-east-2.example"

    @property
    def title(self) -> str:
        """The product as certificates spell it."""
        return self.product.title()

    @property
    def signer(self) -> str:
        """The common name of the ASK or ASVK."""
        return f"SEV-{'VLEK-' if self.kind == 'vlek' else ''}{self.title}"

    @property
    def chip_id(self) -> bytes:
        """The 64 bytes in reports; a Turin chip uses 8 of them."""
        given = self.chip or octets(f"{self.name} chip", 64)
        return given[:8].ljust(64, b"\0") if self.product == "turin" else given

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The chip's endorsement key, or the provider's."""
        return p384_key(f"{self.name} {self.product} {self.kind if self.kind == 'vcek' else self.provider}")

    @cached_property
    def ark(self) -> x509.Certificate:
        return self.authority(f"ARK-{self.title}", "ark", f"ARK-{self.title}", "ark")

    @cached_property
    def ask(self) -> x509.Certificate:
        """The ASK, for a VLEK the ASVK."""
        return self.authority(self.signer, f"ask {self.kind}", f"ARK-{self.title}", "ark", path_length=0)

    @cached_property
    def leaf(self) -> x509.Certificate:
        """The VCEK or VLEK."""
        return self.endorse()

    @property
    def root_sha256(self) -> str:
        """The anchor, hex."""
        return self.ark.fingerprint(SHA256()).hex()

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
        """An RSA certificate; `key` and `issuer_key` name keys of this vendor and product."""
        return issue(
            subject,
            rsa_key(f"{self.name} {self.product} {key}"),
            issuer,
            rsa_key(f"{self.name} {self.product} {issuer_key}"),
            begin=begin or moment(self.now) - timedelta(days=1),
            end=end or moment(self.now) + YEARS,
            authority=is_authority,
            path_length=path_length,
            key_usage=usage(signs=False, certifies=True),
        )

    def endorse(
        self,
        *,
        subject: str = "",
        product_name: str = "",
        tcb: Versions | None = None,
        hwid: bytes | None = None,
        without: str = "",
        authority: bool | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        critical: bool = False,
        serial_number: int | None = None,
    ) -> x509.Certificate:
        """A VCEK or VLEK, right unless told; `without` drops the extension of that number under AMD's arc."""
        boot, tee, snp, microcode, fmc = tcb or self.tcb
        named_product = product_name or (self.title + ("-B0" if self.product != "genoa" else ""))
        numbers = {"3.1": boot, "3.2": tee, "3.3": snp, "3.8": microcode}
        if self.product == "turin":
            numbers["3.9"] = fmc
        extensions = {"1": _integer(0), "2": b"\x16" + bytes([len(named_product)]) + named_product.encode()}
        extensions |= {name: _integer(number) for name, number in numbers.items()}
        if self.kind == "vcek":
            extensions["4"] = hwid or self.chip_id[: 8 if self.product == "turin" else 64]
        else:
            extensions["5"] = b"\x16" + bytes([len(self.provider)]) + self.provider.encode()
        extensions.pop(without, None)
        return issue(
            subject or f"SEV-{self.kind.upper()}",
            key or self.key,
            self.signer,
            rsa_key(f"{self.name} {self.product} ask {self.kind}"),
            begin=begin or moment(self.now) - timedelta(days=1),
            end=end or moment(self.now) + YEARS,
            authority=authority,
            extensions=[(OID + name, value) for name, value in extensions.items()],
            critical=critical,
            serial_number=serial_number,
        )

    def crl(
        self,
        revoked: Sequence[int] = (),
        *,
        begin: datetime | None = None,
        end: datetime | None = None,
        issuer: str = "",
        key: str = "ark",
        partial: bool = False,
    ) -> bytes:
        """The ARK's revocation list in DER: of yesterday and for a month, unless told.

        `partial` says, critically, that it speaks of authorities alone.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(named(issuer or f"ARK-{self.title}"))
            .last_update(begin or moment(self.now) - timedelta(days=1))
            .next_update(end or moment(self.now) + timedelta(days=30))
        )
        if partial:
            scope = x509.IssuingDistributionPoint(
                full_name=None,
                relative_name=None,
                only_contains_user_certs=False,
                only_contains_ca_certs=True,
                only_some_reasons=None,
                indirect_crl=False,
                only_contains_attribute_certs=False,
            )
            builder = builder.add_extension(scope, critical=True)
        for number in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(moment(self.now))
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(rsa_key(f"{self.name} {self.product} {key}"), SHA384(), rsa_padding=PSS)
        return signed.public_bytes(Encoding.DER)

    def names(self, tcb: Versions | None = None) -> tuple[str, str, str]:
        """The names of the chain, the leaf and the revocation list among the documents."""
        folder, version = f"amd/{self.product}/{self.kind}", self.packed(tcb or self.tcb).hex()
        chip = f"{self.chip_id[: 8 if self.product == 'turin' else 64].hex()}/" if self.kind == "vcek" else ""
        return f"{folder}/chain", f"{folder}/{chip}{version}", f"{folder}/crl"

    def documents(self, *, crl: bytes | None = None) -> dict[str, bytes]:
        """What `Endorsements.documents` needs for this chip."""
        chain, leaf, list_ = self.names()
        made = {chain: der(self.ask) + der(self.ark), leaf: der(self.leaf)}
        return made | ({list_: crl} if crl is not None else {})

    def table(self, entries: Mapping[str, bytes | x509.Certificate] | None = None) -> bytes:
        """The certificate table of the GHCB specification with this chip's certificates, or with `entries`."""
        given = entries if entries is not None else {self.kind: self.leaf, "ask": self.ask, "ark": self.ark}
        blobs = {name: der(value) if isinstance(value, x509.Certificate) else value for name, value in given.items()}
        offset = 24 * (len(blobs) + 1)
        head, body = b"", b""
        for name, blob in blobs.items():
            place = (offset + len(body)).to_bytes(4, "little") + len(blob).to_bytes(4, "little")
            head, body = head + bytes.fromhex(GUIDS.get(name, name)) + place, body + blob
        return head + bytes(24) + body

    def packed(self, tcb: Versions) -> bytes:
        """TCB_VERSION as in reports."""
        boot, tee, snp, microcode, fmc = tcb
        if self.product == "turin":
            return bytes([fmc, boot, tee, snp, 0, 0, 0, microcode])
        return bytes([boot, tee, 0, 0, 0, 0, snp, microcode])

    def report(
        self,
        *,
        report_data: bytes = bytes(64),
        measurement: bytes = octets("measurement", 48),
        host_data: bytes = bytes(32),
        policy: int = 0x30000,
        vmpl: int = 0,
        version: int = 3,
        guest_svn: int = 0,
        reported: Versions | None = None,
        committed: Versions | None = None,
        current: Versions | None = None,
        launch: Versions | None = None,
        chip_id: bytes | None = None,
        masked: bool = False,
        platform_info: int = 0x25,
        key: ec.EllipticCurvePrivateKey | None = None,
        patches: dict[int, bytes] | None = None,
    ) -> bytes:
        """A signed report; `patches` are written over it, by offset, before it is signed."""
        raw = bytearray(SIGNED)
        raw[0x00:0x08] = version.to_bytes(4, "little") + guest_svn.to_bytes(4, "little")
        raw[0x08:0x10] = policy.to_bytes(8, "little")
        raw[0x30:0x38] = vmpl.to_bytes(4, "little") + (1).to_bytes(4, "little")
        raw[0x40:0x48] = platform_info.to_bytes(8, "little")
        raw[0x48] = (self.kind == "vlek") << 2 | masked << 1
        raw[0x50:0x90], raw[0x90:0xC0], raw[0xC0:0xE0] = report_data, measurement, host_data
        raw[0x140:0x160] = octets("report id", 32)
        if version >= 3:
            raw[0x188:0x18B] = bytes(CPU[self.product])
        raw[0x1A0:0x1E0] = self.chip_id if chip_id is None else chip_id
        for offset, tcb in ((0x38, current), (0x180, reported), (0x1E0, committed), (0x1F0, launch)):
            raw[offset : offset + 8] = self.packed(tcb or self.tcb)
        for offset, patch in (patches or {}).items():
            raw[offset : offset + len(patch)] = patch
        return self.sign(bytes(raw), key)

    def sign(self, body: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """The first 0x2A0 bytes of a report, and their signature."""
        r, s = decode_dss_signature((key or self.key).sign(body, ec.ECDSA(SHA384())))
        return (body + r.to_bytes(72, "little") + s.to_bytes(72, "little")).ljust(SIZE, b"\0")


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _integer(value: int) -> bytes:
    """DER INTEGER from 0 to 255."""
    return bytes([2, 1, value]) if value < 0x80 else bytes([2, 2, 0, value])
