"""A server by its name: a real registry answers, a liar stands between, and every step refuses with its code."""

import base64
import copy
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import b64encode, sha256_hex
from attest.note import NoteKey
from attest.tlog import Checkpoint, open_checkpoint
from gateway.resolve import ADVICE, Local, Remote, Unresolved, Wanted
from gateway.resolve.reader import SessionReader
from gateway.resolve.steps import resolve
from gateway.upstream.session import ClientFace, Session
from gateway.upstream.spawn import Command
from gateway.upstream.stdio import open_stdio
from registry.log.leaf import Leaf
from registry.log.log import Log
from tests.gateway.registry_scene import US, Place, asked, reading
from tests.registry.process import REGISTRY, answered, imported, key_file, of, publish, registry, send
from tests.registry.scene import KEY, NAME, OTHER, entry, manifest, raw

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
OFFICIAL = "io.modelcontextprotocol.registry/official"
REMOTE = {"remotes": [{"type": "streamable-http", "url": "https://weather.example.com/mcp"}]}
PACKAGE = {"registryType": "npm", "identifier": "weather", "version": "1.2.0", "transport": {"type": "stdio"}}
PUBLISHED: dict[tuple[str, str], Json] = {
    (NAME, "1.0.0"): REMOTE,
    (NAME, "1.1.0"): {"packages": [PACKAGE]},
    (NAME, "0.9.0"): REMOTE,
    (NAME, "0.8.0"): REMOTE,
    ("com.example/other", "1.0.0"): REMOTE,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("registry")
    (folder / "entries").write_text(json.dumps(entry(name="org.demo/clock")))
    assert imported(folder, str(folder / "entries")).returncode == 0
    early: dict[str, Json] = {}
    with registry(folder) as url:
        for (name, version), more in PUBLISHED.items():
            status, told = publish(url, entry(name=name, version=version, **more), manifest(name, version))
            assert status == 200, told
            early = early or anyio.run(asked, url)
        for version, status in (("0.9.0", "deprecated"), ("0.8.0", "deleted")):
            where = of(url, NAME, f"/versions/{version}/status")
            change = {"status": status, "statusMessage": "it\nleaks"}
            assert send(where, "PATCH", answered("PATCH", where, change))[0] == 200
        log = re.search(r"log (\S+)", (folder / "registry.log").read_text())
        assert log
        yield Place(url, folder, NoteKey.parse(log[1]), early)


Change = Callable[["Lies"], None]


@dataclass
class Lies:
    """What a liar may turn: the two answers about 1.0.0, with those about other versions at hand."""

    place: Place
    get: Json
    verify: Json
    others: dict[tuple[str, str], tuple[Json, Json]]

    @property
    def server(self) -> Json:
        return self.get["server"]

    @property
    def proof(self) -> Json:
        return self.verify["proof"]

    def take(self, name: str, version: str, *, get: str = "", proof: str = "") -> None:
        """Put in members of the answers about another."""
        other = self.others[name, version]
        self.get |= {member: other[0][member] for member in get.split()}
        self.proof.update({member: other[1]["proof"][member] for member in proof.split()})

    def signed_by(self, key: Ed25519PrivateKey) -> None:
        self.get["manifest"] = manifest(key=key)

    def checkpoint(self, size: int, root: bytes, key: Ed25519PrivateKey | None = None) -> None:
        """A checkpoint that the log's key did sign, as whoever holds the key can."""
        own = Ed25519PrivateKey.from_private_bytes(bytes.fromhex((self.place.folder / "data/log.key").read_text()))
        self.proof["checkpoint"] = Checkpoint(self.place.log.name, size, root).sign(key or own).decode()


class Liar:
    """A registry whose answers are those."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    async def call(self, tool: str, arguments: Json) -> Json:
        assert arguments["name"]
        return self._answers[tool]


async def lies(place: Place) -> Lies:
    """What the real registry says, now."""
    told: dict[tuple[str, str], tuple[Json, Json]] = {}
    async with reading(place.url) as reader:
        for name, version in PUBLISHED:
            what = {"name": name, "version": version}
            answers = [
                (await reader.call(tool, what))["structuredContent"] for tool in ("registry_get", "registry_verify")
            ]
            told[name, version] = (answers[0], answers[1])
    get, verify = copy.deepcopy(told[NAME, "1.0.0"])
    return Lies(place, get, verify, told)


async def refusal(reader: Any, wanted: Wanted) -> str:
    """The code; the message is one line that names it and says what to do."""
    with pytest.raises(Unresolved) as refused:
        await resolve(reader, wanted)
    said = str(refused.value)
    assert f"[{refused.value.code}]; {ADVICE[refused.value.code]}" in said
    assert said.isprintable()
    return refused.value.code


async def test_a_server_is_resolved_by_its_name_and_the_log_may_grow(place: Place) -> None:
    async with reading(place.url) as reader:
        found = await resolve(reader, place.wanted())
        assert found.launch == Remote("https://weather.example.com/mcp", "streamable-http", {})
        assert (found.manifest.manifest.server, found.manifest.publisher) == (NAME, raw(KEY).hex())
        assert found.notice == ""
        early = place.early["registry_verify"]["structuredContent"]["proof"]
        known = open_checkpoint(early["checkpoint"].encode(), place.log)
        assert known.size < found.checkpoint.size
        again = await resolve(reader, place.wanted(known=known, publisher=raw(KEY).hex()))
        assert again.checkpoint == found.checkpoint
        package = await resolve(reader, place.wanted("1.1.0", known=found.checkpoint))
        assert package.launch == Local("npx", ("-y", "weather@1.2.0"), {})


async def test_over_stdio_in_both_eras(tmp_path: Path, place: Place) -> None:
    command = [REGISTRY, "--data", str(place.folder / "data"), "stdio", "--keys", str(key_file(tmp_path))]
    for era in ("legacy", "modern"):
        transport = await open_stdio("registry", Command(command, os.environ))
        try:
            session = Session(
                "registry", transport, face=ClientFace({}, US), era="legacy" if era == "legacy" else "modern"
            )
            await session.connect(deadline=anyio.current_time() + 20)
            found = await resolve(SessionReader(session, US), place.wanted())
            assert found.manifest.manifest.version == "1.0.0"
        finally:
            await transport.aclose()


async def test_what_the_registry_itself_says_of_a_version_is_heard(place: Place) -> None:
    async with reading(place.url) as reader:
        found = await resolve(reader, place.wanted("0.9.0"))
        assert found.notice == f"{NAME} 0.9.0 is deprecated (it leaks)"
        assert await refusal(reader, place.wanted("0.8.0")) == "deleted"
        assert await refusal(reader, place.wanted("latest")) == "version"
        assert await refusal(reader, place.wanted("7.0.0")) == "not-found"
        assert await refusal(reader, place.wanted(name="com.example/nobody")) == "not-found"
        assert await refusal(reader, place.wanted(name="x" * 201)) == "registry"
        assert await refusal(reader, place.wanted(name="org.demo/clock")) == "unsigned"
        assert await refusal(reader, place.wanted(publisher=raw(OTHER).hex())) == "publisher"
        ahead = Checkpoint(place.log.name, 1000, bytes(32))
        assert await refusal(reader, place.wanted(known=ahead)) == "rollback"
        assert await refusal(reader, place.wanted(log=NoteKey(place.log.name, raw(OTHER)))) == "checkpoint"


def turned(path: str, value: Any) -> Change:
    """Put `value` at a path such as `verify.proof.index`."""
    return made(path, lambda _: value)


def made(path: str, make: Callable[[Any], Any]) -> Change:
    """Put there what `make` makes of what is there."""

    def change(lies: Lies) -> None:
        first, *middle, last = path.split(".")
        at: Any = lies.get if first == "get" else lies.verify
        for step in middle:
            at = at[step]
        at[last] = make(at[last])

    return change


def flipped(text: str) -> str:
    """Base64 with one bit turned."""
    data = bytearray(base64.b64decode(text))
    data[-1] ^= 1
    return b64encode(bytes(data))


def first_flipped(hashes: list[str]) -> list[str]:
    return [flipped(hashes[0]), *hashes[1:]]


def own_leaf(lies: Lies) -> None:
    """A leaf that fits all that is shown, but that is not in the log."""
    lies.server["description"] = "Weather of yesterday"
    also = {"entry": sha256_hex(canonical(lies.server)), "key": sha256_hex(raw(KEY))}
    lies.proof["leaf"] = Leaf("manifest", Envelope.from_json(lies.get["manifest"]).digest, also).encode().decode()


def other_publisher(lies: Lies) -> None:
    lies.signed_by(OTHER)
    lies.verify["publisher"] = raw(OTHER).hex()


LEAF = "leaf index hashes"
ATTACKS: dict[str, tuple[str, Change]] = {
    "entry: description": ("entry", turned("get.server.description", "Weather of yesterday")),
    "entry: url": ("entry", turned("get.server.remotes", [{"type": "sse", "url": "https://rogue.example"}])),
    "entry: a member more": ("entry", made("get.server", lambda s: {**s, "title": "Weather"})),
    "entry: that of another version under this version": ("name", lambda lie: lie.take(NAME, "1.1.0", get="server")),
    "everything of another version": ("name", lambda lie: lie.take(NAME, "1.1.0", get="server manifest", proof=LEAF)),
    "everything of another server": (
        "name",
        lambda lie: lie.take("com.example/other", "1.0.0", get="server manifest", proof=LEAF),
    ),
    "manifest of another version": ("leaf", lambda lie: lie.take(NAME, "1.1.0", get="manifest")),
    "manifest of another server": ("leaf", lambda lie: lie.take("com.example/other", "1.0.0", get="manifest")),
    "manifest and proof of another version": ("entry", lambda lie: lie.take(NAME, "1.1.0", get="manifest", proof=LEAF)),
    "manifest and proof of another server": (
        "entry",
        lambda lie: lie.take("com.example/other", "1.0.0", get="manifest", proof=LEAF),
    ),
    "proof of another version": ("leaf", lambda lie: lie.take(NAME, "1.1.0", proof=LEAF)),
    "name: another case": ("name", turned("get.server.name", "com.example/Weather")),
    "name: a letter that looks alike": ("name", turned("get.server.name", "com.example/we\u0430ther")),
    "name: another namespace": ("name", turned("get.server.name", "com.examples/weather")),
    "name: none": ("name", turned("get.server", {})),
    "version: another": ("name", turned("get.server.version", "1.0.00")),
    "publisher: another signs": ("publisher", other_publisher),
    "publisher: another key": ("publisher", turned("verify.publisher", raw(OTHER).hex())),
    "signature: by another": ("signature", lambda lie: lie.signed_by(OTHER)),
    "signature: a bit": (
        "signature",
        made("get.manifest.signatures", lambda s: [{**s[0], "sig": flipped(s[0]["sig"])}]),
    ),
    "manifest: a bit": ("leaf", made("get.manifest.payload", flipped)),
    "manifest: none": ("unsigned", turned("get.manifest", None)),
    "manifest: no envelope": ("leaf", turned("get.manifest", {"payload": 1})),
    "proof: a hash": ("inclusion", made("verify.proof.hashes", first_flipped)),
    "proof: none": ("inclusion", turned("verify.proof.hashes", [])),
    "proof: one more": ("inclusion", made("verify.proof.hashes", lambda hashes: [*hashes, hashes[0]])),
    "proof: another index": ("inclusion", made("verify.proof.index", lambda index: index + 1)),
    "proof: beyond the tree": ("inclusion", turned("verify.proof.index", 10**6)),
    "leaf: made up": ("inclusion", own_leaf),
    "leaf: spaces": ("inclusion", made("verify.proof.leaf", lambda leaf: leaf + " ")),
    "checkpoint: another key": ("checkpoint", lambda lie: lie.checkpoint(1, bytes(32), OTHER)),
    "checkpoint: another size": (
        "checkpoint",
        made("verify.proof.checkpoint", lambda note: re.sub(r"\n\d+\n", "\n9\n", note)),
    ),
    "checkpoint: text": ("checkpoint", turned("verify.proof.checkpoint", "trust me")),
    "checkpoint: of another tree": ("rollback", lambda lie: lie.checkpoint(50, bytes(32))),
    "checkpoint: same size, other root": ("rollback", lambda lie: lie.checkpoint(7, bytes(32))),
    "checkpoint: smaller": ("rollback", lambda lie: lie.checkpoint(1, bytes(32))),
    "checkpoint: the one from before": (
        "rollback",
        lambda lie: lie.proof.update(lie.place.early["registry_verify"]["structuredContent"]["proof"]),
    ),
    "consistency: a proof too many": ("rollback", turned("verify.proof.consistency", [b64encode(bytes(32))])),
    "status: deleted": ("deleted", made("get._meta", lambda m: {OFFICIAL: {**m[OFFICIAL], "status": "deleted"}})),
    "status: unheard of": ("malformed", made("get._meta", lambda m: {OFFICIAL: {**m[OFFICIAL], "status": "fine"}})),
    "form: no metadata": ("malformed", turned("get._meta", {})),
    "form: no server": ("malformed", turned("get.server", 3)),
    "form: no proof": ("malformed", turned("verify.proof", None)),
    "form: hashes": ("malformed", turned("verify.proof.hashes", "x")),
    "form: too many hashes": ("malformed", turned("verify.proof.hashes", [b64encode(bytes(32))] * 65)),
    "form: a hash that is none": ("malformed", turned("verify.proof.hashes", [3])),
    "form: publisher": ("malformed", turned("verify.publisher", "00")),
    "form: an index below zero": ("malformed", turned("verify.proof.index", -1)),
    "form: half a surrogate": ("malformed", turned("get.server.description", "\ud800")),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
async def test_a_lie_is_refused_by_its_own_code(place: Place, attack: str) -> None:
    code, change = ATTACKS[attack]
    told = await lies(place)
    known = open_checkpoint(told.proof["checkpoint"].encode(), place.log)
    wanted = place.wanted(known=known)

    def answers() -> dict[str, Any]:
        return {
            "registry_get": {"structuredContent": told.get}, "registry_verify": {"structuredContent": told.verify},
        }  # fmt: skip

    told.proof["consistency"] = []  # from this very checkpoint on
    await resolve(Liar(answers()), wanted)
    change(told)
    assert await refusal(Liar(answers()), wanted) == code


@pytest.mark.parametrize("result", [{}, {"structuredContent": []}, {"structuredContent": None}])
async def test_an_answer_without_content_is_malformed(place: Place, result: Json) -> None:
    assert await refusal(Liar({"registry_get": result}), place.wanted()) == "malformed"
    for content in ([], None, [{"text": "so\nit is"}], [{"text": 3}], "x"):
        answer = {"registry_get": {"isError": True, "content": content}}
        assert await refusal(Liar(answer), place.wanted()) == "registry"


@pytest.mark.parametrize(
    ("code", "signed"),
    [
        ("", manifest()),
        ("manifest", manifest(version="2.0.0")),
        ("manifest", manifest(name="com.example/other")),
        ("signature", manifest(key=OTHER)),
    ],
)
async def test_what_a_rogue_registry_puts_into_its_own_log_must_still_fit(
    tmp_path: Path, code: str, signed: Json
) -> None:
    Log.create(tmp_path / "log.db", "rogue.example", OTHER)
    log = Log(tmp_path / "log.db", OTHER)
    server = entry(**REMOTE)
    also = {"entry": sha256_hex(canonical(server)), "key": sha256_hex(raw(KEY))}
    leaf = Leaf("manifest", Envelope.from_json(signed).digest, also)
    proof = log.prove_inclusion(await log.append(leaf))
    shown: Json = {"leaf": leaf.encode().decode(), "index": 0, "hashes": [], "consistency": []}
    answers: dict[str, Json] = {
        "registry_get": {"server": server, "_meta": {OFFICIAL: {"status": "active"}}, "manifest": signed},
        "registry_verify": {"publisher": raw(KEY).hex(), "proof": {**shown, "checkpoint": proof.note.decode()}},
    }
    reader = Liar({tool: {"structuredContent": answer} for tool, answer in answers.items()})
    wanted = Wanted(NAME, "1.0.0", log.verifier)
    log.close()
    if code:
        assert await refusal(reader, wanted) == code
    else:
        assert (await resolve(reader, wanted)).checkpoint.size == 1


NO_REGISTRY = """
import sys
sys.path.insert(0, sys.argv[1])
from rpc import error, requests, result
for message in requests():
    if message["method"] == "initialize":
        info = {"name": "no", "version": "1"}
        result(message, {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info})
    elif "id" in message:
        error(message, -32601, "no\\nsuch method") if sys.argv[2] == "error" else result(message, {"params": 1})
"""


@pytest.mark.parametrize(("answers", "code"), [("error", "registry"), ("result", "malformed")])
async def test_a_server_that_is_no_registry_resolves_nothing(place: Place, answers: str, code: str) -> None:
    peers = str(Path(__file__).parent / "upstream" / "peers")
    command = Command([sys.executable, "-c", NO_REGISTRY, peers, answers], os.environ)
    transport = await open_stdio("registry", command)
    try:
        session = Session("registry", transport, face=ClientFace({}, US), era="legacy")
        await session.connect(deadline=anyio.current_time() + 20)
        assert await refusal(SessionReader(session, US), place.wanted()) == code
    finally:
        await transport.aclose()
