"""From a machine's report requests to a stranger's verdict: etmcp-tee in a fake TD, the gateway before it, a bundle."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attest.trust import FORMAT
from tests.bridge.scene import free_port
from tests.pki.intel import FakeIntel
from tests.support.rawclient import ETMCP, StdioClient
from tests.support.swtpm import SoftwareTpm
from tests.tsm import fake_configfs

TD = FakeIntel(time.time_ns() // 1_000_000)
MRTD = bytes(range(48))
RTMRS = {number: bytes([number]) * 48 for number in (1, 2, 3)}
CALL = {"name": "run_python", "arguments": {"code": "6 * 7"}}
SECONDS = 60


@contextmanager
def serving(*options: str) -> Generator[str]:
    """etmcp-tee over HTTP: its URL."""
    command = [sys.executable, "-m", "servers.tee", "http", "--port", str(free_port()), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"(http://\S+/mcp), attester (\S+)", line):
                    yield f"{found[1]} {found[2]}"
                    return
            pytest.fail(f"etmcp-tee ended: {said}")
        finally:
            process.terminate()
            process.wait(SECONDS)


@dataclass(frozen=True)
class Machine:
    """A TD that runs etmcp-tee, and beside it the same without a TEE."""

    folder: Path
    td: str
    software: str
    key: str

    def hold(self, rtmr3: bytes = RTMRS[3], **more: Any) -> Path:
        """The configuration: both servers under a policy of `hardware` with these reference values."""
        values = {"mrtd": MRTD} | {f"rtmr{number}": RTMRS[number] for number in (1, 2)} | {"rtmr3": rtmr3}
        measured = [{"measurement": {"register": name, "values": [value.hex()]}} for name, value in values.items()]
        self.accept({"allOf": [{"minAssurance": "hardware"}, *measured]})
        settings = {"appraisal": "policy.json", **more}
        servers = {"td": {"url": self.td, "etmcp": settings}}
        servers["software"] = {"url": self.software, "etmcp": {**settings, "attesters": [self.key]}}
        documents = {"folder": "documents", "fetch": False}
        (self.folder / "config.json").write_text(json.dumps({"mcpServers": servers, "endorsements": documents}))
        return self.folder / "config.json"

    def accept(self, rule: Any) -> None:
        draft = self.folder / "draft.json"
        draft.write_text(json.dumps({"kind": "appraisal", "version": 1, "accept": rule}))
        draft.replace(self.folder / "policy.json")

    @property
    def roots(self) -> tuple[str, str]:
        return "--dangerous-test-roots", str(self.folder / "roots.json")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "roots.json").write_text(json.dumps({"format": FORMAT, "anchors": {"intel": [TD.root_sha256]}}))
    document = folder / "documents" / TD.document_name
    document.parent.mkdir(parents=True)
    document.write_bytes(TD.collateral())
    with (
        fake_configfs("tdx_guest", TD, mrtd=MRTD, rtmrs=RTMRS) as place,
        serving("--attester", "tdx", "--reports", str(place.reports)) as td,
        serving("--attester", "software") as software,
    ):
        url, key = software.split()
        yield Machine(folder, td.split()[0], url, key)


def called(client: StdioClient, tool: str = "run_python") -> dict[str, Any]:
    """The verification of one call; what was said instead where there is none."""
    reply = client.request("tools/call", {**CALL, "name": tool})
    return reply.verification if "result" in reply.response else {"verdict": "none", "said": str(reply.response)}


def test_hardware_is_accepted_software_is_not_and_a_policy_change_holds_at_once(
    machine: Machine, tmp_path: Path
) -> None:
    config = machine.hold()
    with StdioClient(config, tmp_path / "home", tmp_path / "stderr", options=machine.roots) as client:
        states = client.request("tools/list").result["_meta"]["com.etmcp/servers"]
        assert "withheld" not in states["td"]
        assert "withheld the evidence from software [measurement]" in states["software"]
        verdict = called(client)
        assert (verdict["verdict"], verdict["kind"]) == ("verified", "executor-attested")
        assert (verdict["assurance"], verdict["anchor"], verdict["server"]) == ("hardware", "test-root", "td")
        assert verdict["evidence"] | {"collateralDate": 0} == {
            "scheme": "intel-tdx",
            "instance": "unpinned",
            "assumes": ["no physical access"],
            "collateralDate": 0,
        }
        machine.hold(rtmr3=bytes(48))
        assert called(client)["verdict"] != "verified"
        machine.hold()
        end = time.monotonic() + SECONDS
        while (verdict := called(client))["verdict"] != "verified":
            assert time.monotonic() < end, verdict
            time.sleep(0.1)
        assert verdict["assurance"] == "hardware"


def test_a_bundle_carries_its_endorsements_and_convinces_a_stranger_who_trusts_the_root(
    machine: Machine, tmp_path: Path
) -> None:
    config = machine.hold()
    command = [ETMCP, "--config", str(config), "--home", str(tmp_path / "home"), *machine.roots]
    told = ["call", "run_python", "code=6*7", "--json"]
    made = subprocess.run([*command, *told], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert made.returncode == 0, made.stderr
    receipt = json.loads(made.stdout)["_meta"]["com.etmcp/verification"]["receiptId"]
    bundle = tmp_path / "bundle.json"
    subprocess.run([*command, "receipts", "export", receipt, str(bundle)], check=True, capture_output=True)
    assert list(json.loads(bundle.read_bytes())["endorsements"]) == [TD.document_name]
    policy, roots = machine.folder / "policy.json", machine.folder / "roots.json"
    verify = [str(Path(ETMCP).with_name("etmcp-verify")), str(bundle), "--policy", str(policy)]
    done = subprocess.run([*verify, "--trust", str(roots)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "assurance hardware" in done.stdout
    assert re.search(r"evidence intel-tdx, instance unpinned, collateral of \d{4}-\d\d-\d\d", done.stdout)
    assert "assumes no physical access" in done.stdout
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 3
    revoked = tmp_path / "newer" / TD.document_name
    revoked.parent.mkdir(parents=True)
    revoked.write_bytes(TD.collateral(revoked=[TD.pck]))
    newer = [*verify, "--trust", str(roots), "--endorsements", str(tmp_path / "newer")]
    done = subprocess.run(newer, capture_output=True, text=True, check=False)
    assert (done.returncode, "failed [revoked]" in done.stdout) == (1, True), done.stdout
    for folder in (tmp_path / "newre", tmp_path / "newer" / "intel"):
        done = subprocess.run([*newer[:-1], str(folder)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), "what was revoked would have passed"
        assert done.stderr.startswith(f"etmcp-verify: {folder}: has no {TD.document_name}; ")


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """etmcp-tee on a machine with a TPM and nothing else: its URL, and the key that it says a verifier pins."""
    machine = SoftwareTpm(tmp_path_factory.mktemp("tpm"))
    machine.start()
    try:
        with serving("--attester", "tpm", "--tpm", str(machine.path)) as told:
            url, key = told.split()
            yield url, key
    finally:
        machine.stop()


@pytest.mark.parametrize(
    ("pinned", "asked", "said"),
    [(True, "software", "software"), (False, "software", "[root]"), (True, "hardware", "[policy]")],
    ids=["pinned", "not-pinned", "as-hardware"],
)
def test_a_tpm_counts_under_the_key_that_the_operator_pins_and_never_as_hardware(
    tpm: tuple[str, str], tmp_path: Path, pinned: bool, asked: str, said: str
) -> None:
    url, key = tpm
    rule = {"kind": "appraisal", "version": 1, "accept": {"minAssurance": asked}}
    (tmp_path / "policy.json").write_text(json.dumps(rule))
    settings = {"attesters": [key if pinned else "00" * 32], "appraisal": "policy.json"}
    (tmp_path / "config.json").write_text(json.dumps({"mcpServers": {"tee": {"url": url, "etmcp": settings}}}))
    with StdioClient(tmp_path / "config.json", tmp_path / "home", tmp_path / "stderr") as client:
        state = client.request("tools/list").result["_meta"]["com.etmcp/servers"]["tee"]
        assert said in (str(called(client)) if pinned and asked == "software" else state)


def test_a_gateway_without_a_way_out_says_which_documents_it_lacks(machine: Machine, tmp_path: Path) -> None:
    told = json.loads(machine.hold().read_text())
    told["endorsements"]["folder"] = "empty"
    (machine.folder / "config.json").write_text(json.dumps(told))
    stderr = tmp_path / "stderr"
    with StdioClient(machine.folder / "config.json", tmp_path / "home", stderr, options=machine.roots) as client:
        assert "[chain]" in client.request("tools/list").result["_meta"]["com.etmcp/servers"]["td"]
        assert f"not to be had: {TD.document_name}" in stderr.read_text()


def test_without_the_option_for_test_roots_it_is_nobodys_evidence(machine: Machine, tmp_path: Path) -> None:
    with StdioClient(machine.hold(), tmp_path / "home", tmp_path / "stderr") as client:
        assert "[root]" in client.request("tools/list").result["_meta"]["com.etmcp/servers"]["td"]
