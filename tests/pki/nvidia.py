"""A fake NVIDIA: a GPU's chain and its signed SPDM reports, right and wrong."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from attest.evidence import Evidence
from attest.schemes.nvidia import GpuEvidence
from tests.pki.authority import YEARS, Key, issue, moment, p384_key, usage

LINE = ("GH100 A01 GSP FMC LF", "GH100 A01 GSP BROM", "NVIDIA GH100 Provisioner ICA 1", "NVIDIA Device Identity CA")


def measurements(count: int = 4) -> list[tuple[int, bytes]]:
    """Index and SHA-384 digest; the first is not used."""
    return [(i, bytes(48) if i == 1 else hashlib.sha384(b"fake gpu %d" % i).digest()) for i in range(1, count + 1)]


def blocks(values: Sequence[tuple[int, bytes]]) -> bytes:
    """A measurement record."""
    return b"".join(
        bytes([index, 1]) + (len(value) + 3).to_bytes(2, "little") + b"\x01" + len(value).to_bytes(2, "little") + value
        for index, value in values
    )


@dataclass(frozen=True)
class FakeNvidia:
    """One GPU. `now` in milliseconds since 1970; two of the same `name` have the same keys in one run."""

    now: int
    name: str = "nvidia"

    def key(self, place: int) -> ec.EllipticCurvePrivateKey:
        """The key of the certificate at `place`, 0 what signs reports."""
        return p384_key(f"{self.name} {place}")

    def certificate(self, place: int, *, key: Key | None = None, end: datetime | None = None) -> x509.Certificate:
        """That of the line's member at `place`."""
        above = min(place + 1, len(LINE) - 1)
        return issue(
            LINE[place],
            key or self.key(place),
            LINE[above],
            self.key(above),
            begin=moment(self.now) - timedelta(days=1),
            end=end or moment(self.now) + YEARS,
            authority=True if place else None,
            key_usage=usage(signs=place == 0, certifies=place > 0),
            serial_number=0x7BC2 if place == 0 else None,
        )

    @cached_property
    def chain(self) -> Sequence[x509.Certificate]:
        return [self.certificate(place) for place in range(len(LINE))]

    @property
    def root_sha256(self) -> str:
        return self.chain[-1].fingerprint(SHA256()).hex()

    def report(
        self,
        report_data: bytes,
        *,
        nonce: bytes | None = None,
        request: bytes = b"\x11\xe0\x01\xff",
        response: bytes = b"\x11\x60\x00\x00",
        record: bytes | None = None,
        count: int = 4,
        opaque: bytes = b"\x06\x00\x08\x00driver01",
        opaque_length: int | None = None,
        trailing: bytes = b"",
    ) -> bytes:
        """A request, and the signed response to it; right unless told."""
        asked = hashlib.sha256(report_data).digest() if nonce is None else nonce
        told = blocks(measurements()) if record is None else record
        size = len(opaque) if opaque_length is None else opaque_length
        signed = (
            request
            + asked
            + b"\0"
            + response
            + bytes([count])
            + len(told).to_bytes(3, "little")
            + told
            + b"\x5a" * 32
            + size.to_bytes(2, "little")
            + opaque
            + trailing
        )
        return signed + self.sign(signed)

    def sign(self, signed: bytes) -> bytes:
        """ECDSA over P-384, r and s."""
        r, s = decode_dss_signature(self.key(0).sign(signed, ec.ECDSA(SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")

    def evidence(
        self, report_data: bytes, *, report: bytes | None = None, chain: Sequence[x509.Certificate] | None = None
    ) -> Evidence:
        """GPU evidence."""
        line = self.chain if chain is None else chain
        ders = [certificate.public_bytes(Encoding.DER) for certificate in line]
        return GpuEvidence(report_data, self.report(report_data) if report is None else report, ders).encode()
