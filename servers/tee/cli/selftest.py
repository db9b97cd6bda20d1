"""`etmcp-tee selftest`: hostile programs through a server of its own, one line for each and tier."""

import argparse
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.arguments import positive
from servers.tee.cli.context import Commands, Context, UserError
from servers.tee.library.catalogue import Catalogue
from servers.tee.library.folder import load
from servers.tee.selftest import case
from servers.tee.selftest.canaries import Canaries, canaries
from servers.tee.selftest.client import ServerLost, connected
from servers.tee.selftest.corpus import LIMITS, TOOL, Corpus, Verdict, descendants

TIERS = ("wasm", "process")
_BOUNDS = {
    "memoryBytes": "memory_bytes",
    "wallSeconds": "wall_seconds",
    "cpuSeconds": "cpu_seconds",
    "processes": "processes",
    "fileBytes": "file_bytes",
    "scratchBytes": "scratch_bytes",
    "scratchInodes": "scratch_inodes",
    "stdoutBytes": "stdout_bytes",
    "stderrBytes": "stderr_bytes",
}
OWN = Path(__file__).parents[1] / "selftest" / "cases"


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("selftest", help="run hostile programs, and say what came of them")
    parser.add_argument("--corpus", type=Path, default=OWN, metavar="DIR", help="a folder of cases; else our own")
    parser.add_argument("--tier", choices=TIERS, help="this tier only; else each that a case names")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="cases at a time")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Run all; 0 if every case passed, 1 otherwise. Raises `UserError`."""
    try:
        cases = case.folder(options.corpus)
    except case.CaseError as e:
        raise UserError(str(e)) from e
    passed: list[bool] = []
    for tier in [options.tier] if options.tier else TIERS:
        applying = [each for each in cases if each.applies(tier)]
        if applying:
            passed += await _tier(tier, applying, options, context)
    if not passed:
        raise UserError(f"{options.corpus}: no case is for the tier {options.tier or 'wasm or process'}")
    if not options.json:
        print(f"{sum(passed)} of {len(passed)} passed")
    return 0 if all(passed) else 1


async def _tier(tier: str, cases: list[case.Case], options: argparse.Namespace, context: Context) -> list[bool]:
    async with AsyncExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etmcp-selftest-")))
        around = await stack.enter_async_context(canaries())
        key = Ed25519PrivateKey.generate()
        (work / "key").write_text(key.private_bytes_raw().hex())
        (work / "key").chmod(0o600)
        limits = {name: getattr(LIMITS, field) for name, field in _BOUNDS.items()}
        policy = {"kind": "execution", "version": 1, "tier": tier, "namespaces": "optional", "limits": limits}
        (work / "policy.json").write_text(json.dumps(policy))
        _function(work / TOOL, tier, limits)
        Catalogue(work / "library").add(load(work / TOOL))
        command = [sys.executable, "-m", "servers.tee", "--cache", str(options.cache), "stdio"]
        command += ["--attester", "software", "--key-file", str(work / "key"), "--library", str(work / "library")]
        command += ["--workers", str(max(2, options.jobs)), "--unsigned-policy", str(work / "policy.json")]
        environment = _environment(around, context)
        anchor = key.public_key().public_bytes_raw().hex()
        passed: list[bool] = []
        try:
            client = await stack.enter_async_context(connected(command, environment, anchor, context.clock))
            corpus = Corpus(tier, client, around, lambda: descendants(client.process.pid))
            async for verdict in corpus.run(cases, options.jobs):
                _show(verdict, options.json)
                passed.append(verdict.passed)
        except ServerLost as e:
            raise UserError(f"the {tier} tier: {e}") from e
        return passed


def _environment(around: Canaries, context: Context) -> dict[str, str]:
    """The server's: with a secret in it that no program may see."""
    return {**context.environ, "ETMCP_CANARY_SECRET": around.secret}


def _function(folder: Path, tier: str, limits: dict[str, float]) -> None:
    """A function that runs whatever it is given, in this tier."""
    folder.mkdir(parents=True)
    asked = "\n".join(f"{name} = {value}" for name, value in limits.items())
    (folder / "function.toml").write_text(f"""name = "{TOOL}"
version = "1.0.0"
title = "Run a case"
description = "Runs a hostile program."
tier = "{tier}"
[annotations]
read_only = true
destructive = false
idempotent = false
open_world = false
[program]
language = "python"
argument = "code"
[input]
type = "object"
required = ["code"]
[input.properties]
code = {{ type = "string", description = "Python source" }}
[policy.limits]
{asked}
""")


def _show(verdict: Verdict, as_json: bool) -> None:
    print(json.dumps(verdict.to_json()) if as_json else verdict.line(), flush=True)
