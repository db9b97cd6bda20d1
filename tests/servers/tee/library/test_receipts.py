"""What a receipt says of a function's call: through the gateway, out of it, and run again from the bundle."""

import json
import subprocess
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SOFTWARE
from servers.tee.library.folder import load
from servers.tee.library.library import SHIPPED
from tests.servers.tee.library.scene import TEE, Json, folder, policy, run
from tests.support.rawclient import ETMCP


class _Api(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    def do_GET(self) -> None:
        """A few bytes."""
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Not told."""


@pytest.fixture
def port() -> Generator[int]:
    """Of an API on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class Gateway:
    """Calls through `etmcp`, each in a process of its own."""

    def __init__(self, place: Path, cache: Path, *options: str) -> None:
        self._place = place
        entry = {"command": TEE, "args": ["--cache", str(cache), "stdio", *SOFTWARE, *options]}
        # Confined by the gateway's own Landlock rule a server can mount nothing, and so has no process tier.
        settings = {"etmcp": {"require": "executor-attested", "confine": False}}
        (place / "config.json").write_text(json.dumps({"mcpServers": {"tee": entry | settings}}))

    def etmcp(self, *arguments: str) -> str:
        command = [ETMCP, "--home", str(self._place / "home"), "--config", str(self._place / "config.json"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done
        return done.stdout

    def call(self, tool: str, **arguments: Any) -> tuple[Json, Path]:
        """What the receipt's statement says, and the bundle."""
        self.etmcp("call", tool, *(f"{name}={json.dumps(each)}" for name, each in arguments.items()))
        receipt_id = json.loads(self.etmcp("receipts", "list", "--json").splitlines()[0])["id"]
        bundle = self._place / f"{receipt_id[:8]}.json"
        self.etmcp("receipts", "export", receipt_id, str(bundle))
        return json.loads(self.etmcp("receipts", "show", receipt_id)), bundle


def test_a_receipt_names_function_policy_and_what_was_reached_and_runs_again(
    component_cache: Path, tmp_path: Path, port: int
) -> None:
    lib = tmp_path / "lib"
    assert run("library", "add", "--library", lib, folder(tmp_path / "answer", "def main():\n    return 42\n")) == 0
    rule = {"scheme": "http", "host": "127.0.0.1", "ports": [port]}
    operator = policy(tmp_path / "policy.json", hostCalls=["fetch"], network={"rules": [rule]})
    gateway = Gateway(tmp_path, component_cache, "--library", str(lib), "--unsigned-policy", str(operator))

    told, bundle = gateway.call("http_request", url=f"http://127.0.0.1:{port}/x")
    text = json.dumps(told)
    assert load(SHIPPED / "http_request").digest in text
    assert '"verdict": "allowed"' in text
    assert run("--cache", component_cache, "replay", bundle) == 0, "the server is asked nothing this time"

    told, bundle = gateway.call("answer")
    assert load(tmp_path / "answer").digest in json.dumps(told)
    assert run("--cache", component_cache, "replay", bundle) == 3, "the function is not known without its library"
    assert run("--cache", component_cache, "replay", "--library", lib, bundle) == 0

    told, _ = gateway.call("query_table", sql="SELECT 1 AS one")
    assert '"tier": "process"' in json.dumps(told)
