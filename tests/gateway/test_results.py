"""Results are kept behind the calls, by policy; what a storage server does wrong is said and delays nobody."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from attest.canonical import canonical
from attest.encoding import salted
from gateway.results import MAX_WAITING, MAX_WAITING_BYTES, Keep, Results
from tests.attest import made
from tests.servers.storage.scene import Stage, stage

Json = dict[str, Any]
pytestmark = pytest.mark.anyio
OK: Json = {"isError": False}


def bundle(result: Json | None = None) -> tuple[str, bytes]:
    """A receipt id and its bundle; each is another call."""
    preimage = canonical(result or {"content": []})
    statement = replace(made.STATEMENT, nonce=secrets.token_hex(32), result_digest=salted(made.RESULT_SALT, preimage))
    kept = made.bundle(statement, result=preimage)
    return kept.receipt.receipt_id, kept.encode()


class Shelf:
    """What arrives at a storage server that answers as it is told."""

    def __init__(self, answer: Callable[[], Awaitable[Json]] | None = None) -> None:
        self.calls: list[tuple[str, Json, str]] = []
        self._answer = answer

    async def call(self, tool: str, arguments: Json, user: str) -> Json:
        self.calls.append((tool, arguments, user))
        return await self._answer() if self._answer else OK

    @property
    def paths(self) -> list[str]:
        return [arguments["path"] for _, arguments, _ in self.calls]


def results(shelf: Any, said: list[str], keep: Keep = "all") -> Results:
    return Results(shelf, {"it": keep}, said.append)


POLICIES: list[tuple[Keep, str, Json | None, bool]] = [
    ("all", "result", None, True),
    ("all", "error", {"code": -1, "message": "x"}, True),
    ("all", "input-required", {"resultType": "input_required"}, True),
    ("failed", "result", None, False),
    ("failed", "result", {"content": [], "isError": False}, False),
    ("failed", "result", {"content": [], "isError": True}, True),
    ("failed", "error", {"code": -1, "message": "x"}, True),
    ("failed", "input-required", {"resultType": "input_required"}, False),
    ("none", "result", {"content": [], "isError": True}, False),
    ("none", "error", {"code": -1, "message": "x"}, False),
]


@pytest.mark.parametrize(("policy", "outcome", "result", "kept"), POLICIES)
async def test_what_is_kept_follows_the_policy(policy: Keep, outcome: str, result: Json | None, kept: bool) -> None:
    shelf, said = Shelf(), list[str]()
    keeper = results(shelf, said, policy)
    receipt_id, data = bundle(result)
    await keeper.keep("it", data, outcome, "alice")
    await keeper.keep("other", data, outcome, "alice")  # a server that has no policy
    await keeper.close()
    text = {"text": data.decode(), "media_type": "application/json", "if_version": 0}
    expected = ("storage_put", {"path": f"results/{receipt_id}.json", **text}, "alice")
    assert shelf.calls == ([expected] if kept else [])
    assert (keeper.kept, keeper.failed, said) == (int(kept), 0, [])


async def test_a_storage_server_that_hangs_delays_nobody_and_its_end_is_bounded() -> None:
    never = asyncio.Event()

    async def hang() -> Json:
        await never.wait()
        return OK

    shelf, said = Shelf(hang), list[str]()
    keeper = results(shelf, said)
    for _ in range(5):
        await keeper.keep("it", bundle()[1], "result", "alice")  # returns, although nothing is ever stored
    await keeper.close(0.01)
    assert (keeper.kept, keeper.failed) == (0, 5)
    assert said == ["5 results were not kept in the storage server; their receipts are in this gateway"]
    await keeper.keep("it", bundle()[1], "result", "alice")
    assert keeper.failed == 6


async def test_what_waits_is_drained_at_the_end_in_order() -> None:
    shelf, said = Shelf(), list[str]()
    keeper = results(shelf, said)
    wanted = [bundle() for _ in range(50)]
    for _, data in wanted:
        await keeper.keep("it", data, "result", "alice")
    assert not shelf.calls  # nothing was done yet in the caller's time
    await keeper.close()
    assert shelf.paths == [f"results/{receipt_id}.json" for receipt_id, _ in wanted]
    assert (keeper.kept, keeper.failed, said) == (50, 0, [])


async def test_the_queue_is_bounded_in_number_and_bytes() -> None:
    shelf, said = Shelf(), list[str]()
    keeper = results(shelf, said)
    _, data = bundle()
    for _ in range(MAX_WAITING + 3):
        await keeper.keep("it", data, "result", "alice")
    assert keeper.failed == 3
    await keeper.close()
    assert len(shelf.calls) == MAX_WAITING
    keeper = results(shelf, said)
    await keeper.keep("it", bytes(MAX_WAITING_BYTES + 1), "result", "alice")
    assert keeper.failed == 1
    assert len(said) == 3
    assert "too many results wait" in said[0]


async def refused() -> Json:
    return {"isError": True, "structuredContent": {"error": {"code": "quota", "message": "no\nmore"}}}


async def broken() -> Json:
    raise OSError(5, "gone")


async def nonsense() -> Json:
    return {"structuredContent": [1]}


@pytest.mark.parametrize(
    ("answer", "why"), [(refused, "quota: no more"), (broken, "gone"), (nonsense, "something else than a result")]
)
async def test_failures_are_counted_and_said_in_one_line(answer: Any, why: str) -> None:
    shelf, said = Shelf(answer), list[str]()
    keeper = results(shelf, said)
    for _ in range(20):
        await keeper.keep("it", bundle()[1], "result", "alice")
    await keeper.close()
    assert (keeper.kept, keeper.failed, len(shelf.calls)) == (0, 20, 20)
    assert len(said) == 2  # a server that is down is not said twenty times
    assert why in said[0]
    assert "20 results" in said[1]
    assert not any("\n" in line for line in said)


async def test_a_bundle_that_is_none_fails_alone() -> None:
    shelf, said = Shelf(), list[str]()
    keeper = results(shelf, said)
    await keeper.keep("it", b"{}", "result", "alice")
    await keeper.keep("it", bundle()[1], "result", "alice")
    await keeper.close()
    assert (keeper.kept, keeper.failed) == (1, 1)


class Real:
    """The storage server itself, as the gateway will call it: an assertion for each request."""

    def __init__(self, client: Client, scene: Stage) -> None:
        self._client, self._scene = client, scene

    async def call(self, tool: str, arguments: Json, user: str) -> Json:
        meta = self._scene.gateway.calling(user, tool, arguments)
        result = await self._client.call_tool(tool, arguments, meta=meta)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def test_a_kept_result_is_read_by_its_receipt_id_by_its_user_alone(tmp_path: Path) -> None:
    said: list[str] = []
    async with stage(tmp_path) as scene, Client(scene.server, cache=None) as client:
        keeper = results(Real(client, scene), said)
        receipt_id, data = bundle({"content": [{"type": "text", "text": "kept"}]})
        await keeper.keep("it", data, "result", "alice")
        await keeper.keep("it", data, "result", "alice")  # twice is once
        await keeper.close()
        assert (keeper.kept, keeper.failed) == (1, 1)
        assert "conflict" in said[0]
        real = Real(client, scene)
        got = await real.call("storage_result", {"receipt_id": receipt_id}, "alice")
        assert got["structuredContent"]["label"] == "self-consistent, untrusted"
        assert "kept" in got["structuredContent"]["result"]
        got = await real.call("storage_result", {"receipt_id": receipt_id}, "bob")
        assert got["structuredContent"]["error"]["code"] == "not-found"
