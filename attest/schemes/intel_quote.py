"""The outside of an Intel DCAP quote: where its parts are, and that there is nothing else.

Sources: Intel SGX ECDSA Quote Library API (version 3), Intel TDX DCAP Quoting Library API (versions 4 and 5), both in
appendix A. Lengths are checked here since the library behind the schemes ignores what follows the last part.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from attest.errors import EvidenceError

Tee = Literal["tdx", "sgx"]

MAX_QUOTE = 64 << 10
HEADER = 48
SGX, TDX = 0x00000000, 0x00000081
ECDSA_P256 = 2
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The one vendor of quoting enclaves."""
REPORT = 384
TD10, TD15 = 584, 648
MAX_CERTIFICATE = 16 << 10

_BODIES = {2: TD10, 3: TD15}
"""Of version 5, by body type; 1 is an SGX report, which no TD emits, and 4 is newer than what can be tested."""
_CERTIFIED_REPORT, _PCK_CHAIN = 6, 5
_DEBUG_SGX, _UNDER_DEBUG = 1 << 1, 0xFF
_FAMILY = bytes.fromhex("060a2a864886f84d010d01040406")
"""FMSPC in the SGX extension: 1.2.840.113741.1.13.1.4, then an OCTET STRING of 6."""
_AUTHORITIES = {b"Intel SGX PCK Platform CA": "platform", b"Intel SGX PCK Processor CA": "processor"}
_VERSION = b"\xa0"
"""The tag of what a certificate of version 1 lacks."""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]++)-----END CERTIFICATE-----[\r\n]*+")
"""Possessive: linear in the text, whatever it holds."""


@dataclass(frozen=True, slots=True)
class Quote:
    """`data` ends with the last byte of the quote; `body` is the TD or enclave report.

    `chain` holds the platform's certificate (PCK), its issuer and the root, in DER. Nothing of it is authentic yet.
    """

    data: bytes
    tee: Tee
    version: int
    body: bytes
    chain: tuple[bytes, bytes, bytes]

    @property
    def debug(self) -> bool:
        """Whether whoever runs the machine may look into it: debugger or profiler, all of the attributes' first byte.

        Of an enclave the one attribute DEBUG.
        """
        if self.tee == "sgx":
            return bool(self.number(48, 8) & _DEBUG_SGX)
        return bool(self.number(120, 8) & _UNDER_DEBUG)

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the workload chose."""
        return self.body[320:384] if self.tee == "sgx" else self.body[520:584]

    @property
    def document(self) -> str:
        """The name of the collateral: the family (FMSPC) and which of Intel's two authorities certified the platform.

        Code `chain` where the certificate is none of a platform. It chooses a document and no more: the library reads
        both again from the certificate that it verifies, and holds the document against them.
        """
        leaf = self.chain[0]
        place = leaf.find(_FAMILY)
        authorities = [name for text, name in _AUTHORITIES.items() if text in leaf]
        if place < 0 or len(authorities) != 1:
            raise EvidenceError("chain", "the quote's first certificate is not one that Intel gives a platform")
        start = place + len(_FAMILY)
        return f"intel/{self.tee}/{leaf[start : start + 6].hex()}/{authorities[0]}"

    def part(self, start: int, size: int) -> str:
        """A field of the body, in hex."""
        return self.body[start : start + size].hex()

    def number(self, start: int, size: int) -> int:
        """A little-endian field of the body."""
        return int.from_bytes(self.body[start : start + size], "little")


def read_quote(data: bytes, tee: Tee) -> Quote:
    """A quote of this TEE and nothing behind it but zeros, as some clouds pad; codes `malformed`, `unsupported`."""
    if not HEADER < len(data) <= MAX_QUOTE:
        raise EvidenceError("malformed", f"a quote has {HEADER} to {MAX_QUOTE} bytes, and this has {len(data)}")
    version, key_type = int.from_bytes(data[0:2], "little"), int.from_bytes(data[2:4], "little")
    kind = int.from_bytes(data[4:8], "little")
    if (kind, version) not in ((SGX, 3), (TDX, 4), (TDX, 5)) or (kind == SGX) != (tee == "sgx"):
        raise EvidenceError(
            "unsupported", f"no {tee.upper()} quote of a known version: version {version}, TEE {kind:#x}"
        )
    if key_type != ECDSA_P256 or data[12:28] != INTEL_QE:
        raise EvidenceError("unsupported", "the quote is not of Intel's quoting enclave and its P-256 key")
    start, size = HEADER, REPORT if tee == "sgx" else TD10
    if version == 5:
        start += 6
        size = _BODIES.get(_number(data, HEADER, 2), 0)
        if not size or _number(data, HEADER + 2, 4) != size:
            raise EvidenceError("unsupported", "the quote's body is of no type that a TD emits")
    end = start + size
    used = end + 4 + _number(data, end, 4)
    if used > len(data):
        raise EvidenceError("malformed", "the quote is cut short")
    if any(data[used:]):
        raise EvidenceError("malformed", "there is something behind the quote")
    text = _certification(data[end + 4 : used], version).rstrip(b"\0")
    leaf, issuer, root = read_pem(text, 3, "the quote")
    return Quote(data[:used], tee, version, data[start:end], (leaf, issuer, root))


def read_pem(text: bytes, number: int, what: str) -> list[bytes]:
    """Exactly this many certificates in PEM, and nothing before, between or behind them, as DER; code `malformed`."""
    found: list[bytes] = []
    place = 0
    while place < len(text):
        match = _PEM.match(text, place)
        if match is None or len(found) == number or match.end() - place > 2 * MAX_CERTIFICATE:
            break
        text64 = match[1].translate(None, b"\r\n")
        try:
            found.append(base64.b64decode(text64, validate=True))
        except ValueError as e:
            raise EvidenceError("malformed", f"{what} has a certificate that is not base64") from e
        if base64.b64encode(found[-1]) != text64:
            raise EvidenceError("malformed", f"{what} has a certificate in base64 with slack bits")
        place = match.end()
    if place < len(text) or len(found) != number:
        raise EvidenceError("malformed", f"{what} does not have {number} certificates in PEM and nothing else")
    return found


def check_names(certificates: Iterable[bytes], issuer: bytes) -> None:
    """Each certificate, in DER, names `issuer` by the very bytes that this calls itself by; code `chain`.

    The library does not compare the names of what the root signed before it looks into revocation lists, and there a
    difference ends the whole process (an assertion, which the wheel compiles to an abort).
    """
    subject = _names(issuer)[1]
    if any(_names(certificate)[0] != subject for certificate in certificates):
        raise EvidenceError("chain", "a certificate names another issuer than the one that stands behind it")


def _names(certificate: bytes) -> tuple[bytes, bytes]:
    """The issuer and the subject of a certificate as they are encoded (RFC 5280 section 4.1)."""
    place, _ = _enter(certificate, 0)
    place, _ = _enter(certificate, place)
    if certificate[place : place + 1] != _VERSION:
        raise EvidenceError("chain", "a certificate is not one of version 3")
    fields: list[bytes] = []
    while len(fields) < 6:  # version, serial number, algorithm, issuer, validity, subject
        start, end = _enter(certificate, place)
        fields.append(certificate[start:end])
        place = end
    return fields[3], fields[5]


def _enter(data: bytes, place: int) -> tuple[int, int]:
    """Where the content of the DER element at `place` begins and ends."""
    head = data[place : place + 2]
    start = place + 2
    if len(head) == 2 and head[1] & 0x80:
        count = head[1] & 0x7F
        start, size = start + count, int.from_bytes(data[start : start + count], "big")
    else:
        size = head[-1] if len(head) == 2 else len(data)
    if start + size > len(data):
        raise EvidenceError("malformed", "a certificate is cut short")
    return start, start + size


def _certification(auth: bytes, version: int) -> bytes:
    """The PEM chain inside the authentication data, whose parts must fill each other exactly."""
    if version > 3:
        if _number(auth, 128, 2) != _CERTIFIED_REPORT or 134 + _number(auth, 130, 4) != len(auth):
            raise EvidenceError("malformed", "the quote's certified report is not all of its certification data")
        auth = auth[:128] + auth[134:]
    chain = 128 + REPORT + 64 + 2 + _number(auth, 128 + REPORT + 64, 2)
    if _number(auth, chain, 2) != _PCK_CHAIN:
        raise EvidenceError("unsupported", "the quote does not carry its PCK certificates")
    if chain + 6 + _number(auth, chain + 2, 4) != len(auth):
        raise EvidenceError("malformed", "the quote's certificates do not end where it ends")
    return auth[chain + 6 :]


def _number(data: bytes, start: int, size: int) -> int:
    field = data[start : start + size]
    if len(field) != size:
        raise EvidenceError("malformed", "the quote is cut short")
    return int.from_bytes(field, "little")
