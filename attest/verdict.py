"""Checks a bundle and says what it found, step by step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from attest.bundle import Bundle
from attest.claims import Assurance, Claims, Endorsements, Scheme
from attest.ear import ear, refused
from attest.encoding import salted, same
from attest.errors import AttestError, EvidenceError, PolicyError, ReceiptError
from attest.evidence import Binding, Evidence, key_id
from attest.groth16.pairing import fastest
from attest.policy import AllOf, Policy, Subject, graded
from attest.proof import ProofResult
from attest.proven import ANY, Accepted, check_attached, check_unproven
from attest.receipt import MAX_SKEW_MS
from attest.statement import PAYLOAD_TYPE, Statement
from attest.verifier import Verifier

OBSERVER = "observer"  # the anchors under which gateways sign what unattested servers returned
STEPS = ("bundle", "signature", "statement", "evidence", "params", "result", "time", "proof", "trust", "policy")
NOTHING = AllOf([])


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered check. `not checked` is never a pass."""

    name: str
    status: Literal["passed", "failed", "not checked"]
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`verified` needs anchors and a policy from the verifier; `untrusted` means sound in itself and no more.

    `appraisal` is the evidence's as an EAR (`attest.ear`), or its refusal; None where there is none, or no decision.
    """

    outcome: Literal["verified", "untrusted", "refused"]
    steps: tuple[Step, ...]
    receipt_id: str | None
    statement: Statement | None
    assurance: Assurance
    appraisal: Mapping[str, Any] | None = None
    proof: ProofResult | None = None

    def to_json(self) -> dict[str, Any]:
        """For `etmcp-verify --json`."""
        steps = [
            {"step": number, "name": step.name, "status": step.status, "code": step.code, "detail": step.detail}
            for number, step in enumerate(self.steps, 1)
        ]
        summary: dict[str, Any] = {"outcome": self.outcome, "receiptId": self.receipt_id, "steps": steps}
        if self.statement is not None and self.outcome != "refused":
            summary |= {
                "kind": self.statement.kind,
                "assurance": self.assurance,
                "server": dict(self.statement.server),
                "method": self.statement.method,
                "target": self.statement.target,
                "time": "unproven",
            }
            if self.proof is not None:
                summary["proof"] = self.proof.to_json()
        if self.appraisal is not None:
            summary["appraisal"] = dict(self.appraisal)
        return summary


def verify_bundle(
    data: bytes,
    *,
    schemes: tuple[Scheme, ...],
    endorsements: Endorsements,
    policy: Policy | None,
    now: int,
    proofs: Accepted = ANY,
) -> Verdict:
    """Check a bundle file; never raises for what the file holds. `now` in milliseconds since 1970.

    1. `bundle`     it is a bundle in its one canonical form;
    2. `signature`  the receipt verifies under the key that the bundle presents;
    3. `statement`  and says one well-formed thing, of the kind that this key can say;
    4. `evidence`   the evidence is authentic and binds that key (observer: there is none to check);
    5. `params`     the params digest covers the params,
    6. `result`     the result digest covers the result;
    7. `time`       the receipt's times are in order, in the past, and within the evidence's lifetime;
    8. `proof`      the proof in it is of this call, under the program in the tool's definition that the receipt
                    names, and is accepted (`proofs`); `not checked` where there is none, and neither receipt nor
                    policy asks for one;
    9. `trust`      the evidence or observer key leads to an anchor that the verifier brought;
    10. `policy`    the verifier's policy accepts it.

    A failure of 1 to 8 or 10 refuses; 9, for want of an anchor or of a policy, leaves it `untrusted`.
    """
    found = _Found()
    steps: list[Step] = []
    outcome: Literal["verified", "untrusted", "refused"] = "verified"
    try:
        for name in _run(data, schemes, endorsements, policy, now, found, proofs):
            steps.append(Step(name, "not checked" if name == "proof" and found.proof is None else "passed"))
    except AttestError as e:
        name = STEPS[len(steps)]
        outcome = "untrusted" if name == "trust" else "refused"
        steps.append(Step(name, "failed", e.code, e.detail))
        if name in ("evidence", "policy") and found.statement is not None and found.statement.launch is None:
            found.appraisal = refused(e, now)  # an observer has no evidence that anybody could refuse
    steps += [Step(name, "not checked") for name in STEPS[len(steps) :]]
    return Verdict(
        outcome, tuple(steps), found.receipt_id, found.statement, found.assurance, found.appraisal, found.proof
    )


@dataclass(slots=True)
class _Found:
    """What the steps established so far; filled by `_run` alone."""

    receipt_id: str | None = None
    statement: Statement | None = None
    assurance: Assurance = "none"
    appraisal: Mapping[str, Any] | None = None
    proof: ProofResult | None = None


def _run(
    data: bytes,
    schemes: tuple[Scheme, ...],
    endorsements: Endorsements,
    policy: Policy | None,
    now: int,
    found: _Found,
    proofs: Accepted,
) -> Iterator[str]:
    """Yield each step's name once it has passed; raise `AttestError` from the one that fails."""
    bundle = Bundle.decode(data)
    found.receipt_id = bundle.receipt.receipt_id
    yield "bundle"  # 1

    observed = isinstance(bundle.speaker, bytes)
    key = bundle.speaker if isinstance(bundle.speaker, bytes) else bundle.speaker[1].signing_key
    name = key_id(bundle.speaker) if isinstance(bundle.speaker, bytes) else bundle.speaker[1].key_id
    payload = bundle.receipt.envelope.open(PAYLOAD_TYPE, key, name)
    yield "signature"  # 2

    said = found.statement = Statement.decode(payload)
    if (said.kind == "observer-attested") != observed or (said.launch is not None) != observed:
        raise ReceiptError("kind", f"this key cannot sign a receipt of kind {said.kind}")
    yield "statement"  # 3

    if isinstance(bundle.speaker, bytes):
        claims = Claims(
            scheme=OBSERVER,
            assurance="none",
            anchor=key.hex(),
            standing=endorsements.standing(OBSERVER, key.hex()),
            report_data=b"",
            debug=False,
            issued_at=said.received_at,
            expires_at=said.finished_at,
        )
    else:
        claims = _authenticated(bundle, *bundle.speaker, schemes, endorsements, said.finished_at)
    yield "evidence"  # 4

    if not same(salted(bundle.params_salt, bundle.params), said.params_digest):
        raise ReceiptError("params", "the params are not those that the receipt covers")
    yield "params"  # 5

    if not same(salted(bundle.receipt.result_salt, bundle.result), said.result_digest):
        raise ReceiptError("result", "the result is not the one that the receipt covers")
    yield "result"  # 6

    if not said.received_at <= said.finished_at <= now + MAX_SKEW_MS:
        raise ReceiptError("time", "the receipt's times are out of order or in the future")
    if not claims.issued_at - MAX_SKEW_MS <= said.received_at <= said.finished_at <= claims.expires_at:
        raise ReceiptError("expired", "the receipt was made outside the evidence's lifetime")
    yield "time"  # 7

    found.proof = _proven(bundle, said, now, proofs)
    yield "proof"  # 8

    if policy is None:
        raise PolicyError("policy", "no policy was given, and an empty policy accepts nothing")
    if not claims.anchored:
        raise EvidenceError("root", f"{claims.scheme} key {claims.anchor[:16]} is not an anchor that was given")
    yield "trust"  # 9

    grounds = policy.check(Subject(claims, said.finished_at))
    found.assurance = graded(claims, grounds)
    if not observed:
        found.appraisal = ear(
            claims, found.assurance, pinned=grounds.pinned, issued_at=now, expires_at=claims.expires_at
        )
    yield "policy"  # 10


def _authenticated(
    bundle: Bundle,
    evidence: Evidence,
    binding: Binding,
    schemes: tuple[Scheme, ...],
    endorsements: Endorsements,
    at: int,
) -> Claims:
    """The claims at the time of the receipt, with the verifier's documents before those in the bundle.

    The verifier's may be of another time, mostly a later one. Then the bundle's say how things were; what the others
    name as revoked is revoked, since nobody knows from when on its key was in other hands.
    """

    def judged(trust: Endorsements) -> Claims:
        verifier = Verifier(schemes=schemes, endorsements=trust, policy=NOTHING)
        try:
            return verifier.authenticate(evidence, binding, at, bundle.endorsements)
        except EvidenceError as e:
            if e.code != "not_yet_valid" or not bundle.endorsements:
                raise
        # Vendors date what they say at the moment that they are asked, and the server's clock may be behind theirs.
        return verifier.authenticate(evidence, binding, at + MAX_SKEW_MS, bundle.endorsements)

    try:
        return judged(endorsements)
    except EvidenceError as e:
        if e.code not in ("expired", "not_yet_valid") or not endorsements.documents:
            raise
    return judged(replace(endorsements, documents={}, untimely=endorsements.documents))


def _proven(bundle: Bundle, said: Statement, now: int, accepted: Accepted) -> ProofResult | None:
    """What the proof shows; None where there is none, and neither the receipt nor the policy asks for one."""
    if bundle.proof is not None:
        return check_attached(
            bundle.proof,
            tool=said.target if said.method == "tools/call" else None,
            definition=said.definition,
            nonce=said.nonce,
            params=bundle.params,
            result=bundle.result,
            pairing=fastest(),
            now=now,
            accepted=accepted,
        ).result
    if said.environment.get("tier") == "proof":
        raise EvidenceError("binding", "the receipt says that its result is proven, and the proof is not here")
    if accepted.programs is not None and said.method == "tools/call":
        check_unproven(bundle.result, said.outcome)
    return None
