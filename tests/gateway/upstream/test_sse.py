"""Calls over HTTP+SSE, with everything that a bad server may do, on real sockets."""

import asyncio
import math
from typing import Any

import anyio
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.upstream import (
    DEAF,
    Downlink,
    Json,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
    refuse,
)
from gateway.upstream.http import new_pool
from gateway.upstream.http_sse import open_sse
from tests.gateway.upstream.peers.streaming import (
    CREDENTIALS,
    Old,
    accept,
    ask,
    connected,
    message,
    old,
    swallow,
    text,
)

pytestmark = pytest.mark.anyio


async def test_json_crosses_unchanged_and_credentials_go_with_every_request() -> None:
    async with old() as server, connected(server) as transport:
        params = {"null": None, "big": 2**70, "half": 1.5, "text": "é\u2028\0😀"}
        assert (await ask(transport, params, headers={"mcp-protocol-version": "2024-11-05"}))["result"] == params
        assert server.queries == ["/post?id=1"]
        assert [sent["authorization"] for sent in server.headers] == ["Bearer hunter2"] * 2
        assert (server.headers[0]["accept"], server.headers[1]["content-type"]) == (
            "text/event-stream",
            "application/json",
        )
        assert server.headers[1]["mcp-protocol-version"] == "2024-11-05"


@pytest.mark.parametrize(("cut", "line"), [(None, "its event stream broke off"), (b"", "ended its event stream")])
async def test_a_stream_that_is_cut_fails_all_that_is_pending_and_all_that_follows(
    cut: bytes | None, line: str
) -> None:
    async with old(swallow) as server, connected(server) as transport:
        failures: list[str] = []

        async def one() -> None:
            with pytest.raises(UpstreamUnavailable) as caught:
                await ask(transport)
            failures.append(str(caught.value))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
            while len(server.posts) < 3:  # noqa: ASYNC110 - the server has no event for three
                await anyio.sleep(0.01)
            server.say(b"event: message\ndata: {", cut)
        assert transport.ended.is_set()
        assert len(set(failures)) == 1
        assert line in failures[0]
        with pytest.raises(UpstreamUnavailable, match="look first"):
            await ask(transport)
        with pytest.raises(UpstreamUnavailable):
            await transport.notify({"method": "notifications/initialized"}, headers={})
        assert len(server.posts) == 3


@pytest.mark.parametrize(
    ("status", "kind", "line"),
    [
        (308, UpstreamGarbled, "redirects"),
        (400, UpstreamRefused, "refused the request"),
        (401, UpstreamRefused, "does not let us in"),
        (413, UpstreamRefused, "refused the request"),
        (500, UpstreamUnavailable, "failed"),
    ],
)
async def test_a_post_that_is_refused_fails_its_own_call_only(
    status: int, kind: type[UpstreamError], line: str
) -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        if posted["params"]:
            return await accept(server, posted)
        return web.Response(status=status, text="no", headers={"location": "http://evil.example/"})

    async with old(post) as server, connected(server) as transport:
        with pytest.raises(kind, match=rf"odd: {line}.*\(HTTP {status}\)"):
            await ask(transport)
        assert (await ask(transport, {"x": 1}))["result"] == {"x": 1}
        assert all(posted["method"] == "tools/call" for posted in server.posts)  # what was refused is not cancelled


async def test_a_forgotten_session_ends_the_connection() -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        return web.Response(status=404, text="Could not find session")

    async with old(post) as server, connected(server) as transport:
        with pytest.raises(UpstreamUnavailable, match=r"odd: forgot its session \(HTTP 404\); try again; "):
            await ask(transport)
        assert transport.ended.is_set()


@pytest.mark.parametrize(
    "response",
    [
        {"status": 200},
        {"status": 204},
        {"status": 200, "text": '{"jsonrpc":"2.0","id":1,"result":{"no":1}}', "content_type": "application/json"},
        {"status": 201, "body": b"x" * 1_000_000},
    ],
)
async def test_what_is_said_to_a_post_is_no_answer(response: Any) -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        server.answer(posted)
        return web.Response(**response)

    async with old(post) as server, connected(server) as transport:
        for n in range(3):
            assert (await ask(transport, {"n": n}))["result"] == {"n": n}


async def test_an_answer_counts_though_its_post_is_never_accepted_and_the_connection_stays_usable() -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        server.answer(posted)
        await asyncio.sleep(3600)
        raise AssertionError

    async with old(post) as server, connected(server) as transport:
        for n in range(3):
            assert (await ask(transport, {"n": n}))["result"] == {"n": n}
        while transport.unread:  # noqa: ASYNC110 - until the POSTs are given up, or this test is
            await anyio.sleep(0.01)


async def test_a_call_that_is_given_up_is_cancelled_under_its_wire_id_but_never_a_handshake() -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        if posted["method"] == "notifications/cancelled":
            cancelled.set()
        else:
            await asyncio.sleep(3600)
        return web.Response(status=202)

    cancelled = anyio.Event()
    async with old(post) as server, connected(server) as transport:
        for method in ("initialize", "tools/call"):
            with pytest.raises(UpstreamTimeout, match=f"no answer to {method} in time"):
                await ask(transport, method=method, deadline=anyio.current_time() + 0.2)
        await cancelled.wait()
        assert [posted.get("params", {}).get("requestId") for posted in server.posts] == [None, None, 2]


async def test_a_server_that_takes_nothing_is_refused_instead_of_filling_our_memory() -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async with (
        old(post) as server,
        connected(server, max_message=500_000) as transport,
        anyio.create_task_group() as group,
    ):

        async def one() -> None:
            with pytest.raises(UpstreamTimeout):
                await ask(transport, {"x": "y" * 300_000}, deadline=anyio.current_time() + 0.5)

        group.start_soon(one)
        group.start_soon(one)
        while transport.unread < 600_000:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(UpstreamUnavailable, match="does not read its input"):
            await ask(transport)


async def test_an_event_over_the_limit_ends_the_connection() -> None:
    async with old() as server, connected(server, max_message=1_000_000) as transport:
        for _ in range(3):
            assert len((await ask(transport, {"x": "y" * 900_000}))["result"]["x"]) == 900_000
            while transport.unread:
                await anyio.lowlevel.checkpoint()
        server.poster = swallow
        server.say(b"data: ", *[b"x" * 100_000] * 11)
        with pytest.raises(UpstreamGarbled, match="sent a message of more than 1,000,000 bytes; it was disconnected"):
            await ask(transport)
        await server.left.wait()


async def test_junk_is_tolerated_up_to_a_hundred_events_in_a_row_and_other_events_are_not_looked_at() -> None:
    async with old() as server, connected(server) as transport:
        for _ in range(3):
            server.say(*[text("no json")] * 50, *[b"data: []\n\n"] * 50, *[b"event: tick\ndata: 1\n\n"] * 200)
            server.say(b": ping\r\n\r\n", b"event: message\n\n", b"id: 7\nretry: 5\n\n")
            await ask(transport)
        server.poster = swallow
        server.say(*[text("no json")] * 101)
        with pytest.raises(UpstreamGarbled, match=r"sends events that are not MCP \(such as “no json”\); it was "):
            await ask(transport)


@pytest.mark.parametrize(("given_id", "lives"), [("ID", True), ('7,"id":8', False)])
async def test_ambiguous_json_fails_its_own_request_and_ends_the_connection_if_that_is_open(
    given_id: str, lives: bool
) -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        number = given_id.replace("ID", str(posted["id"]))
        server.say(text(f'{{"jsonrpc":"2.0","id":{number},"result":{{"a":1,"a":2}}}}'))
        return web.Response(status=202)

    async with old(post) as server, connected(server) as transport:
        with pytest.raises(UpstreamGarbled, match="duplicate-key"):
            await ask(transport)
        assert transport.ended.is_set() is not lives
        server.poster = accept
        if lives:
            await ask(transport)


async def test_a_caller_that_does_not_keep_up_fails_alone() -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        if posted["params"]:
            params = {"progressToken": posted["id"], "progress": 1}
            server.say(*[message({"method": "notifications/progress", "params": params})] * 1100)
            return web.Response(status=202)
        return await accept(server, posted)

    stuck = anyio.Event()

    async def tell(_: Json) -> None:
        await stuck.wait()

    async with old(post) as server, connected(server) as transport, anyio.create_task_group() as group:

        async def slow() -> None:
            with pytest.raises(UpstreamGarbled, match="faster than they could be passed on"):
                await ask(transport, {"_meta": {"progressToken": 1}}, down=Downlink(tell, refuse))

        group.start_soon(slow)
        while not server.posts:  # noqa: ASYNC110 - the server has no event for it
            await anyio.sleep(0.01)
        await ask(transport)
        stuck.set()


async def test_questions_are_answered_by_post_and_withdrawn_questions_are_not() -> None:
    asked = anyio.Event()
    answers: dict[Any, Json] = {}
    complete = anyio.Event()

    async def post(server: Old, posted: Json) -> web.StreamResponse:
        if "method" not in posted:
            answers[posted["id"]] = posted
            if len(answers) == 3:
                complete.set()
        return web.Response(status=202)

    async def reply(request: Json) -> Json:
        if request["id"] == "forever":
            asked.set()
            await anyio.sleep_forever()
        return {"result": {"x": math.nan}} if request["id"] == "nan" else {"result": {"y": 1}}

    async with old(post) as server, connected(server, owner=Downlink(DEAF.tell, reply)) as transport:
        server.say(message({"id": "ping", "method": "ping"}))
        server.say(*(message({"id": name, "method": "roots/list"}) for name in ("forever", "nan", "plain")))
        await asked.wait()
        server.say(message({"method": "notifications/cancelled", "params": {"requestId": "forever"}}))
        await complete.wait()
        assert answers["ping"] == {"jsonrpc": "2.0", "id": "ping", "result": {}}
        assert answers["plain"] == {"jsonrpc": "2.0", "id": "plain", "result": {"y": 1}}
        assert answers["nan"]["error"]["code"] == -32603
        await transport.aclose()
        assert set(answers) == {"ping", "plain", "nan"}


async def test_what_belongs_to_no_request_goes_to_the_owner() -> None:
    send, receive = anyio.create_memory_object_stream[Json](5)
    async with old() as server, connected(server, owner=Downlink(send.send, refuse)):
        server.say(message({"method": "notifications/tools/list_changed"}))
        assert (await receive.receive())["method"] == "notifications/tools/list_changed"
    send.close()
    receive.close()


async def test_a_notification_is_posted_before_it_returns_and_its_refusal_is_nobodys() -> None:
    async with old() as server, connected(server) as transport:
        await transport.notify({"method": "notifications/initialized"}, headers={})
        assert server.posts == [{"jsonrpc": "2.0", "method": "notifications/initialized"}]

        async def post(server: Old, posted: Json) -> web.StreamResponse:
            return web.Response(status=400)

        server.poster = post
        await transport.notify({"method": "notifications/initialized"}, headers={})


async def test_closing_fails_what_is_pending_and_leaves_no_task_and_no_socket() -> None:
    async def post(server: Old, posted: Json) -> web.StreamResponse:
        posted_one.set()
        try:
            await asyncio.sleep(3600)
        finally:
            hung_up.set()
        raise AssertionError

    posted_one, hung_up = anyio.Event(), anyio.Event()
    async with old(post) as server, new_pool() as pool:
        before = asyncio.all_tasks()
        transport = await open_sse("odd", pool, server.url, headers=CREDENTIALS, deadline=math.inf)

        async def one() -> None:
            with pytest.raises(UpstreamUnavailable, match="odd: was stopped; "):
                await ask(transport)

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await posted_one.wait()
            await transport.aclose()
        await transport.aclose()
        assert not [
            task for task in asyncio.all_tasks() - before if "http_sse" in repr(task) or "channel" in repr(task)
        ]
        await server.left.wait()  # both sockets are gone as the server sees it
        await hung_up.wait()
        with pytest.raises(UpstreamUnavailable, match="was stopped"):
            await ask(transport)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"data: ", b"event: message\n", b"\n\n", b'{"id":1,', b"\r\n"]))
)
async def test_whatever_comes_down_the_stream_only_our_own_errors_come_out(chunks: list[bytes]) -> None:
    async with old(swallow) as server, connected(server, max_message=2000) as transport:
        server.say(*(chunk for chunk in chunks if chunk), b"")
        with pytest.raises(UpstreamError) as caught:
            await ask(transport)
        assert str(caught.value).isprintable()
