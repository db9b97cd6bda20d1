"""How an HTTP+SSE connection comes about, or does not: the stream, its endpoint, where credentials go."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.upstream import (
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.upstream.http import new_pool
from gateway.upstream.http_sse import open_sse, resolve
from gateway.upstream.sse import Event, events
from tests.gateway.upstream.peers.streaming import (
    CREDENTIALS,
    Old,
    accept,
    ask,
    connected,
    message,
    old,
    serving,
    swallow,
)

pytestmark = pytest.mark.anyio


async def refused(server: Old, kind: type[UpstreamError], seconds: float = 10) -> str:
    """Return why no connection came about; nothing of it stays."""
    async with new_pool() as pool:
        before = asyncio.all_tasks()
        with pytest.raises(kind) as caught:
            await open_sse("odd", pool, server.url, headers=CREDENTIALS, deadline=anyio.current_time() + seconds)
        assert {task for task in asyncio.all_tasks() - before if "gateway" in repr(task)} == set()
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("named", "posted"),
    [
        ("post", "/post"),
        ("?session=a%2Bb", "/sse?session=a%2Bb"),
        ("/deep/er/?a=1&b=%26#fragment", "/deep/er/?a=1&b=%26"),
        ("ORIGIN/x", "/x"),
        ("//HOST/y", "/y"),
        ("http://somebody:else@HOST/z", "/z"),
    ],
)
async def test_the_endpoint_is_resolved_against_the_url(named: str, posted: str) -> None:
    async with old() as server:
        host = URL(server.url).authority
        named = named.replace("ORIGIN", f"http://{host}").replace("HOST", host)
        server.first = f": hello\r\n\r\nevent: endpoint\r\ndata: {named}\r\n\r\n".encode()
        async with connected(server) as transport:
            await ask(transport)
        assert server.queries == [posted]
        assert server.headers[-1]["authorization"] == "Bearer hunter2"


async def test_a_user_in_the_url_goes_with_every_request() -> None:
    async with old() as server:
        server.url = server.url.replace("http://", "http://u:p@")
        async with connected(server, headers={}) as transport:
            await ask(transport)
        assert {sent["authorization"] for sent in server.headers} == {"Basic dTpw"}


@pytest.mark.parametrize("named", ["ELSEWHERE/post", "//ELSEHOST/post", "http://HOST@ELSEHOST/post"])
async def test_an_endpoint_of_another_origin_is_refused_and_hears_nothing(named: str) -> None:
    heard: list[str] = []

    async def listen(request: web.Request) -> web.Response:
        heard.append(request.path)
        return web.Response()

    elsewhere = web.Application()
    elsewhere.router.add_route("*", "/{path:.*}", listen)
    async with serving(elsewhere) as other, old() as server:
        named = named.replace("ELSEWHERE", other).replace("ELSEHOST", URL(other).authority)
        named = named.replace("HOST", URL(server.url).authority)
        server.first = f"event: endpoint\ndata: {named}\n\n".encode()
        line = await refused(server, UpstreamGarbled)
        assert line.startswith(
            "odd: named an endpoint of another origin, where its credentials must not go: http://127"
        )
        await server.left.wait()
    assert not heard
    assert not server.posts


@pytest.mark.parametrize("named", ["http://[", "http://h:99999/", "\udc80", "https://HOST/", "x" * 9000, "file:///etc"])
async def test_an_endpoint_that_cannot_be_used_is_refused(named: str) -> None:
    async with old() as server:
        named = named.replace("HOST", URL(server.url).authority)
        server.first = b"event: endpoint\ndata: " + named.encode("utf-8", "surrogateescape") + b"\n\n"
        assert (await refused(server, UpstreamGarbled)).startswith("odd: named an endpoint ")


@given(
    st.text() | st.from_regex(r"([a-z]{0,5}:)?[/\\]{0,3}([a-z]*[:@.\[\]]{0,2}){0,3}[/\\?#%]{0,2}\w*", fullmatch=True)
)
def test_whatever_a_server_names_it_is_of_the_same_origin_or_refused(named: str) -> None:
    base = URL("https://u:p@h.example:8443/a/sse?x=1")
    with suppress(UpstreamGarbled):
        endpoint = resolve("odd", base, named.encode("utf-8", "surrogatepass"))
        assert endpoint.origin() == base.origin()
        assert (endpoint.user, endpoint.password) == ("u", "p")


async def test_no_endpoint_before_the_deadline_is_one_line_and_leaves_nothing() -> None:
    async with old(first=b": wait for it\n\n") as server:
        server.say(*[b"data: {}\n\n"] * 3)
        line = await refused(server, UpstreamTimeout, 0.3)
        assert line.startswith("odd: named no endpoint on its event stream in time; check that ")
        await server.left.wait()


async def test_an_endpoint_that_drips_is_cut_off_by_the_deadline_and_otherwise_waited_for() -> None:
    first = b"event: endpoint\ndata: /post?id=1\n\n"
    async with old(first=b"e") as server:
        server.say(*(bytes([byte]) for byte in first[1:]))
        async with connected(server) as transport:
            answered = message({"id": 1, "result": {"slow": True}})
            server.poster = swallow
            server.say(*(bytes([byte]) for byte in answered))
            assert (await ask(transport))["result"] == {"slow": True}
    async with old(first=first[:-1]) as server:
        await refused(server, UpstreamTimeout, 0.3)


async def test_a_stream_that_ends_before_its_endpoint_says_so() -> None:
    async with old(first=b"data: x\n\n") as server:
        server.say(b"")
        assert "ended its event stream without naming an endpoint" in await refused(server, UpstreamUnavailable)


async def test_the_same_endpoint_again_is_no_news_but_another_ends_the_connection() -> None:
    async with old() as server, connected(server) as transport:
        server.say(b"event: endpoint\ndata: /post?id=1\n\n")
        await ask(transport)
        server.poster = swallow
        server.say(b"event: endpoint\ndata: /post?id=2\n\n")
        with pytest.raises(UpstreamGarbled, match="odd: named a second endpoint; it was disconnected: fix or replace"):
            await ask(transport)
        await server.left.wait()
    async with old(swallow) as server, connected(server) as transport:
        server.say(b"event: endpoint\ndata: http://127.0.0.1:1/post\n\n")
        with pytest.raises(UpstreamGarbled, match="named a second endpoint"):
            await ask(transport)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "line"),
    [
        (307, {"location": "http://u:p@evil.example/steal?secret=1"}, UpstreamGarbled, "307) to evil.example, and"),
        (401, {}, UpstreamRefused, "does not let us in (HTTP 401); check its credentials"),
        (403, {}, UpstreamRefused, "does not let us in (HTTP 403); check its credentials"),
        (405, {}, UpstreamRefused, 'refused the request (HTTP 405); check "url"'),
        (503, {}, UpstreamUnavailable, "failed (HTTP 503)"),
        (200, {"content-type": "text/html"}, UpstreamGarbled, "answered with HTTP 200 and text/html; this is no event"),
        (204, {}, UpstreamGarbled, "answered with HTTP 204"),
    ],
)
async def test_a_stream_that_is_refused_says_why(
    status: int, headers: dict[str, str], kind: type[UpstreamError], line: str
) -> None:
    async def get(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/sse", get)
    async with serving(app) as origin:
        server = Old(accept, b"")
        server.url = f"{origin}/sse"
        assert line in await refused(server, kind)


async def test_an_endless_first_event_is_refused() -> None:
    async with old(first=b": " + b"x" * 2_000_000) as server:
        with pytest.raises(UpstreamGarbled, match="sent an event of more than 1,000,000 bytes"):
            async with connected(server, max_message=1_000_000):
                pass


@given(st.lists(st.tuples(st.sampled_from([b"", b"message", b"endpoint"]), st.binary(min_size=1))), st.data())
def test_events_do_not_depend_on_where_they_are_cut(sent: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    expected = [Event(b"".join(body.splitlines()) or b"x", name) for name, body in sent]
    stream = b"".join(b"event: " + event.name + b"\r\ndata: " + event.data + b"\r\n\r\n" for event in expected)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def parsed() -> list[Event]:
        async def chunks() -> AsyncGenerator[bytes]:
            for piece in pieces:
                yield piece

        return [event async for event in events(chunks(), 10**6)]

    assert asyncio.run(parsed()) == expected
