"""One gateway before our fixture, and what it kept of the suite's run through it."""

import json
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

from attest.claims import Endorsements
from attest.policy import MinAssurance
from attest.schemes.software import SoftwareScheme
from attest.trust import FORMAT
from attest.verdict import OBSERVER, verify_bundle
from gateway.home import Home
from gateway.records import Records
from gateway.store import Store
from tests.conformance.fixture.server import EXECUTED
from tests.conformance.suite import Era, Fixture, Revision, Score, bridged, fixture_over_http, free_port, score, started
from tests.support.peers import ROOT
from tests.support.rawclient import ETMCP, VERSION, envelope

Json = dict[str, Any]
Way = Literal["http", "stdio"]

ALIAS = "fixture"
SUITE_CLIENTS = ("conformance-client", "conformance-test-client")


@dataclass(frozen=True)
class Cell:
    """How clients reach the gateway, how it reaches the fixture, the fixture's era, who else is there, what is run."""

    front: Way
    upstream: Way
    era: Era
    crowded: bool
    revisions: tuple[Revision, ...]

    def __str__(self) -> str:
        years = "+".join(revision[:4] for revision in self.revisions)
        return f"{years}-{self.front}-to-{self.era}-{self.upstream}" + ("-crowded" if self.crowded else "")


@dataclass(frozen=True)
class Outcome:
    """What came of one cell: a score for each revision, what the fixture executed, and what the gateway kept."""

    scores: Mapping[Revision, Score]
    executed: list[str]
    home: Home
    log: str


def run(cell: Cell, folder: Path) -> Outcome:
    """Start everything, run the suite once for each revision, and end everything."""
    fixture = Fixture(folder / "calls", cell.era)
    fixture.calls.touch()  # a confined child writes to what was there when it started, and makes nothing new
    home = folder / "own" / "home"  # what stands beside the home is closed to children
    with _config(cell, fixture, folder) as config:
        command = [ETMCP, "--config", str(config), "--home", str(home)]
        with _front(cell, command, folder) as url:
            if (cell.upstream, cell.era) == ("stdio", "legacy") and "2026-07-28" in cell.revisions:
                _warm(url)
            scores: dict[Revision, Score] = {
                revision: score(url, revision, folder / revision) for revision in cell.revisions
            }
    log = (folder / "gateway.log").read_text(encoding="utf-8")
    return Outcome(scores, fixture.executed(), Home(home), log)


def _warm(url: str) -> None:
    """Have sessions stand ready for the suite's clients, as after a first call of theirs.

    The suite waits 600 ms for the first progress of one call, and a legacy stdio server is started anew for a client
    that can be asked.
    """
    for name in SUITE_CLIENTS:
        meta = envelope({"elicitation": {}})
        meta["io.modelcontextprotocol/clientInfo"] = {"name": name, "version": "1.0.0"}
        params = {"name": "test_simple_text", "arguments": {}, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        headers |= {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "test_simple_text"}
        with urlopen(Request(url, body, headers), timeout=60) as response:  # noqa: S310 - our own URL
            assert b"simple text response" in response.read()


@contextmanager
def _front(cell: Cell, command: list[str], folder: Path) -> Generator[str]:
    log, port = folder / "gateway.log", free_port()
    if cell.front == "stdio":
        with bridged([*command, "stdio"], log) as url:
            yield url
    else:
        with started([*command, "serve", "--port", str(port)], port, log) as url:
            yield url


@contextmanager
def _config(cell: Cell, fixture: Fixture, folder: Path) -> Generator[Path]:
    """A configuration file with the fixture, running where it is reached over HTTP."""
    others = _others(folder) if cell.crowded else {}
    path = folder / "config.json"
    if cell.upstream == "stdio":
        path.write_text(json.dumps({"mcpServers": {**others, ALIAS: _entry(fixture.command("stdio"))}}))
        yield path
    else:
        with fixture_over_http(fixture, folder / "fixture.log") as url:
            path.write_text(json.dumps({"mcpServers": {**others, ALIAS: {"url": url}}}))
            yield path


def _entry(command: list[str]) -> Json:
    return {"command": command[0], "args": command[1:], "cwd": str(ROOT)}


def _others(folder: Path) -> Json:
    """Our three servers over stdio; a confined child sees only what was there when it started."""
    folders = {name: folder / name for name in ("tee", "registry", "storage")}
    for made in folders.values():
        made.mkdir(mode=0o700)

    def program(name: str, *arguments: str) -> Json:
        return _entry([str(Path(sys.executable).with_name(f"etmcp-{name}")), *arguments])

    return {
        "tee": program("tee", "--cache", str(folders["tee"]), "stdio"),
        "registry": program("registry", "--data", str(folders["registry"]), "stdio"),
        "storage": program("storage", "--single-user", "alice", "--data", str(folders["storage"]), "stdio"),
    }


def kept(home: Home) -> list[tuple[str, str]]:
    """Method and name or URI of each receipt about the fixture, in order."""
    with closing(sqlite3.connect(home.database)) as database:
        sql = "SELECT method, params FROM receipts WHERE server = ? ORDER BY number"
        rows = [(str(method), json.loads(params)) for method, params in database.execute(sql, (ALIAS,))]
        return [(method, str(params[EXECUTED[method]])) for method, params in rows]


def unverified(home: Home) -> list[str]:
    """Check each receipt's bundle as a stranger who trusts this gateway's key would; says what is wrong with which."""
    key = home.signing_key().public_key().public_bytes_raw().hex()
    endorsements = Endorsements({OBSERVER: frozenset({key})})
    store = Store(home.database)
    try:
        records = Records(store, clock=int)
        rows = store.read("SELECT id FROM receipts WHERE server = ? ORDER BY number", ALIAS)
        wrong: list[str] = []
        for row in rows:
            verdict = verify_bundle(
                records.bundle(row["id"]).encode(),
                schemes=(SoftwareScheme(),),
                endorsements=endorsements,
                policy=MinAssurance("none"),
                now=time.time_ns() // 1_000_000,
            )
            if verdict.outcome != "verified":
                wrong.append(f"{row['id']}: {verdict.to_json()}")
        return wrong
    finally:
        store.close()


def exported(home: Home, file: Path) -> str:
    """The newest receipt through `etmcp receipts export` and `etmcp-verify`; its first line."""
    key = home.signing_key().public_key().public_bytes_raw().hex()
    policy, trust = file.with_suffix(".policy"), file.with_suffix(".trust")
    with closing(sqlite3.connect(home.database)) as database:
        sql = "SELECT id FROM receipts WHERE server = ? ORDER BY number DESC LIMIT 1"
        ((newest,),) = database.execute(sql, (ALIAS,))
    export = [ETMCP, "--home", str(home.root), "receipts", "export", str(newest), str(file)]
    subprocess.run(export, check=True, capture_output=True)
    policy.write_text('{"kind":"appraisal","version":1,"accept":{"minAssurance":"none"}}')
    trust.write_text(json.dumps({"anchors": {OBSERVER: [key]}, "format": FORMAT}))
    check = [str(Path(ETMCP).with_name("etmcp-verify")), str(file), "--policy", str(policy), "--trust", str(trust)]
    return subprocess.run(check, check=False, capture_output=True, text=True).stdout.partition("\n")[0]


def impossible(cell: Cell, revision: Revision) -> dict[str, set[str]]:
    """The checks that the specification makes impossible in this cell, by scenario (`impossible.toml`)."""
    document = tomllib.loads(Path(__file__).with_name("impossible.toml").read_text(encoding="utf-8"))
    entries: list[Json] = document.get("impossible", [])
    return {
        entry["scenario"]: set(entry["checks"])
        for entry in entries
        if entry["revision"] == revision and entry["upstream"] == cell.era
    }
