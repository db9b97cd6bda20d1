"""Raw JSON over pipes: nothing is lost, nothing is mixed up, nothing hangs and nothing grows without bound."""

import math
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.upstream import DEAF, Downlink, Json, UpstreamGarbled, UpstreamTimeout, UpstreamUnavailable, refuse, wire
from gateway.upstream.spawn import Command
from gateway.upstream.stdio import StdioTransport, open_stdio

pytestmark = pytest.mark.anyio
PEERS = Path(__file__).parent / "peers"


def odd(grace: float = 0.5, **options: Any) -> Command:
    return Command([sys.executable, str(PEERS / "odd.py")], os.environ, grace=grace, **options)


@asynccontextmanager
async def peer(command: Command | None = None, **options: Any) -> AsyncGenerator[StdioTransport]:
    transport = await open_stdio("odd", command or odd(), **options)
    try:
        with anyio.fail_after(20):
            yield transport
    finally:
        await transport.aclose()


async def ask(
    transport: StdioTransport,
    method: str,
    params: Json | None = None,
    *,
    extra: Json | None = None,
    down: Downlink = DEAF,
    deadline: float = math.inf,
) -> Json:
    message = {"method": method} | ({} if params is None else {"params": params}) | (extra or {})
    return await transport.request(message, headers={}, down=down, deadline=deadline)


async def test_json_crosses_unchanged() -> None:
    async with peer() as transport:
        answer = await ask(transport, "odd")
        assert answer["result"] == {"null": None, "big": 2**70, "half": 1.5, "x": {"_meta": {"a": []}}}
        assert answer["vendor"] == 1
        params = {"null": None, "big": -(2**70), "text": "é\u2028\0😀", "deep": {"_meta": {"k": None}}}
        assert (await ask(transport, "echo", params))["result"] == params


async def test_concurrent_requests_are_answered_out_of_order_each_with_its_own() -> None:
    async with peer() as transport:
        got: dict[int, Json] = {}

        async def one(n: int) -> None:
            got[n] = (await ask(transport, "later", {"n": n, "of": 50}, extra={"id": 1}))["result"]

        async with anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(one, n)
        assert {n: result["n"] for n, result in got.items()} == {n: n for n in range(50)}


async def test_equal_progress_tokens_of_two_callers_do_not_meet() -> None:
    async with peer() as transport:
        seen: dict[str, list[Json]] = {"a": [], "b": []}

        async def one(name: str) -> None:
            async def sink(message: Json) -> None:
                await anyio.lowlevel.checkpoint()
                seen[name].append(message["params"])

            await ask(
                transport,
                "progress",
                {"steps": 20, "_meta": {"progressToken": "same", "k": name}},
                down=Downlink(sink, refuse),
            )

        async with anyio.create_task_group() as group:
            group.start_soon(one, "a")
            group.start_soon(one, "b")
        expected = [{"progressToken": "same", "progress": n, "v": None} for n in range(20)]
        assert seen == {"a": expected, "b": expected}


async def test_a_subscription_is_heard_of_under_the_id_of_its_caller() -> None:
    async with peer() as transport:
        heard: list[Json] = []

        async def sink(message: Json) -> None:
            heard.append(message)

        answer = await ask(transport, "listen", down=Downlink(sink, refuse), extra={"id": "mine"})
        meta = {"_meta": {wire.SUBSCRIPTION_ID: "mine"}}
        assert [message["params"] for message in heard] == [meta, meta]
        assert answer["result"] == meta


async def test_notifications_of_no_request_go_to_the_listener_even_after_it_failed_once() -> None:
    send, receive = anyio.create_memory_object_stream[Json](5)
    first = True

    async def listener(message: Json) -> None:
        nonlocal first
        if first:
            first = False
            raise ValueError("a fault of ours")
        await send.send(message)

    async with peer(owner=Downlink(listener, refuse)) as transport:
        await ask(transport, "tell")
        await ask(transport, "tell")
        assert (await receive.receive())["method"] == "notifications/tools/list_changed"
    send.close()
    receive.close()


async def test_of_the_requests_of_a_server_only_ping_is_served() -> None:
    async with peer() as transport:
        await ask(transport, "ask")
        answers: list[Json] = []
        while len(answers) < 2:  # each leaves by itself
            seen: list[Json] = (await ask(transport, "seen"))["result"]
            answers = [message for message in seen if "method" not in message]
        ping, sampling = answers
        assert ping == {"jsonrpc": "2.0", "id": "a", "result": {}}
        assert (sampling["id"], sampling["error"]["code"]) == ("b", -32601)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"jsonrpc":"2.0","id":ID,"result":{"a":1,"a":2}}', "duplicate-key"),
        ('{"jsonrpc":"2.0","id":ID,"result":{"a":NaN}}', "not-a-number"),
        ('{"jsonrpc":"2.0","id":ID,"result":{"a":1e999}}', "not-a-number"),
        ('{"jsonrpc":"2.0","id":ID,"result":{"a":"\\ud800"}}', "lone-surrogate"),
        ('{"jsonrpc":"2.0","id":ID,"result":' + "[" * 300 + "]" * 300 + "}", "too-deep"),
    ],
)
async def test_ambiguous_json_fails_its_own_request_only(text: str, code: str) -> None:
    async with peer() as transport:
        with pytest.raises(UpstreamGarbled, match=code):
            await ask(transport, "ambiguous", {"text": text})
        assert (await ask(transport, "echo", {}))["result"] == {}


async def test_ambiguous_json_that_may_answer_anyone_ends_the_connection() -> None:
    async with peer() as transport:
        with pytest.raises(UpstreamGarbled, match="duplicate-key"):
            await ask(transport, "ambiguous", {"text": '{"jsonrpc":"2.0","id":ID,"id":7,"result":{}}'})
        with pytest.raises(UpstreamGarbled, match="duplicate-key"):
            await ask(transport, "echo", {})


@pytest.mark.parametrize("given", ["true", "1.0", "[]", "999"])
async def test_an_answer_under_another_id_answers_nobody(given: str) -> None:
    async with peer() as transport:
        text = f'{{"jsonrpc":"2.0","id":{given},"result":{{}}}}'
        with pytest.raises(UpstreamTimeout):
            await ask(transport, "ambiguous", {"text": text}, deadline=anyio.current_time() + 0.3)


async def test_an_id_echoed_as_text_and_an_error_without_one_still_answer() -> None:
    async with peer() as transport:
        assert (await ask(transport, "textual"))["result"] == {}
        assert (await ask(transport, "nobody"))["error"]["code"] == -32600


async def test_junk_is_tolerated_up_to_a_hundred_lines_in_a_row() -> None:
    async with peer() as transport:
        for _ in range(3):
            await ask(transport, "junk", {"lines": 100})
        await ask(transport, "noise")
        with pytest.raises(UpstreamGarbled, match="log line"):
            await ask(transport, "junk", {"lines": 101})


async def test_a_line_over_the_limit_ends_the_connection_without_being_held() -> None:
    async with peer(max_message=1_000_000) as transport:
        assert len((await ask(transport, "echo", {"x": "y" * 900_000}))["result"]["x"]) == 900_000
        with pytest.raises(UpstreamGarbled, match="1,000,000 bytes"):
            await ask(transport, "huge", {"megabytes": 100})
        with anyio.fail_after(5):
            await transport.child.exited.wait()


async def test_a_large_answer_below_the_limit_passes() -> None:
    async with peer() as transport:
        assert len((await ask(transport, "huge", {"megabytes": 20}))["result"]["x"]) == 20_000_000


async def test_stderr_is_drained_and_bounded() -> None:
    async with peer() as transport:
        assert (await ask(transport, "flood"))["result"] == {}
        with anyio.fail_after(5):
            while transport.child.said() != "flooded":  # noqa: ASYNC110 - stderr has no event
                await anyio.sleep(0.01)


async def test_death_fails_all_that_is_pending_with_the_exit_code_and_the_last_words() -> None:
    async with peer() as transport:
        failures: list[str] = []

        async def one(method: str) -> None:
            with pytest.raises(UpstreamUnavailable) as caught:
                await ask(transport, method)
            failures.append(str(caught.value))

        async with anyio.create_task_group() as group:
            group.start_soon(one, "hang")
            group.start_soon(one, "die")
        assert len(set(failures)) == 1
        assert failures[0].startswith("odd: exited with code 7, last saying “[31mreally”; ")
        assert "\x1b" not in failures[0]
        assert "\n" not in failures[0]
        with pytest.raises(UpstreamUnavailable, match="code 7"):
            await ask(transport, "echo")


async def test_a_server_that_closes_its_output_is_over() -> None:
    async with peer() as transport:
        with pytest.raises(UpstreamUnavailable, match="closed its output"):
            await ask(transport, "quit")


async def test_a_deadline_cancels_the_request_under_its_wire_id() -> None:
    async with peer() as transport:
        with pytest.raises(UpstreamTimeout, match="no answer to hang"):
            await ask(transport, "hang", extra={"id": "caller"}, deadline=anyio.current_time() + 0.1)
        with anyio.move_on_after(0.1) as scope:
            await ask(transport, "hang")
        assert scope.cancelled_caught
        seen: list[Json] = (await ask(transport, "seen"))["result"]
        hung = [m["id"] for m in seen if m["method"] == "hang"]
        assert [m["params"]["requestId"] for m in seen if m["method"] == "notifications/cancelled"] == hung


async def test_a_handshake_is_never_cancelled() -> None:
    async with peer() as transport:
        for method in ("initialize", "server/discover"):
            with pytest.raises(UpstreamTimeout):
                await ask(transport, method, deadline=anyio.current_time() + 0.05)
        seen: list[Json] = (await ask(transport, "seen"))["result"]
        assert [m["method"] for m in seen] == ["initialize", "server/discover", "seen"]


async def test_a_server_that_does_not_read_is_refused_instead_of_filling_our_memory() -> None:
    async with peer(odd(grace=0.1), max_message=500_000) as transport:
        for _ in range(3):
            with pytest.raises(UpstreamTimeout):
                await ask(transport, "deaf", {"x": "y" * 400_000}, deadline=anyio.current_time() + 0.3)
        with pytest.raises(UpstreamUnavailable, match="does not read"):
            await ask(transport, "deaf")


async def test_what_is_pending_fails_when_the_gateway_stops_the_server() -> None:
    async with peer() as transport, anyio.create_task_group() as group:

        async def one() -> None:
            with pytest.raises(UpstreamUnavailable, match="was stopped"):
                await ask(transport, "hang")

        group.start_soon(one)
        await ask(transport, "echo", {})
        await transport.aclose()


async def test_the_environment_is_clean() -> None:
    environ = {"PATH": "/bin", "HOME": "/h", "SECRET": "s", "LANG": "() { :; }", "ETMCP_TOKEN": "t"}
    async with peer(Command(odd().argv, environ, env={"API_KEY": "k", "LD_PRELOAD": ""})) as transport:
        seen = (await ask(transport, "environment"))["result"]
        seen.pop("LC_CTYPE", None)  # set by the peer's own interpreter
        assert seen == {"PATH": "/bin", "HOME": "/h", "API_KEY": "k", "LD_PRELOAD": ""}


async def test_secrets_are_not_among_the_arguments_of_any_process() -> None:
    async with peer(odd(env={"API_KEY": "hunter2"})) as transport:
        for pid in (transport.child.pid, transport.child.keeper_pid):
            assert b"hunter2" not in Path(f"/proc/{pid}/cmdline").read_bytes()  # noqa: ASYNC240


async def test_the_pin_is_what_the_child_wrote_on_its_descriptor() -> None:
    async with peer(odd(pin=True)) as transport:
        assert await transport.pin(deadline=anyio.current_time() + 0.05) is None
        await ask(transport, "pin", {"key": "abc"})
        assert await transport.pin(deadline=math.inf) == b"abc"
    async with peer() as transport:
        assert await transport.pin(deadline=math.inf) is None
        assert "ETMCP_PIN_FD" not in (await ask(transport, "environment"))["result"]


@pytest.mark.parametrize(
    ("argv", "options", "line"),
    [
        (["nope-nope"], {}, "time: cannot start 'nope-nope': not found; install it or correct \"command\""),
        ([__file__], {}, f"time: cannot start '{__file__}': not executable for this user; "),
        (["cat"], {"cwd": "/nope"}, "time: cannot enter the folder '/nope': No such file or directory; "),
        (["a\0b"], {}, "time: cannot be started: "),
    ],
)
async def test_what_cannot_start_says_so_in_one_line(argv: list[str], options: Any, line: str) -> None:
    with pytest.raises(UpstreamUnavailable) as caught:
        await open_stdio("time", Command(argv, os.environ, **options))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


async def test_a_server_that_dies_at_start_is_quoted() -> None:
    command = Command([sys.executable, "-c", "import nope"], os.environ)
    async with peer(command) as transport:
        with pytest.raises(
            UpstreamUnavailable, match="exited with code 1, last saying “ModuleNotFoundError: No module"
        ):
            await ask(transport, "initialize")
