"""Gateways between raw clients and an upstream that returns what it is told."""

import json
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.support.rawclient import ETMCP, Client, HttpClient, Json, Reply, StdioClient, wait_for

UPSTREAM = str(Path(__file__).parent / "upstream.py")
FRONTS = [("stdio", "modern"), ("stdio", "legacy"), ("http", "modern"), ("http", "legacy")]
UPSTREAMS = [("stdio", "modern"), ("stdio", "legacy"), ("http", "modern"), ("http", "legacy")]
OURS = "com.etmcp/"


@dataclass(frozen=True)
class Pairs:
    """Clients by front and era; all upstreams share one folder, since they are asked one after the other."""

    clients: Mapping[tuple[str, str], Client]
    folder: Path

    def call(self, front: tuple[str, str], upstream: tuple[str, str], told: str, **params: Any) -> Reply:
        """One call that is answered with `told`, the text of a `"result":` or `"error":` member."""
        (self.folder / "told").write_text(told, encoding="utf-8")
        return self.clients[front].request("tools/call", {"name": alias(upstream) + "_echo", **params})

    def got(self) -> Json:
        """The params of the last call, as the upstream got them."""
        return json.loads((self.folder / "got").read_text(encoding="utf-8"))["params"]


def alias(upstream: tuple[str, str]) -> str:
    """The name of an upstream in the configuration."""
    return "_".join(upstream)


@contextmanager
def running(folder: Path) -> Generator[Pairs]:
    """Three gateways: two for one client each on a pipe, one for both over HTTP."""
    shared = folder / "shared"
    shared.mkdir()
    with ExitStack() as stack:
        servers: dict[str, Json] = {}
        for transport, era in UPSTREAMS:
            arguments = [UPSTREAM, transport, era, str(shared)]
            if transport == "stdio":
                servers[f"{transport}_{era}"] = {"command": sys.executable, "args": arguments}
                continue
            process = stack.enter_context(subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            servers[f"{transport}_{era}"] = {"url": process.stdout.readline().decode().strip()}
        config = folder / "etmcp.json"
        config.write_text(json.dumps({"mcpServers": servers}))
        clients: dict[tuple[str, str], Client] = {}
        stderr = folder / "stderr"
        for era in ("modern", "legacy"):
            client = StdioClient(config, folder / f"home-{era}", stderr, era)
            clients["stdio", era] = stack.enter_context(client)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        command = [ETMCP, "--config", str(config), "--home", str(folder / "home-http"), "serve", "--port", str(port)]
        serving = stack.enter_context(subprocess.Popen(command, stderr=stack.enter_context(stderr.open("ab"))))
        stack.callback(serving.terminate)
        wait_for(port, serving)
        for era in ("modern", "legacy"):
            clients["http", era] = stack.enter_context(HttpClient(port, era))
        for client in clients.values():
            states = client.request("tools/list").result["_meta"]["com.etmcp/servers"]
            assert set(states.values()) == {"ready"}, states
        yield Pairs(clients, shared)


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: integers exactly, a float also to an integer that reads as the same double
    (RFC 8785 writes 6e16 as an integer), all else by kind too (true is not 1)."""
    match left, right:
        case dict(), dict():
            a, b = cast(Json, left), cast(Json, right)
            return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
        case list(), list():
            first, second = cast("list[Any]", left), cast("list[Any]", right)
            return len(first) == len(second) and all(map(same, first, second))
        case (int() as integer, float() as double) | (float() as double, int() as integer):
            return not isinstance(integer, bool) and double == float(str(integer))
        case _:
            return type(left) is type(right) and left == right


def without(message: Json, *prefixes: str) -> Json:
    """The object without the `_meta` members that begin so; an empty `_meta` is none."""
    meta = {name: value for name, value in message.get("_meta", {}).items() if not name.startswith(prefixes)}
    rest = {name: value for name, value in message.items() if name != "_meta"}
    return rest | ({"_meta": meta} if meta else {})
