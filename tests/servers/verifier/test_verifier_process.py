"""The program itself: its receipts behind a gateway, and one line for every mistake at its start."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SOFTWARE
from servers.storage.__main__ import main as storage
from servers.verifier.__main__ import main
from tests.clients.conftest import entry
from tests.servers.verifier.scene import BUNDLE, POLICY, TRUST
from tests.support.rawclient import ETMCP, Era, StdioClient

VERIFIER = str(Path(ETMCP).with_name("etmcp-verifier"))
VERIFY = str(Path(ETMCP).with_name("etmcp-verify"))


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_behind_a_gateway_a_verdict_carries_a_receipt_itself(tmp_path: Path, era: Era) -> None:
    roots = tmp_path / "roots"
    roots.mkdir()
    (roots / "trust").write_bytes(TRUST)
    (roots / "policy").write_bytes(POLICY)
    command = [
        VERIFIER,
        "stdio",
        "--attester",
        "software",
        "--trust",
        str(roots / "trust"),
        "--policy",
        str(roots / "policy"),
    ]
    server: dict[str, Any] = {**entry(command), "etmcp": {"require": "executor-attested"}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mcpServers": {"verifier": server}}))
    home = tmp_path / "own" / "home"  # what stands beside the home is closed to children
    with StdioClient(config, home, tmp_path / "stderr", era) as client:
        reply = client.request("tools/call", {"name": "verify_bundle", "arguments": {"bundle": BUNDLE}})
        assert reply.result["structuredContent"]["verdict"]["outcome"] == "verified"
        assert (reply.verification["kind"], reply.verification["assurance"]) == ("executor-attested", "software")
        receipt_id = reply.verification["receiptId"]
    gateway = [ETMCP, "--config", str(config), "--home", str(home)]
    exported = tmp_path / "bundle.json"
    subprocess.run([*gateway, "receipts", "export", receipt_id, str(exported)], capture_output=True, check=True)
    done = subprocess.run([VERIFY, str(exported)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout  # sound; whom to trust was not said
    assert "tools/call verify_bundle by etmcp-verifier" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "transport"),
        (["sse"], "invalid choice"),
        (["stdio", "--trust", "{missing}"], "missing: No such file or directory; name a file"),
        (["stdio", "--trust", "{bad}"], "trust: the trust file"),
        (["stdio", "--policy", "{bad}"], "policy: the policy file"),
        (["stdio", "--log", "example.com"], "is not a log key"),
        (["stdio", *SOFTWARE, "--key-file", "{bad}"], "name a file with 64 hex digits"),
        (["http", "--port", "70000"], "is not a number from 0 to 65535"),
        (["http", "--host", "0.0.0.0"], "invalid choice"),  # noqa: S104
        (["http", *SOFTWARE, "--port", "{taken}"], "name a file or port that can be used"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").write_bytes(b"{\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = {"missing": tmp_path / "missing", "bad": tmp_path / "bad", "taken": taken.getsockname()[1]}
        with pytest.raises(SystemExit) as ended:
            main([argument.format(**places) for argument in arguments])
    err = capfd.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("etmcp-verifier: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_port_that_is_taken_is_one_line_of_the_storage_server_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        storage(
            [
                "http",
                "--attester",
                "software",
                "--gateway",
                "00" * 32,
                "--data",
                str(tmp_path / "data"),
                "--port",
                str(taken.getsockname()[1]),
            ]
        )
    err = capfd.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("etmcp-storage: ")
    assert err.count("\n") == 1
