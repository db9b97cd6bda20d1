"""The tests' own instruments work: the official Inspector and four servers of others, in each era they speak."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.peers import BOTH_ERAS, PEERS, Peer, peer_command, run_inspector

SPEAKS = [(peer, era) for peer in PEERS for era in ("legacy", "modern") if era == "legacy" or peer in BOTH_ERAS]


def started(peer: Peer, folder: Path) -> tuple[list[str], str, dict[str, str], str]:
    """The server's command, one of its tools, arguments for it, and what the answer must hold."""
    (folder / "note.txt").write_text("kept in a file")
    path = str(folder)
    match peer:
        case "everything":
            return peer_command(peer), "echo", {"message": "hi"}, "Echo: hi"
        case "filesystem":
            return peer_command(peer, path), "read_text_file", {"path": f"{path}/note.txt"}, "kept in a file"
        case "time":
            arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
            return peer_command(peer, "--local-timezone", "UTC"), "convert_time", arguments, "T21:00:00+09:00"
        case "git":
            subprocess.run(["git", "init", "--quiet", path], check=True)
            return peer_command(peer, "--repository", path), "git_status", {"repo_path": path}, "note.txt"


@pytest.mark.parametrize(("peer", "era"), SPEAKS)
def test_the_inspector_lists_and_calls(peer: Peer, era: str, tmp_path: Path) -> None:
    command, tool, arguments, expected = started(peer, tmp_path)
    listed = run_inspector(*command, "--protocol-era", era, "--method", "tools/list")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert tool in {item["name"] for item in json.loads(listed.stdout)["result"]["tools"]}
    called = run_inspector(
        *command,
        *("--protocol-era", era, "--method", "tools/call"),
        *("--tool-name", tool, "--tool-args-json", json.dumps(arguments)),
    )
    assert called.returncode == 0, called.stdout + called.stderr
    assert expected in json.loads(called.stdout)["result"]["content"][0]["text"]


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer not in BOTH_ERAS])
def test_a_legacy_server_refuses_the_modern_era(peer: Peer, tmp_path: Path) -> None:
    command, *_ = started(peer, tmp_path)
    refused = run_inspector(*command, "--protocol-era", "modern", "--method", "tools/list")
    assert refused.returncode != 0
    assert "did not offer" in refused.stdout + refused.stderr
