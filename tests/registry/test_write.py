"""Publishing, status and the receipt log over HTTP, to a registry in another process."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from attest.note import NoteKey
from attest.tlog import leaf_hash, open_checkpoint, verify_inclusion
from registry.log.leaf import Leaf
from registry.write import AUTHORIZATION, MAX_BODY
from tests.registry.process import Json, answered, authorised, of, publish, registry, send
from tests.registry.scene import NAME, OTHER, entry, manifest

OFFICIAL = "io.modelcontextprotocol.registry/official"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


def test_a_version_is_published_and_its_status_changed(url: str) -> None:
    server = entry(version="3.0.0", _meta={"io.modelcontextprotocol.registry/publisher-provided": {"a": 1}})
    request = answered("POST", f"{url}/v0.1/publish", server, manifest=manifest(version="3.0.0"))
    status, told = send(f"{url}/v0.1/publish", "POST", request)
    assert status == 200, told
    assert told["server"] == server  # nothing of the authorisation is kept
    status, told = send(f"{url}/v0.1/publish", "POST", request)
    assert (status, told["code"]) == (401, "replayed-challenge")
    change = {"status": "deprecated", "statusMessage": "use 4.0.0"}
    where = of(url, NAME, "/versions/3.0.0/status")
    status, told = send(where, "PATCH", answered("PATCH", where, change))
    assert status == 200, told
    official = told["_meta"][OFFICIAL]
    assert (official["status"], official["statusMessage"]) == ("deprecated", "use 4.0.0")
    assert official["statusChangedAt"] == official["updatedAt"] >= official["publishedAt"]
    everything = of(url, NAME, "/status")
    status, told = send(everything, "PATCH", answered("PATCH", everything, {"status": "deleted"}))
    assert (status, told["updatedCount"], len(told["servers"])) == (200, 1, 1)
    assert send(of(url, NAME, "/versions/3.0.0"))[1]["code"] == "deleted"
    assert send(of(url, NAME, "/versions/3.0.0?include_deleted=true"))[0] == 200
    assert send(of(url, NAME, "/versions"))[0] == 404
    status, told = send(everything, "PATCH", answered("PATCH", everything, {"status": "active"}))
    assert (status, told["servers"][0]["_meta"][OFFICIAL].get("statusMessage")) == (200, None)
    assert send(of(url, NAME, "/versions/latest"))[0] == 200


def test_what_is_wrong_is_refused_by_a_stable_code(url: str) -> None:
    where = f"{url}/v0.1/publish"
    server = entry(name="com.example/refused")
    good = answered("POST", where, server, manifest=manifest("com.example/refused"))
    given = good["_meta"][AUTHORIZATION]
    lost = {**given, "nonce": "00" * 32}
    lost["signature"] = given["signature"]
    cases: list[tuple[int, str, object]] = [
        (403, "unknown-namespace", authorised(entry(name="org.other/x"), manifest=given["manifest"])),
        (401, "wrong-key", authorised(server, **lost)),
        (401, "wrong-key", authorised({**server, "description": "another"}, **given)),
        (401, "wrong-key", authorised(server, **{**given, "manifest": manifest("com.example/refused", key=OTHER)})),
        (401, "malformed-signature", authorised(server, **{**given, "signature": "%"})),
        (400, "malformed-request", authorised(server, **{**given, "nonce": 7})),
        (400, "malformed-request", authorised(server, **{**given, "publisher": "zz"})),
        (400, "malformed-manifest", server),
        (400, "malformed-manifest", authorised(server, manifest={})),
        (400, "invalid-name", authorised(entry(name="weather"), **given)),
        (400, "invalid-entry", authorised(entry(repository={}), **given)),
        (413, "oversized", authorised(entry(title="x" * 70_000), **given)),
        (413, "oversized", b" " * (MAX_BODY + 1)),
        (400, "not-json", b"{"),
        (400, "not-json", b"[]"),
        (400, "ambiguous-json", b'{"name": 1, "name": 2}'),
    ]
    for status, code, body in cases:
        answer, told = send(where, "POST", body)
        assert (answer, told.get("code")) == (status, code), told
        assert told["error"]
    assert send(of(url, "com.example/refused", "/versions"))[0] == 404
    assert send(where, "POST", good)[0] == 200  # none of them used the challenge up
    assert publish(url, entry(name="com.example/again"), manifest("com.example/again"))[0] == 200
    status, told = publish(url, entry(name="com.example/again"), manifest("com.example/again"))
    assert (status, told["code"]) == (409, "version-exists")
    for method in ("PUT", "DELETE"):
        status, told = send(of(url, "com.example/again", "/versions/1.0.0"), method, {} if method == "PUT" else None)
        assert (status, told["code"]) == (501, "no-such-operation")
    where = of(url, "com.example/again", "/versions/1.0.0/status")
    changes: list[tuple[int, str, Json]] = [
        (400, "invalid-status", {"status": "yanked"}), (400, "invalid-status", {}),
        (409, "no-change", {"status": "active"}),
        (400, "malformed-request", {"status": "deleted", "statusMessage": 3}),
        (401, "wrong-key", authorised({"status": "deleted"}, nonce="00" * 32, signature="AAAA")),
    ]  # fmt: skip
    for status, code, body in changes:
        answer, told = send(where, "PATCH", body)
        assert (answer, told.get("code")) == (status, code), told
    assert send(of(url, "com.example/nobody", "/status"), "PATCH", {"status": "deleted"})[1]["code"] == "no-server"


def test_only_programs_of_this_machine_write(url: str) -> None:
    body = {"receipts": ["00" * 32]}
    for path, method in (
        ("/v0.1/publish", "POST"),
        ("/v0.1/x/com.etmcp/log", "POST"),
        ("/v0.1/servers/a/status", "PATCH"),
    ):
        assert send(url + path, method, body, Host="rebound.example:80")[0] == 421
        assert send(url + path, method, body, Origin="https://page.example")[0] == 403
        assert send(url + path, method, body, Content_Type="text/plain")[0] == 400
    for path in ("/mcp", "/messages/"):
        assert send(url + path, "POST", {}, Host="rebound.example")[0] == 421
        assert send(url + path, "POST", {}, Origin="https://page.example")[0] == 403
    assert send(f"{url}/sse", Host="rebound.example")[0] == 421
    assert send(f"{url}/sse", Origin="https://page.example")[0] == 403
    assert send(f"{url}/v0.1/servers", Origin="https://page.example")[0] == 200  # reading is for anybody


def digests(word: str, count: int) -> list[str]:
    return [hashlib.sha256(f"{word} {number}".encode()).hexdigest() for number in range(count)]


def logged(url: str, receipts: object) -> tuple[int, Json]:
    return send(f"{url}/v0.1/x/com.etmcp/log", "POST", {"receipts": receipts})


def test_receipts_are_logged_once_and_proven_under_one_checkpoint(url: str) -> None:
    batch = digests("receipt", 256)
    status, first = logged(url, batch)
    assert status == 200
    assert [item["digest"] for item in first["entries"]] == batch
    status, again = logged(url, [*batch[:2], *digests("more", 2), batch[0], *digests("more", 1)])
    assert status == 200
    numbers = [item["index"] for item in again["entries"]]
    assert numbers[:2] == [item["index"] for item in first["entries"][:2]]
    assert numbers[4:] == [numbers[0], numbers[2]]
    for told in (first, again):
        checkpoint = open_checkpoint(told["checkpoint"].encode(), NoteKey.parse(told["log"]))
        for item in told["entries"]:
            hashes = [base64.b64decode(value) for value in item["hashes"]]
            leaf = Leaf("receipt", item["digest"]).encode()
            assert json.loads(leaf) == {"digest": item["digest"], "type": "receipt"}
            verify_inclusion(leaf_hash(leaf), item["index"], hashes, checkpoint)
    size = open_checkpoint(again["checkpoint"].encode(), NoteKey.parse(again["log"])).size
    for code, receipts in (
        ("oversized-batch", []), ("oversized-batch", digests("x", 257)), ("oversized-batch", "00" * 32),
        ("malformed-leaf", ["00"]), ("malformed-leaf", [*digests("x", 2), 3]), ("malformed-leaf", ["A" * 64]),
    ):  # fmt: skip
        assert logged(url, receipts)[1]["code"] == code
    _, told = logged(url, batch[:1])
    assert open_checkpoint(told["checkpoint"].encode(), NoteKey.parse(told["log"])).size == size


def test_receipts_outlive_the_process(tmp_path: Path) -> None:
    batch = digests("kept", 3)
    with registry(tmp_path) as url:
        _, before = logged(url, batch)
    with registry(tmp_path) as url:
        _, after = logged(url, batch)
    assert before == after
