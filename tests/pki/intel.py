"""A fake Intel: its root, the platforms that it certifies, the collateral that it signs, and quotes of TDX and SGX."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.pki import intel_tcb
from tests.pki.authority import YEARS, issue, moment, named, p256_key, usage
from tests.pki.intel_tcb import CPU_SVN, PCE_SVN, QE_SIGNER, SGX_OID, TDX_SVN, Tee, enclave_report, sgx_extension

Edit = Callable[[dict[str, Any]], object]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SEPT_VE_DISABLE = 1 << 28
DEBUG_TD, DEBUG_SGX = 1, 1 << 1
VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
ROOT, SIGNER = "Intel SGX Root CA", "Intel SGX TCB Signing"


def octets(name: str, size: int) -> bytes:
    """Bytes that look random and are the same for ever."""
    return hashlib.shake_256(f"fake intel {name}".encode()).digest(size)


@dataclass(frozen=True)
class FakeIntel:
    """One platform, the authorities above it, what Intel would say of its family, and the quotes it would sign.

    `now` in milliseconds since 1970; certificates began the day before and run ten years, collateral is of the day
    before and for 29 days. `tee` says of what the collateral is. Two of the same `name` and `now` have the same keys
    and root in one run; another name is another vendor.
    """

    now: int
    tee: Tee = "tdx"
    authority: Literal["platform", "processor"] = "platform"
    name: str = "intel"
    family: bytes = bytes.fromhex("f0c06f000000")

    @property
    def fmspc(self) -> str:
        """The family of platforms, lower-case hex."""
        return self.family.hex()

    @property
    def document_name(self) -> str:
        """The collateral's name among the documents."""
        return f"intel/{self.tee}/{self.fmspc}/{self.authority}"

    @property
    def documents(self) -> dict[str, bytes]:
        """What `Endorsements.documents` needs for this platform."""
        return {self.document_name: self.collateral()}

    @property
    def root_sha256(self) -> str:
        """The anchor, hex."""
        return self.root.fingerprint(SHA256()).hex()

    @property
    def root(self) -> x509.Certificate:
        """One for all platforms of this vendor."""
        return _root(self.name, self.now)

    @cached_property
    def issuer(self) -> x509.Certificate:
        """What certifies platforms."""
        return self.certificate(self.issuer_name, self.authority, ROOT, "root", authority=True, path_length=0)

    @cached_property
    def signer(self) -> x509.Certificate:
        """What signs TCB information and identities of quoting enclaves."""
        return self.certificate(SIGNER, "signer", ROOT, "root")

    @cached_property
    def pck(self) -> x509.Certificate:
        """The platform's certificate."""
        return self.certify()

    @property
    def issuer_name(self) -> str:
        return f"Intel SGX PCK {self.authority.title()} CA"

    def key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """A key of this vendor: root, platform, processor, signer, pck, quoting."""
        return p256_key(f"{self.name} {name}")

    def certificate(
        self,
        subject: str,
        key: str,
        issuer: str,
        issuer_key: str,
        *,
        authority: bool | None = False,
        path_length: int | None = None,
        extensions: Sequence[tuple[str, bytes]] = (),
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> x509.Certificate:
        """`key` and `issuer_key` name keys of this vendor; an authority's key certifies, another's signs."""
        return issue(
            subject,
            self.key(key),
            issuer,
            self.key(issuer_key),
            begin=begin or moment(self.now) - timedelta(days=1),
            end=end or moment(self.now) + YEARS,
            authority=authority,
            path_length=path_length,
            key_usage=usage(signs=not authority, certifies=bool(authority)),
            extensions=extensions,
            digest=SHA256,
        )

    def certify(
        self,
        *,
        svn: bytes = CPU_SVN,
        pce: int = PCE_SVN,
        family: bytes | None = None,
        ppid: bytes | None = None,
        issuer: str = "",
        issuer_key: str = "",
        authority: bool | None = False,
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> x509.Certificate:
        """A PCK certificate, right unless told."""
        platform = octets(f"{self.name} platform", 16) if self.authority == "platform" else None
        number = octets(f"{self.name} ppid", 16) if ppid is None else ppid
        extension = sgx_extension(family or self.family, number, platform, svn, pce)
        return self.certificate(
            "Intel SGX PCK Certificate",
            "pck",
            issuer or self.issuer_name,
            issuer_key or self.authority,
            authority=authority,
            extensions=[(SGX_OID, extension)],
            begin=begin,
            end=end,
        )

    def crl(
        self,
        issuer: str,
        key: str,
        revoked: Sequence[x509.Certificate] = (),
        *,
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> bytes:
        """A revocation list in DER: of yesterday and for 29 days, unless told."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(named(issuer))
            .last_update(begin or moment(self.now) - timedelta(days=1))
            .next_update(end or moment(self.now) + timedelta(days=29))
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(moment(self.now)).build())
        return builder.sign(self.key(key), SHA256()).public_bytes(Encoding.DER)

    def collateral(
        self,
        *,
        tcb: Edit | None = None,
        qe: Edit | None = None,
        revoked: Sequence[x509.Certificate] = (),
        revoked_authorities: Sequence[x509.Certificate] = (),
        issued: datetime | None = None,
        until: datetime | None = None,
        signer_key: str = "signer",
        parts: Mapping[str, Any] | None = None,
    ) -> bytes:
        """QuoteCollateralV3 as JSON. `tcb` and `qe` edit what is then signed, `parts` replace what was made.

        `revoked` are platforms, `revoked_authorities` certificates that the root signed.
        """
        begin, end = issued or moment(self.now) - timedelta(days=1), until or moment(self.now) + timedelta(days=29)
        info = intel_tcb.tcb_info(self.tee, self.family, _iso(begin), _iso(end))
        identity = intel_tcb.qe_identity(self.tee, _iso(begin), _iso(end))
        for edit, value in ((tcb, info), (qe, identity)):
            if edit is not None:
                edit(value)
        chain = pem(self.signer, self.root)
        made: dict[str, Any] = {
            "pck_crl_issuer_chain": pem(self.issuer, self.root),
            "root_ca_crl": self.crl(ROOT, "root", revoked_authorities).hex(),
            "pck_crl": self.crl(self.issuer_name, self.authority, revoked).hex(),
        }
        for name, value in (("tcb_info", info), ("qe_identity", identity)):
            text = json.dumps(value, separators=(",", ":"))
            made |= {f"{name}_issuer_chain": chain, name: text}
            made[f"{name}_signature"] = signature(self.key(signer_key), text.encode()).hex()
        return json.dumps(made | dict(parts or {})).encode()

    def quote(
        self,
        *,
        report_data: bytes = bytes(64),
        mrtd: bytes = octets("mrtd", 48),
        rtmrs: Mapping[int, bytes] | None = None,
        attributes: int = SEPT_VE_DISABLE,
        tee_tcb_svn: bytes = TDX_SVN,
        version: Literal[4, 5] = 4,
        body_type: Literal[2, 3] = 2,
        patches: Mapping[int, bytes] | None = None,
        **rest: Any,
    ) -> bytes:
        """A TD's quote; `rtmrs` that are not given are zero. `patches` as in `sign`, which `rest` is for.

        Version 5 may have the longer body of TDX 1.5, of `body_type` 3.
        """
        body = bytearray(584)
        body[0:16], body[120:128] = tee_tcb_svn, attributes.to_bytes(8, "little")
        body[128:136] = bytes.fromhex("e702060000000000")
        body[136:184], body[520:584] = mrtd, report_data
        for index, value in (rtmrs or {}).items():
            body[328 + 48 * index : 376 + 48 * index] = value
        if body_type == 3:
            body += tee_tcb_svn + bytes(48)
        front = body_type.to_bytes(2, "little") + len(body).to_bytes(4, "little") if version == 5 else b""
        return self.sign(header(version, 0x81) + front + bytes(body), patches=patches, **rest)

    def enclave_quote(
        self,
        *,
        report_data: bytes = bytes(64),
        mrenclave: bytes = octets("mrenclave", 32),
        mrsigner: bytes = octets("mrsigner", 32),
        attributes: int = 5,
        product: int = 7,
        svn: int = 2,
        patches: Mapping[int, bytes] | None = None,
        **rest: Any,
    ) -> bytes:
        """An enclave's quote, version 3; the arguments as in `quote`."""
        body = enclave_report(
            report_data=report_data,
            mrenclave=mrenclave,
            mrsigner=mrsigner,
            attributes=attributes,
            product=product,
            svn=svn,
        )
        return self.sign(header(3, 0) + body, patches=patches, **rest)

    def sign(
        self,
        signed: bytes,
        *,
        patches: Mapping[int, bytes] | None = None,
        key: str = "quoting",
        qe_patches: Mapping[int, bytes] | None = None,
        qe_key: str = "pck",
        chain: Sequence[x509.Certificate] | None = None,
        certificates: bytes | None = None,
        certificates_type: int = 5,
    ) -> bytes:
        """A quote over a header and a body that `patches` are written over, by offset, before they are signed.

        `qe_patches` likewise over the quoting enclave's report. `key` signs the quote, `qe_key` the report, which
        binds the key "quoting". `chain` is the platform's, `certificates` what stands in its place.
        """
        signed = patched(signed, patches)
        point = self.key("quoting").public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        extra = octets("authentication data", 32)
        report = enclave_report(
            report_data=hashlib.sha256(point + extra).digest() + bytes(32),
            mrenclave=octets("quoting enclave", 32),
            mrsigner=QE_SIGNER,
            attributes=0x15,
            product=1 if signed[0] == 3 else 2,
            svn=6,
        )
        report = patched(report, qe_patches)
        given = (self.pck, self.issuer, self.root) if chain is None else chain
        text = pem(*given).encode() + b"\0" if certificates is None else certificates
        inner = report + signature(self.key(qe_key), report) + len(extra).to_bytes(2, "little") + extra
        inner += certificates_type.to_bytes(2, "little") + len(text).to_bytes(4, "little") + text
        if signed[0] != 3:
            inner = (6).to_bytes(2, "little") + len(inner).to_bytes(4, "little") + inner
        authentication = signature(self.key(key), signed) + point + inner
        return signed + len(authentication).to_bytes(4, "little") + authentication


@cache
def _root(name: str, now: int) -> x509.Certificate:
    return FakeIntel(now, name=name).certificate(ROOT, "root", ROOT, "root", authority=True, path_length=1)


def header(version: int, tee: int) -> bytes:
    """48 bytes, with the P-256 key type and Intel's quoting enclave."""
    numbers = version.to_bytes(2, "little") + (2).to_bytes(2, "little") + tee.to_bytes(4, "little")
    return numbers + bytes(4) + VENDOR + octets("user data", 20)


def signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA over SHA-256 as r and s, 64 bytes."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def pem(*certificates: x509.Certificate) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def patched(data: bytes, patches: Mapping[int, bytes] | None) -> bytes:
    """`data` with `patches` written over it, by offset."""
    raw = bytearray(data)
    for offset, patch in (patches or {}).items():
        raw[offset : offset + len(patch)] = patch
    return bytes(raw)


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
