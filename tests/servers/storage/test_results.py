"""A stored result is given only if its bundle still holds, and it says whether that leads to a trusted root."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents

from attest.bundle import Bundle
from attest.canonical import canonical
from attest.encoding import salted
from servers.storage.store import Content
from tests.attest import made
from tests.servers.storage.scene import NO_ROOTS, START, Stage, stage
from tests.servers.verifier.scene import OWN

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
GOOD = made.bundle()
ID = GOOD.receipt.receipt_id
OTHER = made.bundle(replace(made.STATEMENT, sequence=2))
OBSERVED = made.observed_bundle()
PATH, VIEW = f"results/{ID}.json", f"etmcp://alice/results/{ID}"


async def tool(client: Client, scene: Stage, receipt_id: str = ID, user: str = "alice") -> Json:
    """What `storage_result` says."""
    arguments = {"receipt_id": receipt_id}
    meta = scene.gateway.calling(user, "storage_result", arguments)
    return (await client.call_tool("storage_result", arguments, meta=meta)).structured_content or {}


async def read(client: Client, scene: Stage, uri: str = VIEW, user: str = "alice") -> TextResourceContents:
    meta = scene.gateway.meta(user, "resources/read", uri=uri)
    (content,) = (await client.read_resource(uri, meta=meta)).contents
    assert isinstance(content, TextResourceContents)
    return content


async def put(scene: Stage, data: bytes, receipt_id: str = ID) -> None:
    """Into the store itself, as whoever can write there would."""
    await scene.store.put("alice", f"results/{receipt_id}.json", Content(data, "application/json", is_text=False))


@pytest.mark.parametrize(
    ("roots", "label", "outcome", "assurance"),
    [(OWN, "verified", "verified", "software"), (NO_ROOTS, "self-consistent, untrusted", "untrusted", "none")],
)
async def test_the_tool_and_the_resource_give_the_result_and_the_verdict(
    tmp_path: Path, roots: Any, label: str, outcome: str, assurance: str
) -> None:
    async with stage(tmp_path, roots=roots) as scene, Client(scene.server, cache=None) as client:
        await put(scene, GOOD.encode())
        told = await tool(client, scene)
        content = await read(client, scene)
        meta = content.meta or {}
        assert told["result"] == content.text == made.RESULT.decode()
        assert content.mime_type == "application/json"
        for said in (told, meta):
            assert (said["label"], said["receiptId"], said["outcome"]) == (label, ID, "result")
            assert (said["verdict"]["outcome"], said["verdict"]["assurance"]) == (outcome, assurance)
            assert [step["step"] for step in said["verdict"]["steps"]] == list(range(1, 11))
            assert said["roots"] == roots.told
        assert (meta["version"], told["createdAt"]) == (1, START)
        raw = await read_bytes(client, scene)
        assert raw == GOOD.encode()  # the bundle itself, for etmcp-verify


async def read_bytes(client: Client, scene: Stage) -> bytes:
    uri = f"{VIEW}.json"
    meta = scene.gateway.meta("alice", "resources/read", uri=uri)
    (content,) = (await client.read_resource(uri, meta=meta)).contents
    return base64.b64decode(content.model_dump()["blob"])


async def test_an_observers_result_is_read_too(tmp_path: Path) -> None:
    async with stage(tmp_path, roots=OWN) as scene, Client(scene.server, cache=None) as client:
        receipt_id = OBSERVED.receipt.receipt_id
        await put(scene, OBSERVED.encode(), receipt_id)
        told = await tool(client, scene, receipt_id)
        # This policy asks for assurance software, which an observer never has.
        assert told["error"]["code"] == "refused"
        assert told["error"]["verdict"]["steps"][9]["code"] == "policy"


def member(name: str, value: Any) -> Callable[[], bytes]:
    """The good bundle in canonical form, with one member replaced."""
    return lambda: canonical({**json.loads(GOOD.encode()), name: value})


def signature() -> bytes:
    told = json.loads(GOOD.encode())
    signed = told["receipt"]["envelope"]["signatures"][0]
    raw = base64.b64decode(signed["sig"])
    signed["sig"] = base64.b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode()
    return canonical(told)


def other_key() -> bytes:
    """Signed again by somebody else, under a key that the evidence does not bind."""
    envelope = made.sign(made.STATEMENT.encode(), name="stranger")
    return made.bundle(receipt=replace(GOOD.receipt, envelope=envelope)).encode()


TAMPERED: list[tuple[str, Callable[[], bytes], str]] = [
    ("another result", lambda: replace(GOOD, result=b'{"content":[]}').encode(), "result [result]"),
    ("other params", lambda: replace(GOOD, params=b"{}").encode(), "params [params]"),
    ("another salt of the params", lambda: replace(GOOD, params_salt=bytes(32)).encode(), "params [params]"),
    ("another salt of the result", member("receipt", {**GOOD.receipt.to_json(), "resultSalt": "00" * 32}), "result"),
    ("one bit of the signature", signature, "signature [signature]"),
    ("another signer", other_key, "signature [signature]"),
    (
        "a statement that says more",
        lambda: made.bundle(replace(made.STATEMENT, target="sub")).encode(),
        "another receipt",
    ),
    ("the genuine bundle of another receipt", OTHER.encode, "another receipt"),
    ("an observer's receipt in its place", OBSERVED.encode, "policy"),
    ("no evidence", member("evidence", None), "bundle [malformed]"),
    ("both speakers", member("observer", made.raw("observer").hex()), "bundle [malformed]"),
    ("an unknown member", member("more", 1), "bundle [malformed]"),
    ("another format", member("format", "https://etmcp.com/bundle/v2"), "bundle [malformed]"),
    ("another spelling", lambda: GOOD.encode() + b"\n", "bundle [malformed]"),
    ("cut short", lambda: GOOD.encode()[:-1], "bundle [malformed]"),
    ("nothing", lambda: b"", "bundle [malformed]"),
    ("no JSON", lambda: b"\xff", "bundle [malformed]"),
    ("the bare result", lambda: made.RESULT, "bundle [malformed]"),
    ("from the future", lambda: made.bundle(replace(made.STATEMENT, finished_at=START + 120_000)).encode(), ""),
]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in TAMPERED], ids=[row[0] for row in TAMPERED])
async def test_a_bundle_that_fails_is_reported_and_never_given_as_a_result(
    tmp_path: Path, change: Callable[[], bytes], said: str
) -> None:
    data = change()
    assert data != GOOD.encode()
    async with stage(tmp_path, roots=OWN) as scene, Client(scene.server, cache=None) as client:
        await put(scene, data)
        told = await tool(client, scene)
        assert set(told) == {"error"}
        error = told["error"]
        assert error["code"] == "refused"
        assert said in error["message"]
        assert "result" not in {*error["verdict"]} - {"steps"}
        with pytest.raises(MCPError) as refused:
            await read(client, scene)
        assert refused.value.error.data == {"uri": VIEW, "code": "refused", "verdict": error["verdict"]}
        for shown in (json.dumps(told), str(refused.value.error)):
            assert '"content"' not in shown.replace("\\", "")


async def test_a_signed_result_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A digest covers bytes, whatever they are; nobody gets any that are not JSON text out of here."""
    result = b"\xff\xfe"
    bundle = made.bundle(replace(made.STATEMENT, result_digest=salted(made.RESULT_SALT, result)), result=result)
    async with stage(tmp_path, roots=OWN) as scene, Client(scene.server, cache=None) as client:
        await put(scene, bundle.encode(), bundle.receipt.receipt_id)
        told = await tool(client, scene, bundle.receipt.receipt_id)
        assert told["error"]["message"] == "the result in the stored bundle is not text"


async def test_evidence_of_a_stranger_leaves_it_untrusted(tmp_path: Path) -> None:
    """Sound in itself under a key that nobody here trusts: told as that, whatever else this server trusts."""
    bundle = made.bundle(speaker=(made.evidence(attester="stranger"), made.BINDING))
    async with stage(tmp_path, roots=OWN) as scene, Client(scene.server, cache=None) as client:
        await put(scene, bundle.encode())
        told = await tool(client, scene)
        assert (told["label"], told["verdict"]["assurance"]) == ("self-consistent, untrusted", "none")


async def test_what_is_not_there_or_not_theirs_is_answered_as_everywhere(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene, Client(scene.server, cache=None) as client:
        await put(scene, GOOD.encode())
        refusals: set[str] = set()
        for user, receipt_id in (("bob", ID), ("alice", "0" * 64), ("nobody", ID)):
            told = await tool(client, scene, receipt_id, user)
            refusals.add(json.dumps(told))
            uri = f"etmcp://alice/results/{receipt_id}"
            with pytest.raises(MCPError) as refused:
                await read(client, scene, uri, user)
            refusals.add(refused.value.error.message.replace(uri, "URI"))
        assert len(refusals) == 2
        for wrong in ("", "x" * 64, ID.upper(), f"{ID}.json"):
            assert (await tool(client, scene, wrong))["error"]["code"] == "arguments"


async def test_nothing_is_stored_where_results_are_read(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene, Client(scene.server, cache=None) as client:
        arguments = {"path": f"results/{ID}", "text": "forged"}
        meta = scene.gateway.calling("alice", "storage_put", arguments)
        told = (await client.call_tool("storage_put", arguments, meta=meta)).structured_content
        assert told is not None
        assert told["error"]["code"] == "name"


def test_the_good_bundle_is_good() -> None:
    assert Bundle.decode(GOOD.encode()) == GOOD
    assert made.verify(GOOD.encode()).outcome == "verified"
