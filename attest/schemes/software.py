"""Software evidence: a process says so under its own key. It proves continuity of a key, never a place or a program.

It counts only under an attester key that the verifier already had: pinned by the gateway that started the process,
or named in a trusted manifest. Its assurance is `software`, and no policy can turn that into `hardware`.
"""

from collections.abc import Callable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.claims import Claims, Endorsements
from attest.dsse import Envelope
from attest.encoding import Fields
from attest.errors import EvidenceError
from attest.evidence import Evidence, key_id

MEDIA_TYPE = "application/vnd.etmcp.software-evidence+json"
SCHEME = "software"
LIFETIME_MS = 3_600_000
SKEW_MS = 60_000


class SoftwareAttester:
    """Signs report_data and self-reported digests with a key that this process holds.

    `clock` returns milliseconds since 1970; `self_reported` maps names to SHA-256 digests or version strings.
    """

    def __init__(
        self, key: Ed25519PrivateKey, clock: Callable[[], int], self_reported: Mapping[str, str] | None = None
    ) -> None:
        self._key, self._clock, self._self_reported = key, clock, dict(self_reported or {})
        self.public_key = key.public_key().public_bytes_raw()

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence valid for one hour."""
        now = self._clock()
        statement = {
            "attester": self.public_key.hex(),
            "reportData": report_data.hex(),
            "selfReported": self._self_reported,
            "issuedAt": now,
            "expiresAt": now + LIFETIME_MS,
        }
        envelope = Envelope.sign(MEDIA_TYPE, canonical(statement), self._key, key_id(self.public_key))
        return Evidence(MEDIA_TYPE, canonical(envelope.to_json()))


class SoftwareScheme:
    """Opens what `SoftwareAttester` makes."""

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:  # noqa: ARG002
        """Nobody else vouches for it."""
        return ()

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`. Codes: `malformed`, `key`, `signature`, `expired`, `not_yet_valid`."""
        body = Fields.parse(evidence.body, "software evidence", EvidenceError)
        envelope = Envelope.from_json(
            {name: body.take(name) for name in ("payloadType", "payload", "signatures")}, EvidenceError
        )
        body.done()
        if canonical(envelope.to_json()) != evidence.body:
            raise EvidenceError("malformed", "the software evidence is not in canonical form")
        fields = Fields.parse(envelope.payload, "software evidence", EvidenceError)
        attester = fields.hex("attester", 32)
        report_data = fields.hex("reportData", 64)
        reported = Fields(told := fields.mapping("selfReported"), "what the server reports of itself", EvidenceError)
        self_reported = {name: reported.text(name, maximum=200) for name in told}
        issued_at, expires_at = fields.integer("issuedAt"), fields.integer("expiresAt")
        fields.done()
        envelope.open(MEDIA_TYPE, attester, key_id(attester), EvidenceError)
        if expires_at - issued_at > LIFETIME_MS or now > expires_at:
            raise EvidenceError("expired", "the evidence is past its hour")
        if now < issued_at - SKEW_MS:
            raise EvidenceError("not_yet_valid", "the evidence is dated in the future; compare the two clocks")
        return Claims(
            scheme=SCHEME,
            assurance="software",
            anchor=attester.hex(),
            standing=endorsements.standing(SCHEME, attester.hex()),
            report_data=report_data,
            self_reported=self_reported,
            debug=False,
            issued_at=issued_at,
            expires_at=expires_at,
        )
