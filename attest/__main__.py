"""`etmcp-verify`: check a bundle offline. Reads three files and the clock; opens no connection.

Exit codes: 0 verified; 1 refused; 2 the command or a file is wrong; 3 self-consistent, untrusted.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NoReturn

from attest import schemes
from attest.errors import PolicyError
from attest.evidence import Endorsements
from attest.trust import load_policy, load_trust
from attest.verdict import Verdict, verify_bundle

EXIT = {"verified": 0, "refused": 1, "untrusted": 3}
HEADLINE = {
    "verified": "verified",
    "untrusted": "self-consistent, untrusted (bring --trust and --policy to decide)",
    "refused": "refused",
}


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    parser = argparse.ArgumentParser(prog="etmcp-verify", description="Check a receipt bundle offline.")
    parser.add_argument("bundle", type=Path, metavar="FILE", help="bundle written by `etmcp receipts export`")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="what you accept (JSON)")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="the keys and roots you trust (JSON)")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    options = parser.parse_args(argv)
    try:
        trust = load_trust(options.trust.read_bytes()) if options.trust else Endorsements({})
        policy = load_policy(options.policy.read_bytes()) if options.policy else None
        bundle = options.bundle.read_bytes()
    except OSError as e:
        _fail(f"{e.filename}: {e.strerror}; name a file that can be read")
    except PolicyError as e:
        _fail(f"{options.trust if 'trust' in e.detail else options.policy}: {e.detail}; see WIRE.md for the format")
    verdict = verify_bundle(
        bundle, schemes=schemes.ALL, endorsements=trust, policy=policy, now=time.time_ns() // 1_000_000
    )
    print(json.dumps(verdict.to_json()) if options.json else _describe(verdict))
    sys.exit(EXIT[verdict.outcome])


def _fail(message: str) -> NoReturn:
    print(f"etmcp-verify: {message}", file=sys.stderr)
    sys.exit(2)


def _describe(verdict: Verdict) -> str:
    lines = [f"{HEADLINE[verdict.outcome]}"]
    said = verdict.statement
    if said is not None and verdict.outcome != "refused":
        name = f"{said.method} {said.target}" if said.target else said.method
        lines.append(f"  {name} by {said.server['name']} {said.server['version']}")
        lines.append(f"  kind {said.kind}, assurance {verdict.assurance}, time unproven, receipt {verdict.receipt_id}")
    for number, step in enumerate(verdict.steps, 1):
        reason = f" [{step.code}] {step.detail}" if step.code else ""
        lines.append(f"  {number} {step.name:<10}{step.status}{reason}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
