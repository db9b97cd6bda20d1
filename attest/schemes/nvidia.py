"""NVIDIA GPUs in confidential mode: a signed SPDM report, read and held against the device's chain, and no further.

What is not done, and why the assurance is `none`: the measurements are compared with no reference manifest (RIM) of
NVIDIA's, no revocation is asked for (OCSP), and nothing ties the GPU to the machine that shows its report.
Source: DMTF DSP0274 (SPDM) 1.1, 10.11 GET_MEASUREMENTS; the chain as GPUs give it, leaf first.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attest.canonical import canonical
from attest.claims import Claims, Endorsements
from attest.encoding import Fields, b64encode, same
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.chain import chain_to_json, take_chain
from attest.x509 import check_chain, check_p384, check_validity, expiry, fingerprint, load_certificate, serial_number

MEDIA_TYPE = "application/vnd.etmcp.nvidia-gpu+json"
SCHEME = "nvidia-gpu"
VENDOR = "nvidia"
MAX_BODY = 256 << 10
MAX_REPORT = 16 << 10

_REQUEST, _SIGNATURE, _NONCE = 37, 96, 32
_GET_MEASUREMENTS, _MEASUREMENTS = b"\x11\xe0", b"\x11\x60"
_SIGNED = 1


@dataclass(frozen=True, slots=True)
class GpuEvidence:
    """The body of GPU evidence.

    `report` is the GET_MEASUREMENTS request and the response to it, as signed; the request's nonce is SHA-256 of
    `report_data`. `certificates` are the device's chain in DER, leaf first, with the root.
    """

    report_data: bytes
    report: bytes
    certificates: Sequence[bytes]

    def encode(self) -> Evidence:
        """In canonical JSON, the one form that is read."""
        told = {
            "reportData": self.report_data.hex(),
            "report": b64encode(self.report),
            "certificates": chain_to_json(self.certificates),
        }
        return Evidence(MEDIA_TYPE, canonical(told))

    @classmethod
    def decode(cls, evidence: Evidence) -> "GpuEvidence":
        """Read `encode`'s form and no other; code `malformed`."""
        if len(evidence.body) > MAX_BODY:
            raise EvidenceError("malformed", f"GPU evidence is longer than {MAX_BODY} bytes")
        fields = Fields.parse(evidence.body, "GPU evidence", EvidenceError)
        read = cls(
            fields.hex("reportData", 64),
            fields.base64("report", maximum=MAX_REPORT),
            take_chain(fields, "certificates"),
        )
        fields.done()
        if read.encode().body != evidence.body:
            raise EvidenceError("malformed", "GPU evidence is not in canonical form")
        return read


class NvidiaScheme:
    """Opens GPU evidence: signature, chain and nonce, and says that this is all."""

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:  # noqa: ARG002
        """The evidence brings its certificates along."""
        return ()

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`.

        Codes: `malformed`, `unsupported`, `chain`, `expired`, `not_yet_valid`, `signature`, `binding`.
        """
        told = GpuEvidence.decode(evidence)
        nonce, blocks = _read(told.report)
        chain = [load_certificate(der, "a GPU's certificate") for der in told.certificates]
        check_chain(chain)
        check_validity(chain, now)
        signed, signature = told.report[:-_SIGNATURE], told.report[-_SIGNATURE:]
        r, s = (int.from_bytes(half, "big") for half in (signature[: _SIGNATURE // 2], signature[_SIGNATURE // 2 :]))
        check_p384(chain[0], r, s, signed, "the GPU's report")
        if not same(nonce, hashlib.sha256(told.report_data).digest()):
            raise EvidenceError("binding", "the GPU's report is for other data than the report_data beside it")
        root = fingerprint(chain[-1])
        return Claims(
            scheme=SCHEME,
            assurance="none",
            anchor=root,
            standing=endorsements.standing(VENDOR, root),
            report_data=told.report_data,
            debug=False,
            issued_at=0,
            expires_at=expiry(chain),
            measurement={f"gpu{index}": value.hex() for index, value in blocks.items()},
            details={
                "verified": "signature only",
                "notVerified": "reference measurements (RIM), revocation (OCSP), debug mode",
            },
            instance=f"gpu:{serial_number(chain[0]):x}",
        )


def _read(report: bytes) -> tuple[bytes, Mapping[int, bytes]]:
    """The request's nonce, and the measurements by index; codes `malformed`, `unsupported`."""
    request, response = report[:_REQUEST], report[_REQUEST:]
    if request[:1] != _GET_MEASUREMENTS[:1]:
        raise EvidenceError("unsupported", "the GPU's report is not SPDM 1.1")
    if request[:2] != _GET_MEASUREMENTS or response[:2] != _MEASUREMENTS or not request[2] & _SIGNED:
        raise EvidenceError("malformed", "the GPU's report is not a request for signed measurements and its response")
    end = 8 + int.from_bytes(response[5:8], "little")
    opaque = int.from_bytes(response[end + _NONCE : end + _NONCE + 2], "little")
    if end + _NONCE + 2 + opaque + _SIGNATURE != len(response):
        raise EvidenceError("malformed", "the GPU's report has another length than it says")
    return request[4 : 4 + _NONCE], _blocks(response[8:end], response[4])


def _blocks(record: bytes, count: int) -> Mapping[int, bytes]:
    """The values of `count` measurement blocks in the form of the DMTF (10.11.1): index, 1, size, type, value."""
    values: dict[int, bytes] = {}
    for _ in range(count):
        size = int.from_bytes(record[2:4], "little")
        block, record = record[: 4 + size], record[4 + size :]
        if len(block) != 4 + size or block[1:2] != b"\x01" or int.from_bytes(block[5:7], "little") != size - 3:
            raise EvidenceError("malformed", "the GPU's report has a measurement that is not whole")
        if block[0] in values:
            raise EvidenceError("malformed", "the GPU's report has two measurements of one index")
        values[block[0]] = block[7:]
    if record:
        raise EvidenceError("malformed", "the GPU's report has bytes behind its measurements")
    return values
