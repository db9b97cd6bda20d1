"""Everything `attest` raises on input it was handed. Split only where callers act differently.

* AttestError            `.code` is stable and listed in WIRE.md, `.detail` is for people
  x CanonicalError       JSON without exactly one meaning: refuse the message
  x EvidenceError        the evidence is malformed, forged, stale or under no root of ours: do not use the server
  x PolicyError          genuine, but not what the relying party asked for: change the policy or the server
  x ReceiptError         the receipt is not for this exchange, key or time: withhold the result
  x ManifestError        the manifest is malformed or not signed by the expected publisher: ask the publisher
  x SealError            ciphertext that does not open: withhold the result
  x IdentityError        nobody, or somebody whom we do not believe: refuse the request
  x LogError             a checkpoint, note or proof of the transparency log is malformed or does not hold: alert
"""


class AttestError(Exception):
    """Base of all errors here."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class CanonicalError(AttestError):
    """The JSON is malformed or ambiguous (duplicate keys, NaN, lone surrogates, too deep)."""


class EvidenceError(AttestError):
    """The evidence is malformed, forged, stale, or leads to no trust anchor of the caller."""


class PolicyError(AttestError):
    """The evidence is genuine but the appraisal policy does not accept it."""


class ReceiptError(AttestError):
    """The receipt does not match the exchange, the key or the time."""


class ManifestError(AttestError):
    """The manifest is malformed, forged, out of date, or by another publisher."""


class SealError(AttestError):
    """A sealed request or reply does not open under this key and this call header."""


class IdentityError(AttestError):
    """There is no assertion of identity beside the request, or it is not one for it by a trusted gateway."""


class LogError(AttestError):
    """A checkpoint, signed note or Merkle proof is malformed, forged or does not hold."""
