"""A denylist that is signed after a proof system fell: to a gateway that runs, and to whoever checks offline."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attest.canonical import canonical
from attest.denylist import DEFAULT, Denylist, Entry
from attest.document import sign_policy
from attest.trust import FORMAT
from servers.tee.proving.folder import Keys
from tests.attest.made import signing_key
from tests.attest.test_cli import run
from tests.support.rawclient import ETMCP, Json, StdioClient

TEE = str(Path(sys.executable).with_name("etmcp-tee"))
OURS, STRANGER = signing_key("denylist"), signing_key("stranger")
SIGNER = OURS.public_key().public_bytes_raw().hex()
SECONDS = 60


def listed(path: Path, number: int, *entries: Entry, by: str = "denylist") -> None:
    """A signed list; whoever reads it sees the old one or the new one."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(canonical(sign_policy(Denylist(number, entries).encode(), signing_key(by)).to_json()))
    draft.replace(path)


def stopped(keys: Keys) -> Entry:
    return Entry("groth16-bn254", "stopped", "found unsound", "a test", "key", keys.program.identity)


@pytest.fixture
def gateway(proving_cache: Path, tmp_path: Path) -> Iterator[StdioClient]:
    listed(tmp_path / "denylist.json", 2, *DEFAULT.entries)
    tee: Json = {"command": TEE, "args": ["--cache", str(proving_cache), "stdio", "--attester", "software"]}
    tee["etmcp"] = {"require": "executor-attested", "timeout": 100}
    config: Json = {"denylist": {"file": "denylist.json", "signers": [SIGNER]}, "mcpServers": {"tee": tee}}
    (tmp_path / "etmcp.json").write_text(json.dumps(config))
    with StdioClient(tmp_path / "etmcp.json", tmp_path / "home", tmp_path / "stderr") as client:
        yield client


def scored(client: StdioClient) -> Json:
    """The verdict on one call; of a call between two configurations, that there was none."""
    reply = client.request("tools/call", {"name": "score", "arguments": {"x": [0] * 16}})
    return {"code": "none"} if "error" in reply.response else reply.verification


def until(client: StdioClient, code: str) -> None:
    end = time.monotonic() + SECONDS
    while (told := scored(client)).get("code") != code:
        assert time.monotonic() < end, told
        time.sleep(0.05)


def test_a_running_gateway_takes_a_newer_list_up_and_keeps_it_when_its_file_is_spoilt(
    gateway: StdioClient, keys: Keys, tmp_path: Path
) -> None:
    first = scored(gateway)
    assert (first["verdict"], first["proof"]["denylist"]) == ("verified", 2)
    listed(tmp_path / "denylist.json", 3, stopped(keys))
    until(gateway, "denied")
    said, end = tmp_path / "stderr", time.monotonic() + SECONDS
    listed(tmp_path / "denylist.json", 4, by="stranger")
    while "get the list again" not in said.read_text():
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.05)
    assert scored(gateway)["code"] == "denied"
    listed(tmp_path / "denylist.json", 2, *DEFAULT.entries)
    while said.read_text().count("read again") < 2:
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.05)
    assert scored(gateway)["code"] == "denied"


def test_offline_a_newer_list_counts_under_a_key_of_the_trust_file(
    gateway: StdioClient, keys: Keys, tmp_path: Path
) -> None:
    receipt = scored(gateway)["receiptId"]
    command = [ETMCP, "--home", str(tmp_path / "home"), "--config", str(tmp_path / "etmcp.json")]
    subprocess.run([*command, "receipts", "export", receipt, str(tmp_path / "bundle.json")], check=True, timeout=60)
    trust, newer, older = tmp_path / "trust.json", tmp_path / "newer", tmp_path / "older"
    trust.write_text(json.dumps({"format": FORMAT, "anchors": {"denylist": [SIGNER]}}))
    listed(newer, 9, stopped(keys))
    listed(older, 0, stopped(keys))
    for path, said in ((newer, "8 proof     failed [revoked]"), (older, "8 proof     passed")):
        assert said in run(tmp_path / "bundle.json", "--trust", trust, "--denylist", path).stdout
    alone = run(tmp_path / "bundle.json", "--denylist", newer)
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    assert "newer" in alone.stderr
