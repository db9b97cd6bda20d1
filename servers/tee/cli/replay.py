"""`etmcp-tee replay`: run a bundle's call again and compare."""

import argparse
import json
from pathlib import Path
from typing import get_args

from attest.arguments import positive
from attest.errors import AttestError
from servers.tee.cli.context import Commands, Context, UserError, own_cache
from servers.tee.library.library import Library
from servers.tee.replay.replay import CODEGENS, Codegen, Finding, replay
from servers.tee.sandbox.wasm import WasmSandbox

EXIT = {"identical": 0, "different": 1, "refused": 1, "result identical": 3, "not re-executable": 3}
MAX_FILE = 256 << 20
SIGNER = "whose key signed it is for etmcp-verify to say, with --trust and --policy"


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("replay", help="run a receipt's call again and compare result and fuel")
    parser.add_argument("bundle", type=Path, metavar="FILE", help="bundle written by `etmcp receipts export`")
    parser.add_argument("--codegen", choices=get_args(Codegen), default="speed", help="how it is run (default: speed)")
    parser.add_argument("--library", type=Path, metavar="DIR", help="functions that were added there with `library`")
    parser.add_argument("--seconds", type=positive, default=300, metavar="N", help="wall time it gets (default: 300)")
    parser.add_argument("--json", action="store_true", help="print the finding as JSON")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """0: re-executed, identical; 1: different, or the receipt does not hold; 3: not, or not wholly, re-executable."""
    path: Path = options.bundle
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise UserError(f"{path}: larger than {MAX_FILE >> 20} MiB; name a bundle")
    async with WasmSandbox(own_cache(options), settings=CODEGENS[options.codegen]) as sandbox:
        library = Library(options.library, {"wasm": None})
        try:
            finding = await replay(data, sandbox, library, now=context.clock(), seconds=options.seconds)
        except AttestError as e:
            raise UserError(f"{path}: {e.detail}; name a bundle written by `etmcp receipts export`") from e
    print(json.dumps(document(finding)) if options.json else "\n".join(map(_shown, _lines(finding))))
    return EXIT[finding.outcome]


def document(finding: Finding) -> dict[str, object]:
    """For `--json`."""
    return {
        "outcome": finding.outcome,
        "detail": finding.detail,
        "receipt": finding.receipt.to_json(),
        "environment": dict(finding.environment),
        "fuel": finding.fuel,
    }


def _lines(finding: Finding) -> list[str]:
    lines = [finding.headline]
    said = finding.receipt.statement
    if said is not None and finding.outcome != "refused":
        lines.append(f"  {said.method} {said.target} by {said.server['name']} {said.server['version']}")
        lines.append(f"  receipt {finding.receipt.receipt_id}: self-consistent; {SIGNER}")
    if finding.fuel is not None:
        settings = finding.environment["settings"]
        how = settings.get("target", f"opt level {settings['cranelift_opt_level']}")
        lines.append(f"  run here by {finding.environment['engine']} ({how}) with fuel {finding.fuel}")
        lines.append(f"  component {finding.environment['component']}")
    return lines


def _shown(line: str) -> str:
    """Nothing that a bundle says may move the cursor, hide or reorder what we say, or fail to print."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in line)
