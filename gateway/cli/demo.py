"""`etmcp demo`: the whole way of one call on real input, then an independent check of its receipt."""

import argparse
import asyncio
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from attest import wire
from attest.canonical import canonical
from gateway.aggregate import Client
from gateway.cli.call import anonymous
from gateway.cli.context import Commands, Context
from gateway.cli.install import command, user_file
from gateway.cli.install.clients import CLIENTS
from gateway.cli.receipts import trust_document
from gateway.errors import UserError
from gateway.exchange.attested import AttestedCaller
from gateway.letters import visible
from gateway.runtime import Gateway
from gateway.upstream import Downlink, Json, refuse

TOOL = "describe_data"
ACCEPTED = {"allOf": [{"minAssurance": "software"}, {"notDebug": True}]}
POLICY = {"kind": "appraisal", "version": 1, "accept": ACCEPTED}
MAX_INPUT = 8 << 20
DEFAULT = "uv.lock"
MEANING = {
    "software": '"software": this machine vouches for itself; no hardware proves it',
    "hardware": '"hardware": the processor vouches for what runs on it',
}
COLUMNS = ("column", "type", "values", "missing", "distinct", "min", "max", "mean")
WIDTHS = (20, 8, 7, 7, 8, 12, 12, 11)
TABLES, ROWS = 2, 8


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
        self._quiet = quiet

    def say(self, *lines: str) -> None:
        """Lines that belong to no step."""
        if not self._quiet:
            print(*lines, sep="\n", flush=True)

    def step(self, name: str, text: str, *more: str, seconds: float) -> None:
        """One of the five steps is done; the lines of `more` go below it."""
        self.timings[name] = round(seconds * 1000, 1)
        self.done.append({"step": len(self.done) + 1, "name": name, "text": text})
        line = f"{len(self.done)}. {text:<88} {self.timings[name]:>5.0f} ms"
        self.say(line, *(f"   {line}" for line in more))


@dataclass(frozen=True)
class Called:
    """What came of the call: the tool's own result, our verdict, and the software attester keys behind it."""

    result: Json
    verdict: dict[str, Any]
    software: frozenset[str]


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 only where the independent check says verified."""
    begun = time.perf_counter()
    path = _input(options.file)
    text = _read(path)
    steps = Steps(quiet=options.json)
    steps.say("ETMCP: one call to a tool, and the proof of what it returned.", "")
    size = f"{len(text.encode()):,} bytes"
    read = time.perf_counter() - begun
    steps.step("client", f"A client calls {TOOL} on {_cut(path.name, 40)} ({size}).", seconds=read)
    async with context.running() as gateway:
        called = await _call(gateway, context, text, steps)
        receipt_id = str(called.verdict["receiptId"])
        files = _write(context, gateway, receipt_id, called.software)
    value: Json = called.result["structuredContent"]["value"]
    steps.say("", f"What {TOOL} found in {_cut(path.name, 40)}:", "", *_findings(value), "")
    checked = await _verify(context, files, steps)
    told = {
        "steps": steps.done,
        "verdict": checked["outcome"],
        "kind": called.verdict["kind"],
        "assurance": checked.get("assurance", "none"),
        "result": called.result["structuredContent"],
        "receipt_id": receipt_id,
        **{name: str(file) for name, file in files.items()},
        "timings_ms": steps.timings,
    }
    if options.json:
        print(json.dumps(told))
    else:
        entry = json.dumps({"mcpServers": {"etmcp": command(context)}}, indent=2)
        print("\nTo use it from Claude Desktop, run `etmcp install claude-desktop`, or put this into")
        print(f"{user_file(CLIENTS['claude-desktop'], context)}:\n\n{entry}")
    return 0 if checked["outcome"] == "verified" else 1


async def _call(gateway: Gateway, context: Context, text: str, steps: Steps) -> Called:
    aggregate, clock = gateway.aggregate, time.perf_counter
    started = clock()
    await asyncio.gather(*(member.connections.link() for member in aggregate.members.values()), return_exceptions=True)
    linked = clock()
    await aggregate.merged("tools/list")
    owners = [alias for alias, member in aggregate.members.items() if _offers(member.listing)]
    if len(owners) != 1:
        raise UserError(f"demo: {_why_nobody(gateway)}")
    member = aggregate.members[owners[0]]
    chosen = f"The gateway chooses server {_cut(member.alias, 24)}: of {_count(gateway)} tools it offers this one."
    steps.step("choose", chosen, seconds=clock() - linked)
    link = await member.connections.link()
    if not isinstance(link.caller, AttestedCaller):
        raise UserError(f"demo: {member.alias} offers no evidence; run it without --config")
    appraised = await link.caller.appraised()
    claims, pinned = appraised.claims, gateway.pins.in_force(member.alias, link.published)
    tools = "tools match what this gateway pinned when it first saw them"
    if link.published is not None and pinned is not None:
        tools = f"tools match the manifest of publisher {pinned.publisher[:12]}"
    steps.step(
        "verify",
        f"It has started the server and verified it: {claims.assurance} evidence, key {appraised.key_id[:12]}.",
        MEANING.get(claims.assurance, ""),
        tools,
        seconds=linked - started,
    )
    params: Json = {"name": TOOL, "arguments": {"data": text}, "_meta": {"progressToken": 1}}
    sent = clock()
    reply = await aggregate.named("tools/call", params, _waiting(context, steps))
    took = clock() - sent
    result: Json = reply.get("result", {})
    verdict = wire.meta_of(result, wire.VERIFICATION)
    if verdict is None or "receiptId" not in verdict or result.get("isError"):
        raise UserError(f"demo: {_first_text(result)}; try another file with --file, or see `etmcp doctor`")
    receipt = str(verdict["receiptId"])
    said = gateway.records.statement(receipt)
    ran = min((said.finished_at - said.received_at) / 1000, took)
    steps.step(
        "execute",
        f"The server runs it in a fresh {said.environment['tier']} sandbox; arguments and result travel sealed.",
        f"{said.usage['fuel']:,} units of fuel used (about one per instruction)",
        seconds=ran,
    )
    steps.step(
        "return",
        f"The gateway verifies the signed receipt {receipt[:12]}, keeps it, and returns the result.",
        f"{verdict['kind']}, assurance {verdict['assurance']}",
        seconds=took - ran,
    )
    return Called(result, verdict, frozenset({claims.anchor}))


def _write(context: Context, gateway: Gateway, receipt_id: str, software: frozenset[str]) -> dict[str, Path]:
    """Bundle, trust and policy as files. The trust file is ours to write: a stranger brings his own."""
    folder = context.home.root / "demo"
    files = {name: folder / f"{name}.json" for name in ("bundle", "trust", "policy")}
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        files["bundle"].write_bytes(gateway.records.bundle(receipt_id).encode())
        files["trust"].write_bytes(trust_document(gateway, software))
        files["policy"].write_bytes(canonical(POLICY))
    except OSError as e:
        raise UserError(f"{e.filename}: {e.strerror}; free the place or set ETMCP_HOME") from e
    return files


async def _verify(context: Context, files: dict[str, Path], steps: Steps) -> dict[str, Any]:
    """Run `etmcp-verify` as a process of its own, which shares nothing with us but the three files."""
    program, paths = str(context.scripts / "etmcp-verify"), {name: str(path) for name, path in files.items()}
    steps.say(
        "Anyone can check that offline, in a process of its own that knows only these three files",
        "(the demo wrote the last two for you; a stranger brings their own):",
        "",
        f"$ etmcp-verify {shlex.quote(paths['bundle'])} \\",
        f"    --policy {shlex.quote(paths['policy'])} \\",
        f"    --trust {shlex.quote(paths['trust'])}",
    )
    arguments = (paths["bundle"], "--policy", paths["policy"], "--trust", paths["trust"], "--json")
    try:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.PIPE)
    except OSError as e:
        raise UserError(f"{program}: {e.strerror}; install etmcp again") from e
    output, _ = await process.communicate()
    if process.returncode not in (0, 1, 3):
        raise UserError(f"{program}: ended with exit code {process.returncode}; run the command above by hand")
    verdict: dict[str, Any] = json.loads(output)
    for step in verdict["steps"]:
        steps.say(f"   {step['step']} {step['name']:<10} {step['status']} {step['code']}".rstrip())
    steps.say(f"   {verdict['outcome']}, exit code {process.returncode}")
    return verdict


def _input(named: Path | None) -> Path:
    """The file named; else the lock file here, or that of the source tree that we run from."""
    if named is not None:
        return named
    for path in (Path(DEFAULT), Path(__file__).parents[2] / DEFAULT):
        if path.is_file():
            return path
    raise UserError(f"demo: there is no {DEFAULT} here to describe; name a text file of yours with --file")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INPUT + 1)
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


def _why_nobody(gateway: Gateway) -> str:
    """Why not exactly one server offers the tool, and what to do."""
    members = gateway.aggregate.members
    for alias, member in members.items():
        if member.listing and f"tool {TOOL}" in member.listing.review.drifted:
            return f"{TOOL} of {alias} is not what was approved; review it with `etmcp approve {alias}`"
    states = "; ".join(filter(None, (str(member.connections.error or "") for member in members.values())))
    return f"no one server offers {TOOL}; run it without --config. {states}".strip()


def _count(gateway: Gateway) -> int:
    return sum(len(member.listing.offer.tools) for member in gateway.aggregate.members.values() if member.listing)


def _waiting(context: Context, steps: Steps) -> Client:
    """A client that says once why nothing seems to happen."""
    client, said = anonymous(context), list[Json]()

    async def told(message: Json) -> None:
        if not said:
            steps.say("   preparing the sandbox; the first time on a machine that takes some seconds ...")
        said.append(message)

    return Client(client.face, client.nonce, Downlink(told, refuse))


def _first_text(result: Json) -> str:
    return next((str(item["text"]) for item in result.get("content", []) if "text" in item), "the call failed")


def _findings(value: Json) -> list[str]:
    """A few lines of what was found: the largest tables by their columns, anything else by its outline."""
    lines = [f"   {value['format']}, {value['lines']:,} lines" + (", truncated" if value["truncated"] else "")]
    tables = [value] if "columns" in value else cast(list[Json], value.get("tables", []))
    chosen = sorted(tables, key=lambda table: -int(table["rows"]) * len(table["columns"]))[:TABLES]
    for table in sorted(chosen, key=tables.index):
        place = f"{_cut(str(table['path']), 60)}: " if "path" in table else ""
        lines += ["", f"   {place}{table['rows']:,} rows, {len(table['columns'])} columns", *_table(table["columns"])]
    paths: list[Json] = value.get("paths", [])
    if paths and not chosen:
        lines += ["", *_table([{**found, "name": found["path"]} for found in paths])]
    if "words" in value:
        frequent = ", ".join(
            f"{_cut(str(word['value']), 20)} ({word['count']:,})" for word in value["frequent_words"][:4]
        )
        lines.append(
            f"   {value['words']:,} words, {value['distinct_words']:,} distinct; most frequent: {frequent or 'none'}"
        )
    if len(tables) > len(chosen) or (paths and chosen):
        lines += ["", f"   and {len(tables) - len(chosen)} more tables, {len(paths)} more values: see --json"]
    return lines


def _table(columns: list[Json]) -> list[str]:
    rows = [_row(column) for column in columns[:ROWS]]
    lines = ["   "] * (len(rows) + 1)
    for name, *cells in zip(COLUMNS, *rows, strict=True):
        if any(cells):
            width, left = max(map(len, (name, *cells))), name in ("column", "type")
            aligned = [cell.ljust(width) if left else cell.rjust(width) for cell in (name, *cells)]
            lines = [f"{line}{cell}  " for line, cell in zip(lines, aligned, strict=True)]
    lines = [line.rstrip() for line in lines]
    return lines + ([f"   and {len(columns) - ROWS} more"] if len(columns) > ROWS else [])


def _row(column: Json) -> tuple[str, ...]:
    nested = column["type"] in ("object", "array")
    figures = [column["count"], column["missing"], "" if nested else column["distinct"]]
    days = 10 if column["type"] in ("date", "datetime") else None  # of a moment its date is enough
    figures += [str(column[name])[:days] if days and name in column else column.get(name, "") for name in COLUMNS[5:]]
    return tuple(map(_cell, [column["name"], column["type"], *figures], WIDTHS))


def _cell(value: Any, width: int) -> str:
    """A figure as a person reads it: thousands set off, no more digits than matter."""
    if not isinstance(value, int | float):
        return _cut(str(value), width)
    if isinstance(value, float) and 0.001 <= abs(value) < 1000:
        return f"{value:.4g}"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"
    return text if len(text) <= width and (value == 0 or abs(value) >= 0.001) else f"{value:.3g}"


def _cut(text: str, width: int) -> str:
    shown = visible(text)
    return shown if len(shown) <= width else shown[: width - 1] + "…"
