"""Attestation Results in the shape of EAR (draft-ietf-rats-ear-04) with the vector of AR4SI (draft-ietf-rats-ar4si).

Vector values: 0 no claim, 2 affirming (3: of what was launched), 32 warning, 33 unrecognised, 96 contraindicated.
`ear_status` is the tier of the worst, in words as JSON has it. What EAR does not have is ours, under our own profile.
"""

from typing import Any

from attest.claims import Assurance, Claims
from attest.errors import AttestError

PROFILE = "tag:ietf.org,2026:rats/ear#04"
OURS = "tag:etmcp.com,2026:appraisal"
VERIFIER = {"developer": "https://etmcp.com", "build": "attest/v1"}
AFFIRMING, LAUNCHED, WARNING, UNRECOGNISED, CONTRAINDICATED = 2, 3, 32, 33, 96
GOOD_TCB = frozenset({"", "UpToDate"})


def ear(claims: Claims, assurance: Assurance, *, pinned: bool, issued_at: int, expires_at: int) -> dict[str, Any]:
    """The result for accepted claims. Times in milliseconds; `iat` and `exp` in seconds, as JWT has them.

    There is no `exp` where it is past already: what was good at its time is told so later.
    """
    vector = _vector(claims, assurance, pinned=pinned)
    result: dict[str, Any] = {
        "eat_profile": OURS,
        "ear_status": _tier(max(vector.values())),
        "ear_trustworthiness_vector": vector,
        "assurance": assurance,
        "instance": _instance(pinned=pinned),
        **brief(claims, pinned=pinned),
        "measurement": dict(claims.measurement),
        "details": dict(claims.details),
        "self-reported": dict(claims.self_reported),
    }
    if claims.tcb is not None:
        result["tcb"] = {
            "status": claims.tcb.status,
            "advisories": sorted(claims.tcb.advisories),
            "versions": dict(claims.tcb.versions),
        }
    if claims.standing == "test":
        result["anchor"] = "test-root"
    ends = {"exp": expires_at // 1000} if expires_at >= issued_at else {}
    return _whole({claims.scheme: result}, issued_at) | ends


def brief(claims: Claims, *, pinned: bool) -> dict[str, Any]:
    """What nobody may overlook beside the assurance of hardware; empty for software."""
    if claims.assurance != "hardware":
        return {}
    told: dict[str, Any] = {"instance": _instance(pinned=pinned)}
    if claims.tcb is not None and claims.tcb.status not in GOOD_TCB:
        told["tcbStatus"] = claims.tcb.status
    if claims.collateral_date is not None:
        told["collateralDate"] = claims.collateral_date
    return told | {"assumes": ["no physical access"]}


def _instance(*, pinned: bool) -> str:
    return "pinned" if pinned else "unpinned"


def refused(error: AttestError, issued_at: int) -> dict[str, Any]:
    """The result where evidence was refused: contraindicated, and why."""
    refusal = {
        "eat_profile": OURS,
        "ear_status": _tier(CONTRAINDICATED),
        "code": error.code,
        "detail": error.detail,
        "assurance": "none",
    }
    return _whole({"evidence": refusal}, issued_at)


def _whole(submods: dict[str, Any], issued_at: int) -> dict[str, Any]:
    return {"eat_profile": PROFILE, "iat": issued_at // 1000, "ear_verifier_id": VERIFIER, "submods": submods}


def _vector(claims: Claims, assurance: Assurance, *, pinned: bool) -> dict[str, int]:
    """`executables` is affirmed only where the launch measurement was held against reference values, and
    `instance-identity` where it is known who this is: a machine that the policy names, or the key of an attester."""
    status = "" if claims.tcb is None else claims.tcb.status
    return {
        "instance-identity": WARNING if claims.standing == "test" else AFFIRMING if pinned or _named(claims) else 0,
        "configuration": _platform(claims, WARNING if "Configuration" in status else AFFIRMING),
        "executables": LAUNCHED if assurance == "hardware" else UNRECOGNISED,
        "file-system": 0,
        "hardware": _platform(claims, AFFIRMING if status in GOOD_TCB else WARNING),
        "runtime-opaque": _platform(claims, AFFIRMING),
        "storage-opaque": 0,
        "sourced-data": 0,
    }


def _platform(claims: Claims, value: int) -> int:
    """What is true of hardware that does not let anybody look inside."""
    return CONTRAINDICATED if claims.debug else value if claims.assurance == "hardware" else 0


def _named(claims: Claims) -> bool:
    """Whether the anchor is the attester's own key: software's, or one of a TPM that the caller brought."""
    return claims.assurance == "software" and claims.instance in (None, f"tpm:{claims.anchor}")


def _tier(worst: int) -> str:
    """The tier that a value belongs to."""
    if worst >= CONTRAINDICATED:
        return "contraindicated"
    return "warning" if worst >= WARNING else "affirming" if worst else "none"
