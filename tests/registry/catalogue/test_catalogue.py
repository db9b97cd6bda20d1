"""Latest by the code's rule, search, tolerant import of real records, strict publishing and who may do it."""

import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.tlog import leaf_hash, verify_inclusion
from registry.catalogue.challenge import LIFETIME, Credential, StatusChange, status_input
from registry.catalogue.entry import problems
from registry.catalogue.importer import MAX_RECORD, Importer, Lines, import_chunks, read
from registry.catalogue.publish import Challenged, status_document
from registry.catalogue.store import Catalogue
from registry.catalogue.versions import is_range, rank
from registry.errors import NotFound, Refused
from registry.log.leaf import Leaf
from tests.attest.zk import minted
from tests.registry.scene import KEY, NAME, OTHER, Json, Scene, entry, manifest, p384, raw, record, sign, with_program


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    scene = Scene.at(tmp_path)
    yield scene
    scene.close()


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


REASONS = {
    "docker_servers": {"foreign-catalogue"},
    "livemcpbench_tasks": {"not-an-entry"},
    "official_registry_2025-12-18": set[str](),
    "official_registry_index_2026-06-12": {"version-exists"},  # those that the file before has too
    "official_seed_2025-05-16_legacy": {"no-namespace"},
    "toolsdk_packages": {"foreign-catalogue"},
}


def test_every_real_record_is_imported_or_reported_with_its_reason(shared: Path, tmp_path: Path) -> None:
    files = sorted((shared / "data" / "registry" / "dev").glob("*.jsonl"))
    assert files
    catalogue, calls = Catalogue(tmp_path / "c.db"), 0

    def progress(_: object) -> None:
        nonlocal calls
        calls += 1

    for path in files:
        importer, data = Importer(catalogue, 0, progress), path.read_bytes()
        import_chunks(importer, (data[start : start + 70_000] for start in range(0, len(data), 70_000)))
        report = importer.report
        print(path.name, report.records, report.imported, report.invalid, dict(report.reasons()))
        assert report.records == len(data.splitlines()) == report.imported + len(report.refused)
        assert all(code and detail for _, code, detail in report.refused)
        assert set(report.reasons()) == REASONS[path.stem]
        if path.name.startswith("official_registry_2025"):
            assert report.imported == report.records
            assert report.invalid
    assert calls > len(files)
    assert catalogue.search("postgres database", 5)
    catalogue.close()


@given(st.binary(max_size=200), st.lists(st.integers(1, 40)))
def test_however_a_document_is_cut_its_lines_are_the_same(data: bytes, sizes: list[int]) -> None:
    lines, found, rest = Lines(), list[bytes](), data
    for size in sizes:
        found += lines.feed(rest[:size])
        rest = rest[size:]
    found += lines.feed(rest) + lines.end()
    assert found == (data.removesuffix(b"\n").split(b"\n") if data else [])


def test_a_line_without_end_takes_no_memory_and_is_one_refused_record(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "c.db")
    importer = Importer(catalogue, 0, lambda _: None)
    after = json.dumps(entry()).encode()
    import_chunks(importer, [*[b"x" * MAX_RECORD] * 20, b"\n" + after])
    assert importer.report.reasons() == {"oversized": 1}
    assert importer.report.imported == 1
    catalogue.close()


@pytest.mark.anyio
async def test_what_is_published_is_in_the_log_and_found(scene: Scene) -> None:
    await scene.published(entry(), manifest())
    found = scene.catalogue.get(NAME)
    assert found.signed is not None
    assert found.signed.publisher == raw(KEY).hex()
    index = found.signed.leaf
    proof, leaf = scene.log.prove_inclusion(index), scene.log.entry(index)
    verify_inclusion(leaf_hash(leaf), index, proof.hashes, proof.checkpoint)
    assert Leaf.decode(leaf).type == "manifest"


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
        ("wrong-key", {"signed_manifest": manifest(key=OTHER)}),
        ("unknown-challenge", {"nonce": "00" * 32}),
        ("unknown-challenge", {"server": entry(name="com.example/other")}),
        ("expired-challenge", {"late": LIFETIME}),
        ("wrong-manifest", {"manifest": manifest(version="2.0.0")}),
        ("wrong-manifest", {"manifest": manifest(name="com.example/other")}),
        ("wrong-manifest", {"manifest": manifest(key=OTHER)}),
        ("wrong-manifest", {"publisher": OTHER}),
        ("wrong-manifest", {"manifest": with_program(minted.degenerate(minted.program().to_json()))}),
        ("wrong-manifest", {"manifest": with_program({})}),
    ],
)
async def test_refusals(scene: Scene, code: str, change: Json) -> None:
    challenge = await scene.authority().challenge(NAME)
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
    publisher = raw(change["publisher"]) if "publisher" in change else b""
    with pytest.raises(Refused) as refusal:
        await scene.publisher().publish(server, envelope, Credential(signed.nonce, signature), publisher)
    assert refusal.value.code == code
    assert scene.log.checkpoint()[0].size == 0
    with pytest.raises(NotFound):
        scene.catalogue.get(server["name"])


@pytest.mark.anyio
async def test_a_manifest_with_a_sound_program_is_published(scene: Scene) -> None:
    server, envelope = entry(), with_program(minted.program().to_json())
    challenge = await scene.challenged(server, envelope)
    given = Credential(challenge.nonce, sign(challenge, server, envelope))
    assert (await scene.publisher().publish(server, envelope, given)).signed


@pytest.mark.anyio
async def test_a_challenge_works_once_and_a_version_is_published_once(scene: Scene) -> None:
    publisher, server, envelope = scene.publisher(), entry(), manifest()
    challenge = await scene.challenged(server, envelope)
    given = Credential(challenge.nonce, sign(challenge, server, envelope))
    await publisher.publish(server, envelope, given)
    with pytest.raises(Refused, match="replayed-challenge"):
        await publisher.publish(server, envelope, given)
    with pytest.raises(Refused, match="version-exists"):
        await scene.published(server, envelope)
    with pytest.raises(Refused, match="unknown-namespace"):
        await scene.authority().challenge("org.other/weather")


@pytest.mark.anyio
async def test_a_publisher_replaces_a_copy_that_was_only_imported(scene: Scene) -> None:
    for version in ("0.9.0", "1.0.0"):
        scene.catalogue.add(entry(version=version, description="A copy"), "deprecated", 1, 1, None)
    await scene.published(entry(), manifest())
    found = scene.catalogue.get(NAME)
    assert (found.status, found.server["description"], found.latest) == ("active", entry()["description"], True)
    assert [e.version for e in scene.catalogue.versions(NAME)] == ["1.0.0", "0.9.0"]
    assert not scene.catalogue.search("copy")
    with pytest.raises(Refused, match="version-exists"):
        scene.catalogue.add(entry(), "active", 1, 1, None)
    await scene.published(entry(version="0.9.0"), manifest(version="0.9.0"))
    assert scene.catalogue.get(NAME).version == "1.0.0"
    for at, version in enumerate(("2.0.0+a", "2.0.0+b")):
        scene.catalogue.add(entry(version=version), "active", at, at, None)
    await scene.published(entry(version="2.0.0+a"), manifest(version="2.0.0+a"))
    assert [e.version for e in scene.catalogue.page(version="latest")] == ["2.0.0+a"]


@pytest.mark.anyio
async def test_a_p384_key_of_the_domain_vouches_for_the_key_that_signed_the_manifest(scene: Scene) -> None:
    key = generate_private_key(SECP384R1())
    scene.records["example.com"] = [record(key)]
    for publisher, code in ((b"", "wrong-manifest"), (raw(KEY), "wrong-manifest"), (raw(OTHER), "")):
        with pytest.raises(Challenged) as asked:
            await scene.publisher().publish(entry(), manifest(key=OTHER), None)
        given = Credential(asked.value.challenge.nonce, p384(key, asked.value.message))
        try:
            published = await scene.publisher().publish(entry(), manifest(key=OTHER), given, publisher)
        except Refused as e:
            assert e.code == code  # noqa: PT017
        else:
            assert not code
            assert published.signed is not None
            assert published.signed.publisher == raw(OTHER).hex()
    assert scene.log.checkpoint()[0].size == 1


async def changed(scene: Scene, change: StatusChange, *, signed: StatusChange | None = None, late: int = 0) -> None:
    try:
        await scene.publisher().change_status(change, None)
    except Challenged as e:
        scene.now += late
        given = Credential(e.challenge.nonce, KEY.sign(status_input(e.challenge, signed or change)))
        await scene.publisher().change_status(change, given)


@pytest.mark.anyio
async def test_a_status_is_changed_by_the_domain_and_logged(scene: Scene) -> None:
    for version in ("1.0.0", "2.0.0"):
        await scene.published(entry(version=version), manifest(version=version))
    await changed(scene, StatusChange(NAME, "1.0.0", "deprecated", "use 2.0.0"))
    one = scene.catalogue.get(NAME, "1.0.0")
    assert one.status == "deprecated"
    assert one.changed is not None
    document = status_document(NAME, "1.0.0", "deprecated", "use 2.0.0", one.changed.at)
    assert Leaf.decode(scene.log.entry(one.changed.leaf)) == Leaf(
        "status", sha256_hex(document), {"key": sha256_hex(raw(KEY))}
    )
    assert scene.catalogue.get(NAME, "2.0.0").changed is None
    scene.now += 5
    await changed(scene, StatusChange(NAME, "", "deleted", ""))
    assert {e.status for e in scene.catalogue.versions(NAME)} == {"deleted"}
    assert not scene.catalogue.search("weather")
    assert not scene.catalogue.page()
    assert {e.updated for e in scene.catalogue.page(updated_since=scene.now, deleted=True)} == {scene.now}
    await changed(scene, StatusChange(NAME, "2.0.0", "active", ""))
    assert [e.version for e in scene.catalogue.page()] == ["2.0.0"]
    assert scene.log.checkpoint()[0].size == 6


@pytest.mark.anyio
async def test_a_status_that_may_not_be_changed_stays(scene: Scene) -> None:
    await scene.published(entry(), manifest())
    before = scene.catalogue.get(NAME)
    wanted = StatusChange(NAME, "1.0.0", "deleted", "")
    odd: Any = "yanked"
    cases: list[tuple[str, StatusChange, Json]] = [
        ("invalid-status", replace(wanted, status=odd), {}),
        ("invalid-status", replace(wanted, message="x" * 501), {}),
        ("invalid-status", replace(wanted, status="active", message="why"), {}),
        ("invalid-version", replace(wanted, version="latest"), {}),
        ("no-change", replace(wanted, status="active"), {}),
        ("no-version", replace(wanted, version="9"), {}),
        ("no-server", replace(wanted, name="com.example/other"), {}),
        ("wrong-key", wanted, {"signed": replace(wanted, status="deprecated")}),
        ("wrong-key", wanted, {"signed": replace(wanted, version="")}),
        ("expired-challenge", wanted, {"late": LIFETIME}),
    ]
    for code, change, more in cases:
        with pytest.raises((Refused, NotFound)) as refusal:
            await changed(scene, change, **more)
        assert refusal.value.code == code
    assert scene.catalogue.get(NAME) == before
    assert scene.log.checkpoint()[0].size == 1


@pytest.mark.anyio
async def test_a_signature_to_publish_changes_no_status(scene: Scene) -> None:
    server, envelope = entry(), manifest()
    challenge = await scene.challenged(server, envelope)
    given = Credential(challenge.nonce, sign(challenge, server, envelope))
    scene.catalogue.add(server, "active", 1, 1, None)
    with pytest.raises(Refused, match="wrong-key"):
        await scene.publisher().change_status(StatusChange(NAME, "1.0.0", "deleted", ""), given)
    assert canonical(dict(scene.catalogue.get(NAME).server)) == canonical(server)
    with pytest.raises(Refused, match="malformed-signature"):
        Credential.read("", base64.b64encode(b"x").decode() + "%")
