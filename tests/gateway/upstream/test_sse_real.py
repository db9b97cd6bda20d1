"""HTTP+SSE against the SDK's own server of that transport, in a process of its own."""

import json
import math
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.upstream import DEAF, Downlink, Json, UpstreamRefused, UpstreamTimeout, UpstreamUnavailable, refuse
from gateway.upstream.http import new_pool
from gateway.upstream.http_sse import SseTransport, open_sse
from gateway.upstream.session import ClientFace, Session

pytestmark = pytest.mark.anyio
PEER = Path(__file__).parent / "peers" / "old.py"
CREDENTIALS = {"Authorization": "Bearer s"}


@contextmanager
def process() -> Generator[tuple[subprocess.Popen[str], str]]:
    """The server, and the URL of its stream."""
    with subprocess.Popen([sys.executable, str(PEER)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server, server.stdout.readline().strip()
        finally:
            server.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a server for all tests that leave it alive."""
    with process() as (_, url):
        yield url


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncGenerator[SseTransport]:
    """A transport after its handshake."""
    async with new_pool() as pool:
        with anyio.fail_after(30):
            transport = await open_sse("old", pool, url, headers=CREDENTIALS, deadline=math.inf, **options)
            try:
                face = ClientFace({"sampling": {}, "elicitation": {}}, {"name": "c", "version": "1"})
                session = Session("old", transport, face=face, era="legacy")
                await session.connect(deadline=math.inf)
                assert session.info["name"] == "old"
                yield transport
            finally:
                await transport.aclose()


def tool(name: str, arguments: Json, **more: Any) -> Json:
    return {"method": "tools/call", "params": {"name": name, "arguments": arguments} | more}


async def call(
    transport: SseTransport,
    name: str,
    arguments: Json,
    *,
    down: Downlink = DEAF,
    deadline: float = math.inf,
    **more: Any,
) -> Any:
    answer = await transport.request(tool(name, arguments, **more), headers={}, down=down, deadline=deadline)
    return answer["result"]["content"][0]["text"]


async def test_tools_are_listed_and_called(url: str) -> None:
    async with connected(url) as transport:
        listed = await transport.request({"method": "tools/list"}, headers={}, down=DEAF, deadline=math.inf)
        assert {"echo", "large"} <= {tool["name"] for tool in listed["result"]["tools"]}
        assert await call(transport, "echo", {"text": "é\u2028😀"}) == "é\u2028😀"


async def test_an_event_of_700_kb_passes(url: str) -> None:
    async with connected(url) as transport:
        assert len(await call(transport, "large", {"size": 700_000})) == 700_000


async def test_equal_progress_tokens_of_concurrent_callers_do_not_meet(url: str) -> None:
    async with connected(url) as transport:
        heard: dict[str, list[Json]] = {f"caller {n}": [] for n in range(20)}

        async def one(label: str) -> None:
            async def tell(message: Json) -> None:
                heard[label].append(message["params"])

            meta = {"progressToken": "same"}
            assert await call(transport, "steps", {"label": label}, down=Downlink(tell, refuse), _meta=meta) == label

        async with anyio.create_task_group() as group:
            for label in heard:
                group.start_soon(one, label)
        for label, reports in heard.items():
            expected = {"progressToken": "same", "total": 5, "message": label}
            assert reports == [expected | {"progress": n} for n in range(5)]


async def test_a_log_message_reaches_the_one_caller_there_is(url: str) -> None:
    heard: list[Json] = []

    async def tell(message: Json) -> None:
        heard.append(message)

    async with connected(url) as transport:
        await call(transport, "logs", {"text": "look"}, down=Downlink(tell, refuse))
    assert [(message["method"], message["params"]["data"]) for message in heard] == [("notifications/message", "look")]


async def test_elicitation_and_sampling_are_answered_by_whoever_the_call_is_for(url: str) -> None:
    answers = {
        "elicitation/create": {"action": "accept", "content": {"ok": True}},
        "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "yes"}, "model": "m"},
    }
    asked: list[str] = []

    async def ask(request: Json) -> Json:
        asked.append(request["method"])
        return {"result": answers[request["method"]]}

    async with connected(url) as transport:
        down = Downlink(DEAF.tell, ask)
        assert json.loads(await call(transport, "choose", {}, down=down)) == {"action": "accept", "data": {"ok": True}}
        assert json.loads(await call(transport, "sample", {}, down=down))["content"]["text"] == "yes"
    assert asked == list(answers)


async def test_what_a_deaf_caller_is_asked_is_refused(url: str) -> None:
    async with connected(url) as transport:
        answer = await transport.request(tool("choose", {}), headers={}, down=DEAF, deadline=math.inf)
        assert answer["error"]["message"] == "this client does not serve elicitation/create"


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(url: str) -> None:
    async with connected(url) as transport:
        with pytest.raises(UpstreamTimeout, match="no answer to tools/call in time"):
            await call(transport, "hang", {"label": "late"}, deadline=anyio.current_time() + 0.3)
        with anyio.move_on_after(0.3) as scope:
            await call(transport, "hang", {"label": "left"})
        assert scope.cancelled_caught
        ended: set[str] = set()
        while not {"late", "left"} <= ended:  # no answer says that a cancellation was taken
            answer = await transport.request(tool("ends", {}), headers={}, down=DEAF, deadline=math.inf)
            ended = {item["text"] for item in answer["result"]["content"]}


async def test_without_credentials_it_says_so(url: str) -> None:
    async with new_pool() as pool:
        with pytest.raises(UpstreamRefused, match=r"^old: does not let us in \(HTTP 401\); check its credentials"):
            await open_sse("old", pool, url, deadline=anyio.current_time() + 10)


async def test_a_server_that_is_killed_fails_what_is_pending_and_the_connection_is_over() -> None:
    with process() as (server, url):
        async with connected(url) as transport, anyio.create_task_group() as group:

            async def one() -> None:
                with pytest.raises(UpstreamUnavailable, match=r"its event stream|the connection failed"):
                    await call(transport, "hang", {"label": "killed"})

            for _ in range(3):
                group.start_soon(one)
            assert await call(transport, "echo", {"text": "there"}) == "there"
            server.kill()
            await transport.ended.wait()
            with pytest.raises(UpstreamUnavailable, match="event stream"):
                await call(transport, "echo", {"text": "anyone?"})


async def test_a_server_that_is_not_there_says_so() -> None:
    with process() as (server, url):
        server.kill()
        server.wait()
        async with new_pool() as pool:
            with pytest.raises(UpstreamUnavailable, match=r"^old: cannot connect to 127.0.0.1:\d+ \("):
                await open_sse("old", pool, url, deadline=math.inf)
