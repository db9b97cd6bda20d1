"""A hundred users at once: nobody learns a name, a size, or even that somebody else has something."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from servers.storage.uris import uri_of
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


async def test_what_others_have_costs_the_same_statements_as_what_nobody_has(tmp_path: Path) -> None:
    done: list[str] = []
    async with stage(tmp_path) as scene, Client(scene.server, cache=None) as client:
        for user in ("alice", "bob"):
            await scene.store.put(user, "a", text(f"{user}'s"))
        connection = scene.store._worker._connection  # pyright: ignore[reportPrivateUsage]
        connection.set_trace_callback(done.append)
        seen: set[Sequence[str]] = set()
        for uri in ("etmcp://bob/a", "etmcp://bob/none", "etmcp://alice/none", "etmcp://nobody/a", "etmcp://%zz"):
            done.clear()
            await refusal(client, scene, "alice", uri)
            seen.add(tuple(line.partition("path = ")[0] for line in done))
        connection.set_trace_callback(None)
    assert len(seen) == 1, seen
