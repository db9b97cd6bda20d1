"""Latest by the code's rule, search, tolerant import of real records, strict publishing and who may do it."""

import base64
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from attest.manifest import Manifest, Pin
from attest.tlog import leaf_hash, verify_inclusion
from registry.catalogue.entry import SCHEMA, problems
from registry.catalogue.importer import import_lines, read
from registry.catalogue.publish import LIFETIME, Challenge, Publisher, domains, parse_record, signing_input
from registry.catalogue.store import Catalogue
from registry.catalogue.versions import is_range, rank
from registry.errors import NotFound, Refused, RegistryError
from registry.log.leaf import Leaf
from registry.log.log import Log

Json = dict[str, Any]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NAME = "com.example/weather"


def entry(**changed: Any) -> Json:
    return {"$schema": SCHEMA, "name": NAME, "description": "Weather of the day", "version": "1.0.0", **changed}


def record(key: Ed25519PrivateKey) -> str:
    return f"v=MCPv1; k=ed25519; p={base64.b64encode(key.public_key().public_bytes_raw()).decode()}"


@dataclass
class Scene:
    """A registry at a time that tests set, and the domains it knows."""

    catalogue: Catalogue
    log: Log
    now: int = 1_000_000
    records: dict[str, list[str]] = field(default_factory=lambda: {"example.com": [record(KEY)]})

    def publisher(self, audience: str = "registry.example") -> Publisher:
        return Publisher(self.catalogue, self.log, lambda d: self.records.get(d, []), audience, lambda: self.now)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    Log.create(tmp_path / "log.db", "registry.example", KEY)
    scene = Scene(Catalogue(tmp_path / "catalogue.db"), Log(tmp_path / "log.db", KEY))
    yield scene
    scene.catalogue.close()
    scene.log.close()


@pytest.mark.parametrize(
    ("published", "latest"),
    [
        (["1.0.0", "1.10.0", "1.9.0"], "1.10.0"),
        (["1.2.3", "1.2.3-1"], "1.2.3"),  # a prerelease made for new metadata only
        (["1.2.3-1", "1.2.3-alpha", "1.2.3-alpha.2", "1.2.3-alpha.10"], "1.2.3-alpha.10"),
        (["1.0.0", "2025.11.25-nightly", "main"], "2025.11.25-nightly"),
        (["1.0.0", "snapshot"], "1.0.0"),  # the documents say: snapshot
        (["b", "a"], "a"),
        (["1.0", "0.0.1"], "0.0.1"),
        (["1.0.0+a", "1.0.0+b"], "1.0.0+a"),
    ],
)
def test_latest_is_the_codes_rule(published: list[str], latest: str) -> None:
    ranks = {version: rank(version, at) for at, version in enumerate(published)}
    assert max(ranks, key=ranks.__getitem__) == latest


@pytest.mark.parametrize("text", ["latest", "^1.2.3", "~1.2", ">=1.0.0", "1.x", "1.0.0 - 2.0.0", "*", "1 || 2"])
def test_a_range_is_no_version(text: str) -> None:
    assert is_range(text)
    assert not is_range("1.0.0-linux.x64")


@pytest.mark.anyio
async def test_versions_are_immutable_and_the_latest_one_is_found(scene: Scene) -> None:
    catalogue = scene.catalogue
    for at, version in enumerate(("1.0.0", "1.2.0", "1.1.0")):
        catalogue.add(entry(version=version, description=f"Forecast {at}"), "active", at, at, None)
    with pytest.raises(Refused, match="version-exists"):
        catalogue.add(entry(description="changed"), "active", 9, 9, None)
    assert catalogue.get(NAME).version == "1.2.0"
    assert [e.version for e in catalogue.versions(NAME)] == ["1.1.0", "1.2.0", "1.0.0"]
    assert [e.version for e in catalogue.search("forecast")] == ["1.2.0"]
    assert [e.version for e in catalogue.page(limit=2)] == ["1.0.0", "1.1.0"]
    assert [e.version for e in catalogue.page(after=(NAME, "1.1.0"))] == ["1.2.0"]
    assert not catalogue.page(part="%")
    for name, version, code in ((NAME, "9", "no-version"), ("a.b/c", "1", "no-server")):
        with pytest.raises(NotFound, match=code):
            catalogue.get(name, version)


def test_no_query_is_a_syntax_error(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "c.db")
    catalogue.add(entry(), "active", 0, 0, None)

    @given(st.text(max_size=40) | st.text(alphabet='"*():^-+ANDORNEARnot ', max_size=20))
    def search(query: str) -> None:
        catalogue.search(query)
        catalogue.page(part=query)

    search()
    assert catalogue.search('weather" OR (')[0].name == NAME
    catalogue.close()


@pytest.mark.parametrize(
    "changed",
    [
        {"$schema": "https://example.com"}, {"description": ""}, {"description": "x" * 101}, {"repository": {}},
        {"title": None}, {"websiteUrl": "http://example.com"}, {"icons": [{"src": "http://a/b.png"}]},
        {"remotes": [{"type": "stdio", "url": "https://a"}]}, {"remotes": [{"type": "sse", "url": "ftp://a"}]},
        {"remotes": [{"type": "sse", "url": "http://localhost:1/"}]}, {"remotes": [{"type": "sse", "url": "http://127.0.0.1"}]},
        {"remotes": [{"type": "sse", "url": "http://[::1]/"}]}, {"remotes": [{"type": "sse", "url": "http://10.0.0.1/"}]},
        {"packages": [{"registryType": "npm", "identifier": "a"}]}, {"_meta": {"x": 1}},
        {"packages": [{"registryType": "mcpb", "identifier": "a", "transport": {"type": "stdio"}}]},
        {"packages": [{"registryType": "npm", "identifier": "a", "version": "^1", "transport": {"type": "stdio"}}]},
        {"_meta": {"io.modelcontextprotocol.registry/publisher-provided": "x" * 4097}},
    ],
)  # fmt: skip
def test_publishing_is_strict(changed: Json) -> None:
    assert not problems(entry(remotes=[{"type": "sse", "url": "https://example.com/{tenant}/sse"}]))
    assert not problems(entry(remotes=[{"type": "sse", "url": "https://mylocalhost.com/"}]))
    assert problems(entry(**changed))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_only_refusals_come_out_of_the_importer(value: Any) -> None:
    lines = [
        json.dumps(v)
        for v in (value, {"server": value}, {"version_detail": value, "packages": [value]}, entry(_meta=value))
    ]
    for line in lines:
        try:
            server, *_ = read(line.encode(), 0)
            problems(server)
        except Refused as e:
            assert e.code  # noqa: PT017


def test_every_real_record_is_imported_or_reported_with_its_reason(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "registry" / "dev").glob("*.jsonl"))
    assert files
    catalogue, calls = Catalogue(tmp_path / "c.db"), 0

    def progress(_: object) -> None:
        nonlocal calls
        calls += 1

    for path in files:
        lines = path.read_bytes().splitlines()
        report = import_lines(catalogue, lines, 0, progress)
        print(path.name, report.records, report.imported, report.invalid, dict(report.reasons()))
        assert report.records == len(lines) == report.imported + len(report.refused)
        assert all(code and detail for _, code, detail in report.refused)
        if path.name.startswith("official_registry_2025"):
            assert report.imported == report.records
            assert report.invalid
    assert calls > len(files)
    assert catalogue.search("postgres database", 5)
    catalogue.close()


def manifest(name: str = NAME, version: str = "1.0.0", key: Ed25519PrivateKey = KEY) -> Json:
    tools = {"today": Pin.of({"name": "today"})}
    return Manifest(name, version, "observer-attested", tools, {}, {}, None, frozenset()).sign(key).to_json()


def sign(challenge: Challenge, server: Json, envelope: Json, key: Ed25519PrivateKey = KEY) -> bytes:
    from attest.dsse import Envelope  # noqa: PLC0415

    return key.sign(signing_input(challenge, server, Envelope.from_json(envelope)))


@pytest.mark.anyio
async def test_what_is_published_is_in_the_log_and_found(scene: Scene) -> None:
    publisher, server, envelope = scene.publisher(), entry(), manifest()
    challenge = publisher.challenge(NAME)
    index = await publisher.publish(server, envelope, challenge.nonce, sign(challenge, server, envelope))
    found = scene.catalogue.get(NAME)
    assert found.signed is not None
    assert (found.signed.leaf, found.signed.publisher) == (index, KEY.public_key().public_bytes_raw().hex())
    proof, leaf = scene.log.prove_inclusion(index), scene.log.entry(index)
    verify_inclusion(leaf_hash(leaf), index, proof.hashes, proof.checkpoint)
    assert Leaf.decode(leaf).type == "manifest"


Change = Callable[[Json], None]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("oversized", {"server": entry(title="x" * 70_000)}),
        ("ambiguous-json", {"server": entry(title="\ud800")}),
        ("invalid-name", {"server": entry(name="weather")}),
        ("invalid-name", {"server": entry(name="com.example/a/b")}),
        ("invalid-version", {"server": entry(version="latest")}),
        ("invalid-entry", {"server": entry(repository={})}),
        ("unknown-namespace", {"server": entry(name="org.other/weather")}),
        ("unknown-namespace", {"server": entry(name="com/weather")}),
        ("unknown-namespace", {"server": entry(name="com.examples/weather")}),
        ("malformed-manifest", {"manifest": {"payload": 1}}),
        ("wrong-key", {"signer": OTHER}),
        ("wrong-key", {"audience": "rogue.example"}),
        ("wrong-key", {"signed": entry(description="another")}),
        ("wrong-key", {"signed_manifest": manifest(version="2.0.0")}),
        ("unknown-challenge", {"nonce": "00" * 32}),
        ("unknown-challenge", {"server": entry(name="com.example/other")}),
        ("expired-challenge", {"late": LIFETIME}),
        ("wrong-manifest", {"manifest": manifest(version="2.0.0")}),
        ("wrong-manifest", {"manifest": manifest(name="com.example/other")}),
        ("wrong-manifest", {"manifest": manifest(key=OTHER)}),
    ],
)
async def test_refusals(scene: Scene, code: str, change: Json) -> None:
    publisher = scene.publisher()
    challenge = publisher.challenge(NAME)
    server, envelope = change.get("server", entry()), change.get("manifest", manifest())
    signed = replace(challenge, audience=change.get("audience", challenge.audience), name=server["name"])
    signed = replace(signed, nonce=change.get("nonce", challenge.nonce))
    try:
        signature = sign(
            signed, change.get("signed", server), change.get("signed_manifest", envelope), change.get("signer", KEY)
        )
    except Exception:  # noqa: BLE001 - what cannot even be signed must be refused before that matters
        signature = b""
    scene.now += change.get("late", 0)
    with pytest.raises(Refused) as refusal:
        await publisher.publish(server, envelope, signed.nonce, signature)
    assert refusal.value.code == code
    assert scene.log.checkpoint()[0].size == 0
    with pytest.raises(NotFound):
        scene.catalogue.get(server["name"])


@pytest.mark.anyio
async def test_a_challenge_works_once_and_a_version_is_published_once(scene: Scene) -> None:
    publisher, server, envelope = scene.publisher(), entry(), manifest()
    challenge = publisher.challenge(NAME)
    signature = sign(challenge, server, envelope)
    await publisher.publish(server, envelope, challenge.nonce, signature)
    with pytest.raises(Refused, match="replayed-challenge"):
        await publisher.publish(server, envelope, challenge.nonce, signature)
    fresh = publisher.challenge(NAME)
    with pytest.raises(Refused, match="version-exists"):
        await publisher.publish(server, envelope, fresh.nonce, sign(fresh, server, envelope))
    with pytest.raises(Refused, match="unknown-namespace"):
        publisher.challenge("org.other/weather")


def test_a_domain_speaks_for_itself_and_what_is_below() -> None:
    assert domains("com.example.api/x") == ["api.example.com", "example.com"]
    assert domains("com/x") == []


@given(st.text() | st.text().map(lambda t: f"v=MCPv1; k=ed25519; p={t}"))
def test_only_refusals_come_out_of_the_record_parser(text: str) -> None:
    assert parse_record(record(KEY)) == KEY.public_key().public_bytes_raw()
    with pytest.raises(RegistryError):
        parse_record(text)
