"""`etmcp-tee doctor`: which tiers this machine has, what each is made of, and what is missing and why; and `score`."""

import argparse
import json
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.tee.cli.context import Commands, Context, own_cache
from servers.tee.cli.tiers import native
from servers.tee.hosted.runtime import node, python
from servers.tee.proving.folder import lacking
from servers.tee.proving.tool import NAME as SCORE
from servers.tee.sandbox import Limits, SandboxError
from servers.tee.sandbox.wasm import WasmSandbox
from servers.tee.selftest.startup import Proven


@dataclass(frozen=True)
class Tier:
    """One tier on this machine, or `score`, which runs nobody's program and has none."""

    name: str
    works: bool
    detail: str
    """What it is made of, or why it does not work."""
    missing: Mapping[str, str]
    """Parts of its isolation that are not here, each with the reason; receipts say the same."""

    def line(self) -> str:
        """For people."""
        what = self.name if self.name == SCORE else f"{self.name} tier"
        lacking = "".join(f"; without {name} ({why})" for name, why in self.missing.items())
        return f"{what}: {'works' if self.works else 'does not work'}: {self.detail}{lacking}"


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("doctor", help="say which tiers work on this machine, and why others do not")
    parser.add_argument("--json", action="store_true", help="one object for all of them")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Try each tier; 0 where the default tier works. The first time that compiles the component."""
    found = await tiers(own_cache(options), context)
    if options.json:
        told = {
            tier.name: {"works": tier.works, "detail": tier.detail, "missing": dict(tier.missing)} for tier in found
        }
        print(json.dumps(told))
    else:
        for tier in found:
            print(tier.line())
    return 0 if found[0].works else 1


async def tiers(cache: Path, context: Context) -> list[Tier]:
    """The three, each tried with the ten cases of its self-test, and the tool whose results are proven."""
    async with AsyncExitStack() as stack:
        process = await native(stack, 1, Limits())
        made: dict[str, Any] = {} if isinstance(process, str) else dict(process.environment)
        inner = _native_tier(process if isinstance(process, str) else "", made)
        return [await _wasm(cache), inner, _service(inner, context.environ), _score(cache)]


async def _wasm(cache: Path) -> Tier:
    try:
        async with Proven(WasmSandbox(cache), "wasm") as sandbox:
            await sandbox.prepare(lambda _: None)
            made = sandbox.environment
    except SandboxError as e:
        return Tier("wasm", False, str(e), {})
    locks = {name: str(made.get(name, "none: not here")) for name in ("seccomp", "landlock")}
    missing = {name: lock.removeprefix("none: ") for name, lock in locks.items() if lock.startswith("none")}
    return Tier("wasm", True, f"{made['engine']}, {_passed(made)}", missing)


def _native_tier(refusal: str, made: Mapping[str, Any]) -> Tier:
    if not made:
        return Tier("process", False, refusal.removeprefix("it needs the process tier").lstrip(":, "), {})
    parts = ", ".join(map(str, made.get("mechanisms", ())))
    return Tier("process", True, f"{parts}; {_passed(made)}", made.get("missing", {}))


def _service(inner: Tier, environ: Mapping[str, str]) -> Tier:
    if not inner.works or "namespaces" in inner.missing:
        why = inner.missing.get("namespaces") or inner.detail
        return Tier("service", False, f"hosted servers need namespaces: {why}", {})
    runs, missing = [f"Python {python().version}"], dict(inner.missing)
    try:
        runs.append(f"Node.js {node({'PATH': os.defpath, **environ}).version}")
    except SandboxError as e:
        missing["npm servers"] = str(e)
    return Tier("service", True, f"hosts servers for {' and '.join(runs)}", missing)


def _score(cache: Path) -> Tier:
    why = lacking(cache)
    return Tier(SCORE, why is None, why or "its results are proven; setup: single-party (development)", {})


def _passed(made: Mapping[str, Any]) -> str:
    return f"{len(made['self_test']['cases'])} hostile programs got nowhere"
