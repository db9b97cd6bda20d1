"""Attestation Results in the shape of EAR (draft-ietf-rats-ear-04) with the vector of AR4SI (draft-ietf-rats-ar4si).

Vector values: 0 no claim, 2 affirming, 32 warning, 33 unrecognised, 96 contraindicated. `ear.status` is the tier of the
worst: none 0, affirming 2, warning 32, contraindicated 96.
"""

from typing import Any

from attest.claims import Assurance, Claims
from attest.errors import AttestError

PROFILE = "tag:etmcp,2026:ear"
VERIFIER = {"developer": "https://etmcp.com", "build": "attest/v1"}
AFFIRMING, WARNING, UNRECOGNISED, CONTRAINDICATED = 2, 32, 33, 96
GOOD_TCB = frozenset({"", "UpToDate"})


def ear(claims: Claims, assurance: Assurance, *, pinned: bool, issued_at: int, expires_at: int) -> dict[str, Any]:
    """The result for accepted claims. Times in milliseconds; `iat` and `exp` in seconds, as JWT has them."""
    vector = _vector(claims, assurance, pinned=pinned)
    result: dict[str, Any] = {
        "ear.status": _tier(max(vector.values())),
        "ear.trustworthiness-vector": vector,
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
    return _whole({claims.scheme: result}, issued_at) | {"exp": expires_at // 1000}


def brief(claims: Claims, *, pinned: bool) -> dict[str, Any]:
    """What nobody may overlook beside the assurance of hardware; empty for software."""
    if claims.assurance != "hardware":
        return {}
    told: dict[str, Any] = {"instance": _instance(pinned=pinned)}
    if claims.collateral_date is not None:
        told["collateralDate"] = claims.collateral_date
    return told | {"assumes": ["no physical access"]}


def _instance(*, pinned: bool) -> str:
    return "pinned" if pinned else "unpinned"


def refused(error: AttestError, issued_at: int) -> dict[str, Any]:
    """The result where evidence was refused: contraindicated, and why."""
    refusal = {"ear.status": CONTRAINDICATED, "code": error.code, "detail": error.detail, "assurance": "none"}
    return _whole({"evidence": refusal}, issued_at)


def _whole(submods: dict[str, Any], issued_at: int) -> dict[str, Any]:
    return {"eat_profile": PROFILE, "iat": issued_at // 1000, "ear.verifier-id": VERIFIER, "submods": submods}


def _vector(claims: Claims, assurance: Assurance, *, pinned: bool) -> dict[str, int]:
    """`executables` is affirmed only where the launch measurement was held against reference values, and
    `instance-identity` where it is known who this is: a machine that the policy names, or the key of an attester."""
    hardware = claims.assurance == "hardware"
    if claims.debug:
        platform = CONTRAINDICATED
    elif not hardware:
        platform = 0
    else:
        platform = AFFIRMING if claims.tcb is None or claims.tcb.status in GOOD_TCB else WARNING
    known = AFFIRMING if pinned or not hardware else 0
    return {
        "instance-identity": WARNING if claims.standing == "test" else known,
        "configuration": CONTRAINDICATED if claims.debug else AFFIRMING if hardware else 0,
        "executables": AFFIRMING if assurance == "hardware" else UNRECOGNISED,
        "file-system": 0,
        "hardware": platform,
        "runtime-opaque": AFFIRMING if hardware and not claims.debug else WARNING,
        "storage-opaque": 0,
        "sourced-data": 0,
    }


def _tier(worst: int) -> int:
    """The tier that a value belongs to."""
    return CONTRAINDICATED if worst >= CONTRAINDICATED else WARNING if worst >= WARNING else AFFIRMING if worst else 0
