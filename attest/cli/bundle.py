"""`etmcp-verify FILE`: checks a bundle."""

import argparse
import json
from contextlib import suppress
from datetime import UTC, datetime

from attest import schemes
from attest.bundle import Bundle
from attest.claims import Endorsements
from attest.cli import Given, NoFile, Said, UserError, accepted, declare_trust, trusted
from attest.errors import AttestError
from attest.policy import AllOf
from attest.proof import ProofResult
from attest.proven import Accepted
from attest.schemes.software import SCHEME as SOFTWARE
from attest.verdict import Verdict, verify_bundle
from attest.verifier import Verifier

EXIT = {"verified": 0, "refused": 1, "untrusted": 3}
HEADLINE = {
    "verified": "verified",
    "untrusted": "self-consistent, untrusted (bring --trust and --policy to decide)",
    "refused": "refused",
}


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("bundle", metavar="FILE", help="bundle written by `etmcp receipts export`")
    parser.add_argument("--policy", metavar="POLICY", help="what you accept: a file (JSON), production or development")
    declare_trust(parser)
    told = "what vendors say of their platforms, before what the bundle brings; what they revoked since counts too"
    parser.add_argument("--endorsements", metavar="DIR", help=told)
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(options: argparse.Namespace, given: Given) -> Said:
    """Exit codes: 0 verified; 1 refused; 3 self-consistent, untrusted. Raises `UserError`."""
    trust, denylist = trusted(options, given)
    policy, programs = accepted(options.policy, given) if options.policy else (None, None)
    proofs = Accepted(denylist, programs)
    data = given.read(options.bundle)
    if options.endorsements:
        trust = trust.beside(_documents(options.endorsements, data, given))
    verdict = verify_bundle(data, schemes=schemes.ALL, endorsements=trust, policy=policy, now=given.now, proofs=proofs)
    lines = (json.dumps(verdict.to_json()),) if options.json else _described(verdict)
    return Said(lines, EXIT[verdict.outcome])


def _documents(folder: str, data: bytes, given: Given) -> dict[str, bytes]:
    """Those documents for the bundle's evidence that are in the folder; a bundle that is none is refused later.

    Raises `UserError` where it has none of them: whoever named a folder counts on what was revoked since.
    """
    try:
        speaker = Bundle.decode(data).speaker
        reader = Verifier(schemes=schemes.ALL, endorsements=Endorsements({}), policy=AllOf([]))
        names = () if isinstance(speaker, bytes) else reader.wants(speaker[0])
    except AttestError:
        return {}
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(NoFile):
            found[name] = given.read(f"{folder}/{name}")
    if names and not found:
        missing = ", ".join(names)
        raise UserError(
            f"{folder}: has no {missing}; `etmcp-registry endorsements --folder {folder} NAME` fetches them"
        )
    return found


def _proven(proof: ProofResult | None) -> tuple[str, ...]:
    """What the proof shows, and what it does not; nothing where there is none: its step says so."""
    if proof is None:
        return ()
    under = f"proven by {proof.scheme} under program {proof.program}, setup: {proof.setup}, denylist {proof.denylist}"
    bound = "" if proof.bound else ": program output authentic, not bound to this call"
    return (f"  {under}{bound}", f"  the proof does not say {', '.join(proof.to_json()['saysNothingOf'])}")


def _described(verdict: Verdict) -> tuple[str, ...]:
    lines = [f"{HEADLINE[verdict.outcome]}"]
    said = verdict.statement
    if said is not None and verdict.outcome != "refused":
        name = f"{said.method} {said.target}" if said.target else said.method
        lines.append(f"  {name} by {said.server['name']} {said.server['version']}")
        lines.append(f"  kind {said.kind}, assurance {verdict.assurance}, time unproven, receipt {verdict.receipt_id}")
        lines += [f"  {line}" for line in _appraised(verdict)]
        lines += _proven(verdict.proof)
    for number, step in enumerate(verdict.steps, 1):
        reason = f" [{step.code}] {step.detail}" if step.code else ""
        lines.append(f"  {number:>2} {step.name:<10}{step.status}{reason}")
    return tuple(lines)


def _appraised(verdict: Verdict) -> list[str]:
    """What a reader must know of the evidence beyond its assurance."""
    lines: list[str] = []
    for scheme, result in (verdict.appraisal or {"submods": {}})["submods"].items():
        if scheme == SOFTWARE and "anchor" not in result:
            continue  # all there is to say is its assurance
        told = [f"evidence {scheme}", f"instance {result['instance']}"]
        if "verified" in result["details"]:
            told.append(result["details"]["verified"])
        if "tcbStatus" in result:
            told.append(f"TCB status {result['tcbStatus']}")
        if "collateralDate" in result:
            told.append(f"collateral of {_day(result['collateralDate'])}")
        elif "assumes" in result:
            told.append("no dated collateral")
        if "anchor" in result:
            told.append(str(result["anchor"]))
        told += [f"assumes {assumed}" for assumed in result.get("assumes", ())]
        lines.append(", ".join(told))
    return lines


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
