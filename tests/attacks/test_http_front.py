"""The same refusals through `etmcp serve`: the front moves no byte past the check either."""

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.attacks.stage import Cast, Middle, Stage, at, code_of, on_pipe, ready, token, written
from tests.support.rawclient import ETMCP, HttpClient, Json, wait_for

CASES = [
    ("pp", "result-text", "result"),
    ("pp", "error-instead", "missing-receipt"),
    ("pp", "refused", "malformed"),
    ("pp", "replayed", "replayed"),
    ("ps", "sealed-byte", "seal"),
    ("ps", "error-instead", "unsealed"),
    ("hs", "sent-in-clear", "unsealed"),
    ("hs", "redirected", "root"),
]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("front")
    with Cast(folder) as cast:
        starting = cast.server("honest"), cast.server("honest")
        real, other = map(ready, starting)
        middles = {name: Middle.at(folder, name) for name in ("pp", "ps", "hs")}
        required: Json = {"require": "executor-attested", "timeout": 20}
        servers = {
            "pp": on_pipe(middles["pp"], other, seal=False, **required),
            "ps": on_pipe(middles["ps"], other, **required),
            "hs": at(cast.proxy(middles["hs"], real, other), **required),
        }
        home, stderr, config = folder / "home", folder / "stderr", written(folder, servers)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        command = [ETMCP, "--config", str(config), "--home", str(home), "serve", "--port", str(port)]
        with stderr.open("wb") as errors, subprocess.Popen(command, stderr=errors, env=os.environ) as gateway:
            try:
                wait_for(port, gateway)
                with HttpClient(port) as client:
                    yield Stage(client, home, stderr, middles)
            finally:
                gateway.terminate()
        assert not stderr.read_bytes()


@pytest.mark.parametrize(("alias", "mode", "code"), CASES)
def test_a_change_is_refused_over_http_too(front: Stage, alias: str, mode: str, code: str) -> None:
    front.control(alias)
    secret, plant = token(), token()
    front.order(alias, mode, plant=plant)
    refused = front.call(alias, "echo", secret)
    assert code_of(refused) == code
    assert front.found([secret, plant], refused.raw) == []
    front.control(alias)


@pytest.mark.parametrize("alias", ["pp", "ps", "hs"])
def test_of_a_plain_call_numbers_pass_and_of_a_sealed_one_what_was_sealed_over_http(front: Stage, alias: str) -> None:
    secret, plant = token(), token()
    front.order(alias, "chatter", plant=plant)
    reply = front.call(alias, "loud", secret, _meta={"progressToken": 7})
    assert reply.result["content"][0]["text"] == "done"
    assert {note["method"] for note in reply.notifications} == {"notifications/progress"}
    assert front.found([plant], reply.raw) == []
    words = [note["params"]["message"] for note in reply.notifications if "message" in note["params"]]
    assert words == ([] if alias == "pp" else [secret])
