"""The refusals of dcap-qvl, which tells them apart by their texts only, as codes.

Pinned to 0.7: the texts are looked for in this order, in the whole chain of causes that its message shows.
"""

from attest.errors import EvidenceError

REFUSALS: tuple[tuple[str, str], ...] = (
    ("Debug mode is enabled", "debug"),
    ("issue date is in the future", "not_yet_valid"),
    ("CertNotValidYet", "not_yet_valid"),
    ("not valid yet", "not_yet_valid"),
    ("TCBInfo expired", "expired"),
    ("QE Identity expired", "expired"),
    ("CrlExpired", "expired"),
    ("CertExpired", "expired"),
    ("Collateral expired", "expired"),
    ("CertRevoked", "revoked"),
    ("Revoked", "revoked"),
    ("UnknownRevocationStatus", "chain"),
    ("No matching TCB level", "tcb"),
    ("below minimum required from TDX module TCB levels", "tcb"),
    ("not found in TCB Info", "tcb"),
    ("found in TCB Info", "tcb"),
    ("Fmspc mismatch", "chain"),
    ("FMSPC", "chain"),
    ("Invalid MR service TD", "unsupported"),
    ("SEPT_VE_DISABLE", "unsupported"),
    ("Signature is invalid", "signature"),
    ("signature is invalid", "signature"),
    ("InvalidSignatureForPublicKey", "signature"),
    ("InvalidCrlSignatureForPublicKey", "signature"),
    ("QE report hash mismatch", "signature"),
    ("Failed to verify certificate chain", "chain"),
    ("TCB", "chain"),
    ("QE ", "chain"),
    ("collateral", "chain"),
    ("certificate", "chain"),
)


def refusal(message: str) -> EvidenceError:
    """The error for a text of dcap-qvl's; what is unknown is `malformed`, so it never passes for something milder."""
    told = " ".join(message.split())[:300]
    code = next((code for part, code in REFUSALS if part in told), "malformed")
    return EvidenceError(code, f"dcap-qvl: {told}")
