"""`etmcp-verify`: check a bundle offline. Reads three files and the clock; opens no connection.

Exit codes: 0 verified; 1 refused; 2 the command or a file is wrong; 3 self-consistent, untrusted.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from attest import schemes
from attest.arguments import Arguments
from attest.claims import Endorsements
from attest.errors import PolicyError
from attest.trust import load_policy, load_trust
from attest.verdict import Verdict, verify_bundle

T = TypeVar("T")
EXIT = {"verified": 0, "refused": 1, "untrusted": 3}
MAX_FILE = 256 << 20
HEADLINE = {
    "verified": "verified",
    "untrusted": "self-consistent, untrusted (bring --trust and --policy to decide)",
    "refused": "refused",
}


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    parser = Arguments(prog="etmcp-verify", description="Check a receipt bundle offline.")
    parser.add_argument("bundle", type=Path, metavar="FILE", help="bundle written by `etmcp receipts export`")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="what you accept (JSON)")
    parser.add_argument("--trust", type=Path, metavar="FILE", help="the keys and roots you trust (JSON)")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    options = parser.parse_args(argv)
    trust = _read(options.trust, load_trust) if options.trust else Endorsements({})
    policy = _read(options.policy, load_policy) if options.policy else None
    bundle = _read(options.bundle, bytes)
    verdict = verify_bundle(
        bundle, schemes=schemes.ALL, endorsements=trust, policy=policy, now=time.time_ns() // 1_000_000
    )
    print(json.dumps(verdict.to_json()) if options.json else "\n".join(map(_shown, _describe(verdict))))
    sys.exit(EXIT[verdict.outcome])


def _read(path: Path, load: Callable[[bytes], T]) -> T:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            _fail(f"{path}: larger than {MAX_FILE >> 20} MiB; name a bundle, policy or trust file")
        return load(data)
    except OSError as e:
        _fail(f"{path}: {e.strerror}; name a file that can be read")
    except PolicyError as e:
        _fail(f"{path}: {e.detail}; see WIRE.md for the format")


def _fail(message: str) -> NoReturn:
    print(f"etmcp-verify: {_shown(message)}", file=sys.stderr)
    sys.exit(2)


def _shown(line: str) -> str:
    """Nothing that a file says may move the cursor, hide or reorder what we say, or fail to print."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in line)


def _describe(verdict: Verdict) -> list[str]:
    lines = [f"{HEADLINE[verdict.outcome]}"]
    said = verdict.statement
    if said is not None and verdict.outcome != "refused":
        name = f"{said.method} {said.target}" if said.target else said.method
        lines.append(f"  {name} by {said.server['name']} {said.server['version']}")
        lines.append(f"  kind {said.kind}, assurance {verdict.assurance}, time unproven, receipt {verdict.receipt_id}")
    for number, step in enumerate(verdict.steps, 1):
        reason = f" [{step.code}] {step.detail}" if step.code else ""
        lines.append(f"  {number} {step.name:<10}{step.status}{reason}")
    return lines


if __name__ == "__main__":
    main()
