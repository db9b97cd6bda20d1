"""The MCP surface through the SDK's own client, in both eras."""

import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    BlobResourceContents,
    CompleteRequest,
    CompleteRequestParams,
    CompleteResult,
    EmptyResult,
    SubscribeRequest,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsListenRequest,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextResourceContents,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from attest.identity import META, Request, sign_assertion
from servers.storage.identity import SingleUser
from servers.storage.store import Quota
from servers.storage.uris import RESULT_TEMPLATE, TEMPLATE, VERSION_TEMPLATE
from tests.servers.storage.ear import Ear
from tests.servers.storage.scene import START, Stage, stage, text

pytestmark = pytest.mark.anyio
Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with stage(tmp_path, quota=Quota(total_bytes=5000, objects=8, versions=3, object_bytes=2000)) as scene:
        yield scene


NAMES = ("put", "get", "list", "delete", "history", "result")


class As:
    """A client that calls as one user."""

    def __init__(self, client: Client, scene: Stage, user: str) -> None:
        self.client, self._scene, self._user = client, scene, user

    def meta(self, method: str, **params: Any) -> Any:
        return self._scene.gateway.meta(self._user, method, **params)

    async def read(self, uri: str) -> TextResourceContents | BlobResourceContents:
        """The one content of a resource."""
        (content,) = (await self.client.read_resource(uri, meta=self.meta("resources/read", uri=uri))).contents
        return content

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured result, with the code of an error."""
        meta = self._scene.gateway.calling(self._user, tool, arguments)
        result = await self.client.call_tool(tool, arguments, meta=meta)
        assert result.structured_content is not None
        assert (set(result.structured_content) == {"error"}) == result.is_error
        (block,) = result.content
        assert block.type == "text"
        if not result.is_error:
            assert json.loads(block.text) == result.structured_content
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        return (await self.call(tool, **arguments))["error"]["code"]

    async def paths(self) -> list[str]:
        return [
            resource.name for resource in (await self.client.list_resources(meta=self.meta("resources/list"))).resources
        ]


@asynccontextmanager
async def alice(scene: Stage, era: Era, ear: Ear | None = None) -> AsyncGenerator[As]:
    async with Client(scene.server, mode=era, message_handler=ear, cache=None) as client:
        yield As(client, scene, "alice")


async def test_tools_are_flat_titled_and_honest(scene: Stage) -> None:
    async with alice(scene, "auto") as me:
        tools = (await me.client.list_tools()).tools
    assert [tool.name for tool in tools] == [f"storage_{name}" for name in NAMES]
    for tool in tools:
        written = json.dumps(tool.input_schema)
        assert not {"$ref", "$defs", "anyOf", "oneOf", "null", "default"} & set(written.replace('"', " ").split())
        for told in tool.input_schema["properties"].values():
            assert isinstance(told["type"], str)
            assert told["description"]
        assert tool.title
        hints = tool.annotations
        assert hints is not None
        assert hints.read_only_hint == (tool.name not in {"storage_put", "storage_delete"})
        assert hints.destructive_hint != hints.read_only_hint
        assert hints.idempotent_hint == (tool.name != "storage_put")
        assert hints.open_world_hint is False


@pytest.mark.parametrize("era", ERAS)
async def test_objects_through_the_tools(scene: Stage, era: Era) -> None:
    async with alice(scene, era) as me:
        first = await me.call("storage_put", path="notes/ä b.md", text="eins", media_type="text/markdown")
        assert first["created"] is True
        assert first["uri"] == "etmcp://alice/notes/%C3%A4%20b.md"
        second = await me.call("storage_put", path="notes/ä b.md", text="zwei", if_version=first["version"])
        assert second["created"] is False
        assert (
            await me.refused("storage_put", path="notes/ä b.md", text="drei", if_version=first["version"]) == "conflict"
        )
        assert await me.refused("storage_put", path="notes/ä b.md", text="drei", if_version=0) == "conflict"
        assert (await me.call("storage_get", path="notes/ä b.md"))["text"] == "zwei"
        old = await me.call("storage_get", path="notes/ä b.md", version=first["version"])
        assert (old["text"], old["mediaType"]) == ("eins", "text/markdown")
        history = await me.call("storage_history", path="notes/ä b.md")
        assert [entry["version"] for entry in history["versions"]] == [second["version"], first["version"]]
        blob = base64.b64encode(bytes(range(256))).decode()
        await me.call("storage_put", path="blob", base64=blob, expires_in=10)
        got = await me.call("storage_get", path="blob")
        assert (got["base64"], got["size"], got["expiresAt"]) == (blob, 256, START + 10_000)
        listed = await me.call("storage_list", limit=1)
        assert ([entry["path"] for entry in listed["objects"]], listed["next"], listed["total"]) == (
            ["blob"],
            "blob",
            2,
        )
        listed = await me.call("storage_list", after="blob")
        assert [entry["path"] for entry in listed["objects"]] == ["notes/ä b.md"]
        scene.clock.now += 10_000
        assert await me.refused("storage_get", path="blob") == "not-found"
        await me.call("storage_delete", path="notes/ä b.md", if_version=second["version"])
        for tool in ("storage_get", "storage_delete", "storage_history"):
            assert await me.refused(tool, path="notes/ä b.md") == "not-found"
        again = await me.call("storage_put", path="notes/ä b.md", text="neu", if_version=0)
        assert again["version"] > second["version"]


async def test_what_is_refused_says_why(scene: Stage) -> None:
    async with alice(scene, "auto") as me:
        for path in ("", "/a", "a//b", "a/", "a/../b", ".", "a\nb", "a\0", "x" * 513):
            assert await me.refused("storage_put", path=path, text="x") == "name"
        assert await me.refused("storage_put", path="a", text="x", media_type="a\r\nb/c") == "name"
        assert await me.refused("storage_put", path="a", text="x" * 2001) == "too-large"
        for wrong in ({}, {"text": "x", "base64": "eA=="}, {"base64": "%"}, {"text": 1}, {"text": "x", "user": "bob"}):
            assert await me.refused("storage_put", path="a", **wrong) == "arguments"
        assert await me.refused("storage_put", path="a", text="x", expires_in=0) == "arguments"
        assert await me.refused("storage_put", path="a", text="x", if_version=True) == "arguments"
        assert await me.refused("storage_get") == "arguments"
        for number in range(8):
            await me.call("storage_put", path=str(number), text="x")
        assert await me.refused("storage_put", path="8", text="x") == "quota"
        for _ in range(2):
            await me.call("storage_put", path="0", text="x" * 2000)
        assert await me.refused("storage_put", path="0", text="x" * 2000) == "quota"
        with pytest.raises(MCPError, match="no tool"):
            await me.client.call_tool("storage_read", {})


@pytest.mark.parametrize("era", ERAS)
async def test_resources_templates_and_completion(scene: Stage, era: Era) -> None:
    async with alice(scene, era) as me:
        one = await me.call("storage_put", path="notes/one", text="1")
        await me.call("storage_put", path="notes/one", text="2", expires_in=60)
        await me.call("storage_put", path="raw", base64="AAE=", media_type="image/png")
        listed = (await me.client.list_resources(meta=me.meta("resources/list"))).resources
        assert [(r.uri, r.name, r.mime_type, r.size) for r in listed] == [
            ("etmcp://alice/notes/one", "notes/one", "text/plain", 1),
            ("etmcp://alice/raw", "raw", "image/png", 2),
        ]
        read = await me.read("etmcp://alice/notes/one")
        assert isinstance(read, TextResourceContents)
        assert (read.text, (read.meta or {})["expiresAt"]) == ("2", START + 60_000)
        old = f"etmcp://alice/notes/one?version={one['version']}"
        read = await me.read(old)
        assert isinstance(read, TextResourceContents)
        assert (read.text, read.uri) == ("1", old)
        read = await me.read("etmcp://alice/raw")
        assert isinstance(read, BlobResourceContents)
        assert (read.blob, read.mime_type) == ("AAE=", "image/png")
        templates = (await me.client.list_resource_templates()).resource_templates
        assert {TEMPLATE, VERSION_TEMPLATE, RESULT_TEMPLATE} < {template.uri_template for template in templates}

        async def complete(name: str, typed: str, **known: str) -> list[str]:
            return (await ask_completion(me.client, me.meta, name, typed, known)).completion.values

        assert await complete("user", "") == await complete("user", "al") == ["alice"]
        assert await complete("user", "b") == []
        assert await complete("path", "no", user="alice") == ["notes/one"]
        assert await complete("path", "") == ["notes/one", "raw"]
        assert await complete("path", "", user="bob") == []
        assert await complete("version", "", user="alice", path="notes/one") == ["2", "1"]
        assert await complete("version", "", user="alice", path="none") == []
        receipts = [f"{number}" * 64 for number in range(3)]
        for name in (*(f"{receipt}.json" for receipt in receipts), "0.json", f"{receipts[0]}.txt"):
            await scene.store.put("alice", f"results/{name}", text("x"))
        assert await complete("receiptId", "") == receipts
        assert await complete("receiptId", "11") == receipts[1:2]
        assert await complete("receiptId", "", user="bob") == []


async def ask_completion(
    client: Client, meta: Callable[..., Any], name: str, typed: str, known: dict[str, str]
) -> CompleteResult:
    said: dict[str, Any] = {
        "ref": {"type": "ref/resource", "uri": VERSION_TEMPLATE},
        "argument": {"name": name, "value": typed},
        "context": {"arguments": known},
    }
    params = CompleteRequestParams.model_validate({**said, "_meta": meta("completion/complete", **said)})
    return await client.session.send_request(CompleteRequest(params=params), CompleteResult)


async def test_a_long_list_comes_in_pages(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene, alice(scene, "auto") as me:
        async with anyio.create_task_group() as tasks:
            for number in range(450):
                tasks.start_soon(lambda n=number: me.call("storage_put", path=f"{n:03}", text="x"))
        names: list[str] = []
        cursor: str | None = None
        pages = 0
        while pages == 0 or cursor:
            where = {"cursor": cursor} if cursor else {}
            page = await me.client.list_resources(cursor=cursor, meta=me.meta("resources/list", **where))
            names += [resource.name for resource in page.resources]
            cursor, pages = page.next_cursor, pages + 1
        assert (names, pages) == ([f"{number:03}" for number in range(450)], 3)


A, B = "etmcp://alice/a", "etmcp://bob/a"


async def test_changes_are_told_in_the_modern_era_to_their_user_alone(scene: Stage) -> None:
    asked = SubscriptionFilter(resources_list_changed=True, resource_subscriptions=[A, B])
    with Ear() as ear:
        async with alice(scene, "auto", ear) as me, anyio.create_task_group() as tasks:
            assert subscribable(me) == (True, True)
            said = {"resourcesListChanged": True, "resourceSubscriptions": [A, B]}
            meta = me.meta("subscriptions/listen", notifications=said)
            params = SubscriptionsListenRequestParams(notifications=asked, _meta=meta)
            listen = SubscriptionsListenRequest(params=params)
            tasks.start_soon(me.client.session.send_request, listen, SubscriptionsListenResult)
            await ear.hears("acknowledged")
            bob = As(me.client, scene, "bob")
            await bob.call("storage_put", path="a", text="1")  # nobody hears of it
            await me.call("storage_put", path="a", text="1")
            await ear.hears(A, "list")
            await me.call("storage_put", path="a", text="2")
            await me.call("storage_delete", path="a")
            await ear.hears(A, A, "list")
            await me.call("storage_put", path="b", text="1", expires_in=10)
            await ear.hears("list")
            scene.clock.now += 10_000
            await scene.server.expire(await scene.store.sweep(), scene.store.tag)
            await ear.hears("list")
            await bob.call("storage_delete", path="a")
            await me.call("storage_put", path="a", text="1")
            await ear.hears(A, "list")
            assert ear.waiting == 0
            tasks.cancel_scope.cancel()
        assert scene.server.feeds.users == set()


async def test_changes_are_told_in_the_legacy_era_to_their_user_alone(scene: Stage) -> None:
    with Ear() as mine, Ear() as others:
        async with alice(scene, "legacy", mine) as me, alice(scene, "legacy", others) as other:
            bob = As(other.client, scene, "bob")
            assert subscribable(me) == (True, True)
            for uri in (A, B):
                params = SubscribeRequestParams(uri=uri, _meta=me.meta("resources/subscribe", uri=uri))
                await me.client.session.send_request(SubscribeRequest(params=params), EmptyResult)
            await bob.call("storage_put", path="a", text="1")
            await others.hears("list of bob")
            await me.call("storage_put", path="a", text="1")
            await me.call("storage_put", path="a", text="2")
            await me.call("storage_put", path="b", text="2")
            await mine.hears(A, "list of alice", A, "list of alice")
            params = UnsubscribeRequestParams(uri=A, _meta=me.meta("resources/unsubscribe", uri=A))
            await me.client.session.send_request(UnsubscribeRequest(params=params), EmptyResult)
            await me.call("storage_delete", path="a")
            await mine.hears("list of alice")
            await bob.call("storage_delete", path="a")
            await others.hears("list of bob")
            assert (mine.waiting, others.waiting) == (0, 0)
    assert scene.server.feeds.users == set()


def subscribable(me: As) -> tuple[bool | None, bool | None]:
    assert me.client.server_capabilities is not None
    resources = me.client.server_capabilities.resources
    assert resources is not None
    return resources.subscribe, resources.list_changed


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_is_done_for_nobody(scene: Stage, era: Era) -> None:
    gateway = scene.gateway
    request = Request("resources/list", {})
    elsewhere: Any = {META: sign_assertion(gateway.key, "alice", "other", request, now=START)}
    refused: dict[str, Callable[[], Any]] = {
        "missing": lambda: None,
        "audience": lambda: elsewhere,
        "request": lambda: gateway.meta("alice", "resources/list", cursor="MDE="),
    }
    async with alice(scene, era) as me:
        client = me.client
        for code, meta in refused.items():
            for ask in (
                lambda: client.call_tool("storage_list", {}, meta=meta()),  # noqa: B023
                lambda: client.list_resources(meta=meta()),  # noqa: B023
                lambda: client.read_resource("etmcp://alice/a", meta=meta()),  # noqa: B023
                lambda: ask_completion(client, lambda *_, **__: meta(), "path", "", {}),  # noqa: B023
            ):
                await told(ask, code)


async def told(ask: Callable[[], Awaitable[object]], code: str) -> None:
    """The request is refused for this reason."""
    with pytest.raises(MCPError, match="identity refused") as refused:
        await ask()
    assert refused.value.error.data == {META: code}


async def test_an_assertion_stands_beside_no_other_request_also_where_it_subscribes(scene: Stage) -> None:
    """Whoever carries bytes between gateway and server takes a good assertion and changes what it stands beside."""
    gateway = scene.gateway
    async with alice(scene, "auto") as me:
        put = gateway.calling("alice", "storage_put", {"path": "a", "text": "x"})
        other = {"path": "a", "text": "y"}
        await told(lambda: me.client.call_tool("storage_put", other, meta=put), "request")
        await told(lambda: me.client.call_tool("storage_delete", {"path": "a"}, meta=put), "request")
        assert not (await me.client.call_tool("storage_put", {"path": "a", "text": "x"}, meta=put)).is_error
        await told(lambda: me.client.call_tool("storage_put", {"path": "a", "text": "x"}, meta=put), "replayed")
        for notifications in ({"resourceSubscriptions": [B]}, {"resourcesListChanged": True}):
            meta = me.meta("subscriptions/listen", notifications={"resourceSubscriptions": [A]})
            asked = SubscriptionFilter.model_validate(notifications)
            params = SubscriptionsListenRequestParams(notifications=asked, _meta=meta)
            listen = SubscriptionsListenRequest(params=params)
            await told(lambda ask=listen: me.client.session.send_request(ask, SubscriptionsListenResult), "request")
    async with alice(scene, "legacy") as me:
        params = SubscribeRequestParams(uri=B, _meta=me.meta("resources/subscribe", uri=A))
        subscribe = SubscribeRequest(params=params)
        await told(lambda: me.client.session.send_request(subscribe, EmptyResult), "request")
        params = SubscribeRequestParams(uri=A, _meta=me.meta("resources/unsubscribe", uri=A))
        subscribe = SubscribeRequest(params=params)
        await told(lambda: me.client.session.send_request(subscribe, EmptyResult), "request")
    assert scene.server.feeds.users == set()


async def test_one_user_on_their_own_machine_needs_no_assertion(tmp_path: Path) -> None:
    async with stage(tmp_path, callers=SingleUser("alice")) as scene, Client(scene.server) as client:
        await client.call_tool("storage_put", {"path": "a", "text": "x"})
        (read,) = (await client.read_resource("etmcp://alice/a")).contents
        assert isinstance(read, TextResourceContents)
        assert read.text == "x"
