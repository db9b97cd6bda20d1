"""`etmcp demo`: the whole way of one call on real input, then an independent check of its receipt."""

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attest import wire
from attest.canonical import canonical
from gateway.aggregate import Client
from gateway.cli.call import anonymous
from gateway.cli.context import Commands, Context
from gateway.cli.install import claude_desktop, snippet
from gateway.cli.receipts import trust_document
from gateway.errors import UserError
from gateway.exchange.attested import AttestedCaller
from gateway.runtime import Gateway
from gateway.upstream import Json

TOOL = "describe_data"
POLICY = {"allOf": [{"minAssurance": "software"}, {"notDebug": True}]}
MAX_INPUT = 8 << 20


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("demo", help="one proven call, step by step, on a file of yours")
    parser.add_argument("--file", type=Path, metavar="FILE", help="CSV, TSV, JSON, TOML or text; default: uv.lock")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end instead of the steps")
    parser.set_defaults(run=run)


class Steps:
    """Prints each step as it happens and keeps it for `--json`."""

    def __init__(self, *, quiet: bool) -> None:
        self.done: list[dict[str, Any]] = []
        self.timings: dict[str, float] = {}
        self._quiet, self._last = quiet, time.perf_counter()

    def say(self, line: str) -> None:
        """A line that belongs to no step."""
        if not self._quiet:
            print(line, flush=True)

    def step(self, name: str, text: str) -> None:
        """One of the five steps is done."""
        now = time.perf_counter()
        self.timings[name] = round((now - self._last) * 1000, 1)
        self._last = now
        self.done.append({"step": len(self.done) + 1, "name": name, "text": text})
        self.say(f"{len(self.done)}  {text}  ({self.timings[name]:.0f} ms)")


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 only where the independent check says verified."""
    path: Path = options.file or Path("uv.lock")
    text = _read(path)
    steps = Steps(quiet=options.json)
    async with context.running() as gateway:
        result, verdict, software = await _call(gateway, context, path, text, steps)
        receipt_id = str(verdict["receiptId"])
        bundle, trust, policy = _write(context, gateway, receipt_id, software)
    checked = await _verify(context, bundle, trust, policy, steps)
    told = {
        "steps": steps.done,
        "verdict": checked["outcome"],
        "kind": verdict["kind"],
        "assurance": checked.get("assurance", "none"),
        "result": result.get("structuredContent"),
        "receipt_id": receipt_id,
        "bundle": str(bundle),
        "trust": str(trust),
        "policy": str(policy),
        "timings_ms": steps.timings,
    }
    if options.json:
        print(json.dumps(told))
    else:
        entry = json.dumps({"mcpServers": {"etmcp": snippet(context)}}, indent=2)
        print("\nTo use it from Claude Desktop, run `etmcp install claude-desktop`, or put this into\n")
        print(f"{claude_desktop(context)}\n{entry}")
    return 0 if checked["outcome"] == "verified" else 1


async def _call(
    gateway: Gateway, context: Context, path: Path, text: str, steps: Steps
) -> tuple[Json, dict[str, Any], frozenset[str]]:
    aggregate = gateway.aggregate
    params: Json = {"name": TOOL, "arguments": {"data": text}, "_meta": {"progressToken": 1}}
    steps.step("client", f"a call arrives from a client: describe {path.name}, {len(text.encode())} bytes")
    await aggregate.merged("tools/list")
    owners = [alias for alias, member in aggregate.members.items() if _offers(member.listing)]
    if len(owners) != 1:
        states = "; ".join(filter(None, (member.failure for member in aggregate.members.values())))
        raise UserError(f"demo: no one server offers {TOOL}; run it without --config. {states}".strip())
    member = aggregate.members[owners[0]]
    steps.step("choose", f"the tool {TOOL} of server {member.alias} is chosen, out of {_count(gateway)} tools")
    link = await member.link()
    caller = link.caller
    if not isinstance(caller, AttestedCaller):
        raise UserError(f"demo: {member.alias} offers no evidence; run it without --config")
    appraised = await caller.appraised()
    claims, pinned = appraised.claims, gateway.pins.in_force(member.alias, link.published)
    signer = pinned.publisher[:16] if pinned else "nobody"
    steps.step(
        "verify",
        f"the manifest signed by {signer} matches; {claims.scheme} evidence appraised, key {appraised.key_id[:16]}",
    )
    reply = await aggregate.named("tools/call", params, _progress(context, steps.say))
    result: Json = reply.get("result", {})
    verdict = wire.meta_of(result, wire.VERIFICATION)
    if verdict is None or "receiptId" not in verdict or result.get("isError"):
        raise UserError(f"demo: {_first_text(result)}")
    statement = gateway.records.statement(str(verdict["receiptId"]))
    environment, usage = statement.environment, statement.usage
    steps.step(
        "execute",
        f"executed in a fresh {environment['tier']} sandbox, {usage['fuel']} fuel, arguments and result sealed",
    )
    steps.step(
        "return",
        f"receipt {verdict['receiptId'][:16]} verified ({verdict['kind']}, {verdict['assurance']}), stored, returned",
    )
    steps.say("\n" + _headline(result) + "\n")
    return result, verdict, frozenset({claims.anchor})


def _write(context: Context, gateway: Gateway, receipt_id: str, software: frozenset[str]) -> tuple[Path, Path, Path]:
    """Bundle, trust and policy as files. The trust file is ours to write: a stranger brings his own."""
    folder = context.home.root / "demo"
    bundle, trust, policy = (folder / name for name in ("bundle.json", "trust.json", "policy.json"))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        bundle.write_bytes(gateway.records.bundle(receipt_id).encode())
        trust.write_bytes(trust_document(gateway, software))
        policy.write_bytes(canonical(POLICY))
    except OSError as e:
        raise UserError(f"{e.filename}: {e.strerror}; free the place or set ETMCP_HOME") from e
    return bundle, trust, policy


async def _verify(context: Context, bundle: Path, trust: Path, policy: Path, steps: Steps) -> dict[str, Any]:
    """Run `etmcp-verify` as a process of its own, which shares nothing with us but the three files."""
    arguments = (str(bundle), "--policy", str(policy), "--trust", str(trust))
    steps.say(f"$ etmcp-verify {' '.join(arguments)}")
    program = str(context.scripts / "etmcp-verify")
    process = await asyncio.create_subprocess_exec(program, *arguments, "--json", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    verdict: dict[str, Any] = json.loads(output)
    for step in verdict["steps"]:
        steps.say(f"   {step['step']} {step['name']:<10} {step['status']} {step['code']}".rstrip())
    steps.say(f"   {verdict['outcome']}, exit code {process.returncode}")
    return verdict


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}; name a file with --file") from e
    if len(data) > MAX_INPUT:
        raise UserError(f"{path}: larger than {MAX_INPUT >> 20} MiB; name a smaller file with --file")
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 text; name a text file with --file") from e


def _offers(listing: Any) -> bool:
    return listing is not None and TOOL in listing.approved("tool", listing.offer.tools)


def _count(gateway: Gateway) -> int:
    return sum(len(member.listing.offer.tools) for member in gateway.aggregate.members.values() if member.listing)


def _progress(context: Context, say: Callable[[str], None]) -> Client:
    client = anonymous(context)

    async def told(message: Json) -> None:
        params = message.get("params", {})
        say(f"   preparing the sandbox, once on this machine: {params.get('progress')} s")

    return Client(client.face, client.nonce, told)


def _first_text(result: Json) -> str:
    return next((str(item["text"]) for item in result.get("content", []) if "text" in item), "the call failed")


def _headline(result: Json) -> str:
    """A few lines of what was found: tables by their columns, anything else by its outline."""
    value: Json = result["structuredContent"]["value"]
    lines = [f"   {value['format']}, {value['lines']} lines, {value['bytes']} bytes"]
    for table in [value, *value.get("tables", [])]:
        for column in table.get("columns", [])[:6]:
            seen = {key: column[key] for key in ("count", "distinct", "min", "max", "mean") if key in column}
            figures = ", ".join(f"{key} {figure}" for key, figure in seen.items())
            lines.append(f"   {column['name']:<24} {column['type']:<9} {figures}"[:110])
    return "\n".join(lines)
