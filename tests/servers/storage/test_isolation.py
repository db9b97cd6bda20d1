"""A hundred users at once: nobody learns another's name, size, or even that they have something.

Names and sizes by what each user is told, every byte of it. Existence by construction and not by a clock: the look-up
of what is another's runs the same statements, and ends in the same bytes, as that of what nobody has.
"""

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CompleteRequest, CompleteRequestParams, CompleteResult

from servers.storage.store import Quota
from servers.storage.uris import TEMPLATE, uri_of
from tests.servers.storage.scene import Stage, stage, text

pytestmark = pytest.mark.anyio
USERS = [f"user{number:03}" for number in range(100)]


async def refusal(client: Client, scene: Stage, user: str, uri: str) -> tuple[int, str, Any]:
    """What a user is told who reads what is not theirs; the URI that they gave themselves taken out."""
    with pytest.raises(MCPError) as refused:
        await client.read_resource(uri, meta=scene.gateway.meta(user, "resources/read", uri=uri))
    error = refused.value.error
    return error.code, error.message.replace(uri, "URI"), str(error.data).replace(uri, "URI")


async def asked(client: Client, scene: Stage, user: str, tool: str, **arguments: Any) -> Any:
    """The structured result of a tool."""
    return (
        await client.call_tool(tool, arguments, meta=scene.gateway.calling(user, tool, arguments))
    ).structured_content


async def live(client: Client, scene: Stage, number: int, refusals: list[tuple[int, str, Any]]) -> None:
    """One user's day: their own things are there, nobody else's are."""
    user, victim = USERS[number], USERS[(number + 1) % len(USERS)]
    own = {f"private/{user}/{part}": f"{user}'s {part}" * (number + 1) for part in range(3)} | {"shared": user}
    for path, said in own.items():
        await asked(client, scene, user, "storage_put", path=path, text=said)
        listed = await asked(client, scene, user, "storage_list")
        assert {entry["path"] for entry in listed["objects"]} <= set(own)
    for path, said in own.items():
        got = await asked(client, scene, user, "storage_get", path=path)
        assert (got["text"], got["size"]) == (said, len(said.encode()))
    for path in ("shared", f"private/{victim}/0", "shared?version=1", "never"):
        refusals.append(await refusal(client, scene, user, f"etmcp://{victim}/{path}"))
    refusals.append(await refusal(client, scene, user, f"etmcp://{user}/never"))
    refusals.append(await refusal(client, scene, user, "etmcp://nobody/shared"))
    refusals.append(await refusal(client, scene, user, f"etmcp://{user}/../{victim}/shared"))
    resources = (await client.list_resources(meta=scene.gateway.meta(user, "resources/list"))).resources
    assert [resource.uri for resource in resources] == [uri_of(user, path) for path in sorted(own)]
    for path in (f"//{victim}/shared", f"../{victim}/shared", f"etmcp://{victim}/shared", f"private/{victim}/0"):
        for tool in ("storage_get", "storage_history", "storage_delete"):
            told = await asked(client, scene, user, tool, path=path)
            assert told == {"error": {"code": "not-found", "message": "there is no such object or version"}}


async def test_a_hundred_users_at_once_see_only_what_is_theirs(tmp_path: Path) -> None:
    refusals: list[tuple[int, str, Any]] = []
    async with stage(tmp_path) as scene, Client(scene.server, cache=None) as client:
        async with anyio.create_task_group() as tasks:
            for number in range(len(USERS)):
                tasks.start_soon(live, client, scene, number, refusals)
        assert len(refusals) == 7 * len(USERS)
        assert len(set(refusals)) == 1, set(refusals)
        for user in USERS:
            assert (await asked(client, scene, user, "storage_list"))["total"] == 4


async def day(client: Client, scene: Stage, number: int, told: list[str]) -> None:
    """Everything that a user can be told, as text: lists, pages, completions, histories, results and refusals."""
    user, gateway = USERS[number], scene.gateway
    await asked(client, scene, user, "storage_put", path=name_of(number), text="x" * size_of(number))
    for tool, arguments in (
        ("storage_list", {}),
        ("storage_list", {"prefix": "name-"}),
        ("storage_list", {"after": name_of(number - 1)}),
        ("storage_history", {"path": name_of(number)}),
        ("storage_put", {"path": name_of(number), "text": "y", "if_version": 1}),
        ("storage_put", {"path": name_of(number), "text": "z", "if_version": 7}),
        ("storage_put", {"path": "big", "text": "x" * 4001}),
        ("storage_get", {"path": name_of(number + 1)}),
        ("storage_delete", {"path": "none"}),
    ):
        result = await client.call_tool(tool, arguments, meta=gateway.calling(user, tool, arguments))
        told.append(result.model_dump_json())
    told.append((await client.list_resources(meta=gateway.meta(user, "resources/list"))).model_dump_json())
    for argument in ({"name": "path", "value": ""}, {"name": "path", "value": "name-"}, {"name": "user", "value": ""}):
        said: dict[str, Any] = {"ref": {"type": "ref/resource", "uri": TEMPLATE}, "argument": argument}
        meta = gateway.meta(user, "completion/complete", **said)
        params = CompleteRequestParams.model_validate({**said, "_meta": meta})
        answer = await client.session.send_request(CompleteRequest(params=params), CompleteResult)
        told.append(answer.model_dump_json())


def name_of(number: int) -> str:
    return f"name-{number * 7919:06}"


def size_of(number: int) -> int:
    """A size that no other user has, and that no version, time or limit is."""
    return 2003 + 17 * number


async def test_nothing_that_a_user_is_told_holds_a_name_or_a_size_of_another(tmp_path: Path) -> None:
    told: dict[str, list[str]] = {user: [] for user in USERS}
    quota = Quota(total_bytes=4000, objects=3, versions=3, object_bytes=4000)
    async with (
        stage(tmp_path, quota=quota) as scene,
        Client(scene.server, cache=None) as client,
        anyio.create_task_group() as tasks,
    ):
        for number, user in enumerate(USERS):
            tasks.start_soon(day, client, scene, number, told[user])
    for number, user in enumerate(USERS):
        heard = "\n".join(told[user])
        assert len(told[user]) == 13
        words = set(re.findall(r"[A-Za-z0-9_-]+", heard))
        assert {user, name_of(number), str(size_of(number))} <= words  # the net catches what is there
        for other, someone in enumerate(USERS):
            if other != number:
                assert not {someone, name_of(other), str(size_of(other))} & words, (user, someone)


async def test_what_others_have_costs_the_same_statements_and_bytes_as_what_nobody_has(tmp_path: Path) -> None:
    """Every way to ask for one object: the statements that the database runs, and the answer but for what was asked."""
    receipt = "0" * 64
    done: list[str] = []
    async with stage(tmp_path) as scene, Client(scene.server, cache=None) as client:
        for path in ("a", f"results/{receipt}.json"):
            await scene.store.put("bob", path, text("bob's"))
        await scene.store.put("alice", "own", text("alice's"))
        connection = scene.store._worker._connection  # pyright: ignore[reportPrivateUsage]
        connection.set_trace_callback(done.append)

        def ran() -> tuple[str, ...]:
            lines = tuple(re.sub(r"= (x?'[^']*'|\d+)", "= ?", line, flags=re.IGNORECASE) for line in done)
            done.clear()
            return lines

        reads: set[tuple[Any, ...]] = set()
        for uri in ("bob/a", "bob/none", "alice/none", "nobody/a", "%zz", f"bob/results/{receipt}", "bob/a?version=1"):
            told = await refusal(client, scene, "alice", f"etmcp://{uri}")
            reads.add((told, ran()))
        told = await refusal(client, scene, "alice", f"etmcp://alice/results/{receipt}")
        reads.add((told, ran()))
        calls: dict[str, set[tuple[Any, ...]]] = {}
        for path in ("a", "none", "//bob/a", "../bob/a", "etmcp://bob/a"):
            for tool in ("storage_get", "storage_history", "storage_delete"):
                answer = await asked(client, scene, "alice", tool, path=path)
                calls.setdefault(tool, set()).add((str(answer), ran()))
        for receipt_id in (receipt, "1" * 64):
            answer = await asked(client, scene, "alice", "storage_result", receipt_id=receipt_id)
            calls.setdefault("storage_result", set()).add((str(answer), ran()))
        connection.set_trace_callback(None)
    assert len(reads) == 1, reads
    assert {tool: len(seen) for tool, seen in calls.items()} == dict.fromkeys(calls, 1), calls
    assert all(statements for _, statements in (*reads, *calls["storage_get"]))
