"""Azure confidential VMs (SEV-SNP): the processor vouches for the paravisor, the paravisor for a vTPM's key, and that
key quotes the guest's PCRs.

The guest there cannot choose its hardware report's data: the paravisor puts the digest of its runtime data there, and
in that is the vTPM's attestation key. Our report_data goes into the quote. With TDX the same construction leads to a
quote of a guest without SEPT_VE_DISABLE, which no verifier of ours accepts: it is `unsupported` here.
Sources: Microsoft, "Azure confidential VM guest attestation design detail" (the HCL report, its runtime claims);
OpenHCL, openhcl/openhcl_attestation_protocol/src/igvm_attest (the layout).
"""

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from attest.canonical import canonical, parse
from attest.claims import Claims, Endorsements, Scheme
from attest.encoding import Fields, b64encode
from attest.errors import CanonicalError, EvidenceError
from attest.evidence import Evidence
from attest.schemes import sev_snp
from attest.schemes.snp_report import SIZE
from attest.schemes.tpm_quote import LAUNCH, Attested, check_quote, details, rsa_key

MEDIA_TYPE = "application/vnd.etmcp.azure-vtpm+json"
SCHEME = "azure-vtpm"
KEY = "HCLAkPub"
MAX_BODY = 64 << 10
MAX_REPORT = 16 << 10

_MAGIC, _HEADER, _RUNTIME_HEADER = b"HCLA", 32, 20
_SNP, _TDX = 2, 4
_HASHES = {1: hashlib.sha256, 2: hashlib.sha384, 3: hashlib.sha512}
_EXPONENT = "AQAB"
_B64URL = re.compile(r"[A-Za-z0-9_-]{300,700}")
_TOLD = {"secure-boot": "secureBoot", "console-enabled": "consoleEnabled", "vmUniqueId": "vmUniqueId"}
"""What the paravisor says of the VM, and how we name it."""


@dataclass(frozen=True, slots=True)
class Hcl:
    """An HCL report: the hardware's report and the runtime data whose digest is in that."""

    hardware: bytes
    runtime: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class AzureEvidence:
    """The body of Azure vTPM evidence: a quote, and the HCL report up to the end of its runtime data."""

    attested: Attested
    report: bytes

    @classmethod
    def of(cls, attested: Attested, report: bytes) -> "AzureEvidence":
        """With the report as the vTPM holds it, zeros behind it; raises `EvidenceError` where it is none."""
        end = _end(report)
        if any(report[end:]):
            raise EvidenceError("malformed", "the HCL report has something behind its end")
        return cls(attested, report[:end])

    def encode(self) -> Evidence:
        """In canonical JSON, the one form that is read."""
        return Evidence(MEDIA_TYPE, canonical(self.attested.to_json() | {"hclReport": b64encode(self.report)}))

    @classmethod
    def decode(cls, evidence: Evidence) -> "AzureEvidence":
        """Read `encode`'s form and no other; code `malformed`."""
        if len(evidence.body) > MAX_BODY:
            raise EvidenceError("malformed", f"Azure evidence is longer than {MAX_BODY} bytes")
        fields = Fields.parse(evidence.body, "Azure evidence", EvidenceError)
        read = cls(Attested.take(fields), fields.base64("hclReport", maximum=MAX_REPORT))
        fields.done()
        if read.encode().body != evidence.body:
            raise EvidenceError("malformed", "Azure evidence is not in canonical form")
        return read


class AzureVtpmScheme:
    """Opens quotes of an Azure vTPM. `hardware` reads the SEV-SNP report inside."""

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def __init__(self, hardware: Scheme | None = None) -> None:
        self._hardware = hardware or sev_snp.SevSnpScheme()

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """What the SEV-SNP report inside wants."""
        return self._hardware.wants(_inner(read_hcl(AzureEvidence.decode(evidence).report)))

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`.

        1. the SEV-SNP report is authentic, and VMPL 0 asked for it, where the paravisor is and the guest is not;
        2. its report_data is the digest of the runtime data;
        3. exactly one attestation key is in there, and it signed the quote;
        4. the quote is for this report_data and over exactly these PCR values.

        Codes: those of SEV-SNP, and `malformed`, `unsupported`, `chain`, `signature`, `binding`, `measurement`.
        """
        told = AzureEvidence.decode(evidence)
        hcl = read_hcl(told.report)
        key, said = _read_runtime(hcl.runtime)
        platform = self._hardware.open(_inner(hcl), endorsements, now)  # 1
        if platform.details.get("vmpl") != "0":
            raise EvidenceError("chain", "the SEV-SNP report was asked for by the guest (VMPL) and not the paravisor")
        if platform.report_data != hcl.digest.ljust(64, b"\0"):  # 2
            raise EvidenceError("chain", "the SEV-SNP report does not vouch for the runtime data beside it")
        quote = check_quote(told.attested, key)  # 3, 4
        return replace(
            platform,
            scheme=SCHEME,
            report_data=told.attested.report_data,
            measurement={**platform.measurement, **told.attested.measurement},
            launch=platform.launch | LAUNCH,
            details={**platform.details, **said, **details(quote)},
        )


def read_hcl(report: bytes) -> Hcl:
    """Read an HCL report that ends with its runtime data; codes `malformed`, `unsupported`."""
    if _end(report) != len(report):
        raise EvidenceError("malformed", "the HCL report has bytes behind its end")
    kind, algorithm = _field(report, 2), _field(report, 3)
    if kind == _TDX:
        raise EvidenceError(
            "unsupported", "Azure runs TDX guests without SEPT_VE_DISABLE, which is not accepted; use SEV-SNP there"
        )
    if kind != _SNP or algorithm not in _HASHES:
        raise EvidenceError("unsupported", f"HCL report of type {kind} over digest {algorithm}")
    runtime = report[_HEADER + SIZE + _RUNTIME_HEADER :]
    return Hcl(report[_HEADER : _HEADER + SIZE], runtime, _HASHES[algorithm](runtime).digest())


def _end(report: bytes) -> int:
    """Where the runtime data ends; `malformed` where this is no HCL report, or not whole."""
    begin = _HEADER + SIZE + _RUNTIME_HEADER
    if report[: len(_MAGIC)] != _MAGIC or not begin < begin + _field(report, 4) <= len(report):
        raise EvidenceError("malformed", "this is no HCL report, or not all of it")
    return begin + _field(report, 4)


def _field(report: bytes, place: int) -> int:
    """One of data_size, version, report_type, report_data_hash_type, variable_data_size."""
    begin = _HEADER + SIZE + 4 * place
    return int.from_bytes(report[begin : begin + 4], "little")


def _inner(hcl: Hcl) -> Evidence:
    return Evidence(sev_snp.MEDIA_TYPE, hcl.hardware)


def _read_runtime(runtime: bytes) -> tuple[rsa.RSAPublicKey, Mapping[str, str]]:
    """The one attestation key in the paravisor's runtime claims, and what they say of the VM; code `malformed`."""
    try:
        value = parse(runtime)
    except CanonicalError as e:
        raise EvidenceError("malformed", f"the HCL runtime data: {e.detail}") from e
    match value:
        case {"keys": [*keys]}:
            found = [key for key in keys if _name(key) == KEY]
        case _:
            raise EvidenceError("malformed", "the HCL runtime data has no list of keys")
    match found:
        case [{"kty": "RSA", "e": str(exponent), "n": str(modulus)}] if exponent == _EXPONENT and _B64URL.fullmatch(
            modulus
        ):
            pass
        case _:
            raise EvidenceError("malformed", f"the HCL runtime data has not exactly one RSA key {KEY}")
    number = urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))
    if urlsafe_b64encode(number).rstrip(b"=").decode() != modulus:
        raise EvidenceError("malformed", f"the HCL runtime data has a {KEY} that is not base64url")
    return rsa_key(number), _said(value)


def _name(key: Any) -> Any:
    match key:
        case {"kid": name}:
            return name
        case _:
            return None


def _said(value: Any) -> Mapping[str, str]:
    match value:
        case {"vm-configuration": {**told}}:
            pass
        case _:
            told = {}
    return {
        name: str(told[key]).lower()
        for key, name in _TOLD.items()
        if key in told and isinstance(told[key], (bool, str)) and len(str(told[key])) <= 64
    }
