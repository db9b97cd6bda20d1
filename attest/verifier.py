"""The RATS Verifier: appraises the Evidence for one pair of keys."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from types import MappingProxyType
from typing import Any

from attest.claims import Assurance, Claims, Endorsements, Scheme
from attest.ear import ear
from attest.encoding import same
from attest.errors import EvidenceError
from attest.evidence import Binding, Evidence
from attest.policy import Policy, Subject, graded

NO_DOCUMENTS: Mapping[str, bytes] = MappingProxyType({})
_CHECKED = object()  # only this module holds it, so only `appraise` can make an AttestationResult


@dataclass(frozen=True, slots=True)
class AttestationResult:
    """Holding one is the proof that `Verifier.appraise` accepted the Evidence for these keys.

    `assurance` is what it is worth under that policy, `pinned` whether the policy named the machine. `issued_at` and
    `expires_at` in milliseconds since 1970: a receipt signed later needs a new appraisal.
    """

    claims: Claims
    assurance: Assurance
    pinned: bool
    binding: Binding
    issued_at: int
    expires_at: int
    _: KW_ONLY
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        if token is not _CHECKED:
            raise TypeError("an AttestationResult comes from Verifier.appraise only")

    @property
    def key_id(self) -> str:
        """The key pair it speaks for."""
        return self.binding.key_id

    def to_json(self) -> dict[str, Any]:
        """EAR-shaped (`attest.ear`)."""
        return ear(
            self.claims, self.assurance, pinned=self.pinned, issued_at=self.issued_at, expires_at=self.expires_at
        )


class Verifier:
    """Schemes it can read, anchors it trusts, and the policy it holds them to."""

    def __init__(self, *, schemes: Sequence[Scheme], endorsements: Endorsements, policy: Policy) -> None:
        self._schemes = {media_type: scheme for scheme in schemes for media_type in scheme.media_types}
        self._endorsements, self._policy = endorsements, policy

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The names of the documents that an appraisal would look for; raises `EvidenceError`."""
        return self._scheme(evidence).wants(evidence)

    def appraise(
        self,
        evidence: Evidence,
        binding: Binding,
        *,
        nonce: bytes | None,
        now: int,
        maximum_age_ms: int,
        documents: Mapping[str, bytes] = NO_DOCUMENTS,
    ) -> AttestationResult:
        """Return the Attestation Result, or raise `EvidenceError` or `PolicyError`.

        `nonce` is the challenge of this verifier; None when the evidence is appraised again later, offline, where
        its freshness follows from the receipts' times instead. `now` and `maximum_age_ms` in milliseconds. `documents`
        are endorsements from whoever had them, behind the verifier's own.

        1. a Scheme for the media type authenticates the Evidence at `now`;
        2. its report_data binds exactly these keys, configuration and boot;
        3. the binding answers our challenge;
        4. the Evidence leads to an anchor that the caller trusts;
        5. the policy accepts its Claims, and what it held against reference values says what they are worth.
        """
        claims = self.authenticate(evidence, binding, now, documents)  # 1, 2
        if nonce is not None and not same(binding.nonce, nonce):  # 3
            raise EvidenceError("nonce", "the evidence answers another challenge")
        if not claims.anchored:  # 4
            raise EvidenceError("root", f"{claims.scheme} evidence under {claims.anchor[:16]}, not an anchor of ours")
        grounds = self._policy.check(Subject(claims, now, challenged=nonce is not None))  # 5
        until = min(claims.expires_at, now + maximum_age_ms)
        return AttestationResult(claims, graded(claims, grounds), grounds.pinned, binding, now, until, token=_CHECKED)

    def authenticate(
        self, evidence: Evidence, binding: Binding, now: int, documents: Mapping[str, bytes] = NO_DOCUMENTS
    ) -> Claims:
        """Steps 1 and 2 alone: what the Evidence says and whether it speaks of these keys; trust is not decided."""
        claims = self._scheme(evidence).open(evidence, self._endorsements.beside(documents), now)
        if not same(claims.report_data, binding.report_data()):
            raise EvidenceError("binding", "report_data does not bind these keys, this configuration and this nonce")
        return claims

    def _scheme(self, evidence: Evidence) -> Scheme:
        scheme = self._schemes.get(evidence.media_type)
        if scheme is None:
            raise EvidenceError("unsupported", f"no scheme reads {evidence.media_type[:80]!r}")
        return scheme
