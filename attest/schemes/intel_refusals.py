"""The refusals of dcap-qvl, which tells them apart by their texts only, as codes.

Pinned to 0.7: of the texts the first that its message begins with decides.
"""

import re
from collections.abc import Sequence

from attest.errors import EvidenceError
from attest.x509 import check_chain, check_crl, check_validity, is_revoked, load_certificate, load_crl

STATUSES = frozenset(
    {
        *("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"),
        *("OutOfDate", "OutOfDateConfigurationNeeded", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"),
    }
)
"""Of a platform that is not revoked: PCS API version 4, `tcbStatus`, and Intel's quote verification library."""

REFUSALS: tuple[tuple[str, str], ...] = (
    ("TCB status is invalid: Revoked", "revoked"),
    ("CertRevoked", "revoked"),
    ("TCBInfo issue date is in the future", "not_yet_valid"),
    ("QE Identity issue date is in the future", "not_yet_valid"),
    ("TCBInfo expired", "expired"),
    ("QE Identity expired", "expired"),
    ("CrlExpired", "expired"),
    ("Collateral expired", "expired"),
    ("Signature is invalid for", "signature"),
    ("ISV enclave report signature is invalid", "signature"),
    ("QE report hash mismatch", "signature"),
    ("No matching TCB level found", "tcb"),
    ("Unrecognized TCB status", "tcb"),
    ("Unknown TCB status", "tcb"),
    ("TDX module", "tcb"),
    ("No TDX module identity", "tcb"),
    ("QE ISVSVN", "tcb"),
    ("Failed to evaluate the current TDX TCB", "tcb"),
    ("Debug mode is enabled", "debug"),
    ("TD profiling is enabled", "debug"),
    ("SEPT_VE_DISABLE is not enabled", "unsupported"),
    ("TD migration is enabled", "unsupported"),
    ("SERVTD_EXT is enabled", "unsupported"),
    ("Reserved bits in TD attributes", "unsupported"),
    ("Invalid MR service TD", "unsupported"),
    ("Failed to verify certificate chain", "chain"),
    ("UnknownRevocationStatus", "chain"),
    ("InvalidCrlSignatureForPublicKey", "chain"),
    ("UnsupportedCriticalExtension", "chain"),
    ("Failed to parse root CA CRL", "chain"),
    ("Failed to parse PCK CRL", "chain"),
    ("Fmspc mismatch", "chain"),
    ("TDX quote with non-TDX TCB info", "chain"),
    ("SGX quote with non-SGX TCB info", "chain"),
    ("Unsupported QE Identity id/version", "chain"),
    ("No TCB levels found in QE Identity", "chain"),
    ("QE MRSIGNER", "chain"),
    ("QE ISVPRODID", "chain"),
    ("QE MISCSELECT", "chain"),
    ("QE ATTRIBUTES", "chain"),
    ("QE report validation failed", "chain"),
)
"""What is not here is `malformed`: the library could not read it."""

_STATUS = re.compile(r'"tcbStatus"\s*:\s*"([^"]{0,64})')
_PREFIX = "Verification failed: "


def refusal(message: str) -> EvidenceError:
    """The error for a text of dcap-qvl's."""
    told = " ".join(message.split()).removeprefix(_PREFIX)[:300]
    code = next((code for text, code in REFUSALS if told.startswith(text)), "malformed")
    return EvidenceError(code, f"dcap-qvl: {told}")


def closer(refused: EvidenceError, texts: Sequence[str]) -> EvidenceError:
    """A status that nobody knows makes the library fail to read `texts`, TCB information in JSON; this says so."""
    if refused.code != "malformed":
        return refused
    unknown = {status for text in texts for status in _STATUS.findall(text)} - STATUSES - {"Revoked"}
    return EvidenceError("tcb", f"TCB status {min(unknown)!r} is not a known one") if unknown else refused


def check_certificates(
    quote: Sequence[bytes], signers: Sequence[bytes], root_crl: bytes, pck_crl: bytes, *, at: int
) -> None:
    """Say what is wrong with which certificate, where the library says only that something is.

    `quote` is the chain of a quote, `signers` those of the collateral under the same root, `at` in ms, of which the
    library knows whole seconds. Raises `EvidenceError`: `expired`, `not_yet_valid`, `revoked`, `chain`, `malformed`. It
    returns where it finds nothing; the library's refusal stands whatever this finds.
    """
    at = at // 1000 * 1000
    pck, issuer, root = (load_certificate(data, "the quote's certificate") for data in quote)
    others = [load_certificate(data, "the collateral's certificate") for data in signers]
    check_validity([root, issuer, pck, *others], at)
    check_chain([pck, issuer, root])
    for signer in others:
        check_chain([signer, root])
    authorities, platforms = (load_crl(data, "the collateral's revocation list") for data in (root_crl, pck_crl))
    check_crl(authorities, root, at + 1)  # to the library a list ends before the second in which the next one comes
    check_crl(platforms, issuer, at + 1)
    for crl, certificates in ((authorities, [issuer, *others]), (platforms, [pck])):
        for certificate in certificates:
            if is_revoked(crl, certificate):
                raise EvidenceError("revoked", f"{certificate.subject.rfc4514_string()[:80]} is revoked")
