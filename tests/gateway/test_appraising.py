"""What a gateway accepts of evidence: a policy file that changes under it, reference values, and roots for tests."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from attest.denylist import DEFAULT
from attest.trust import load_trust
from gateway.appraising import Mark, accepting
from gateway.config import Config, Server, Settings, load
from gateway.errors import UserError
from gateway.home import Home
from gateway.runtime import running
from tests.support.rawclient import ETMCP, Json, Reply, StdioClient

ROOT = Path(__file__).parents[2]
PROVEN = ROOT / "tests" / "support" / "proven.py"
PRODUCTION, DEVELOPMENT = {"preset": "production"}, {"preset": "development"}
SECONDS = 30
T = TypeVar("T")


def policy(path: Path, accept: Any) -> Path:
    """Write an appraisal policy; whoever reads it sees the old one or the new one."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"kind": "appraisal", "version": 1, "accept": accept}))
    return draft.replace(path)


def configured(folder: Path, **server: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"mcpServers": {"lean": server}}))
    return path


def software(folder: Path, **settings: Any) -> Path:
    """A server on a pipe that vouches for itself."""
    (folder / "proven").mkdir()
    (folder / "proven" / "mode").write_text("good")
    path = {"PYTHONPATH": str(ROOT)}
    arguments = [str(PROVEN), str(folder / "proven")]
    return configured(folder, command=sys.executable, args=arguments, env=path, etmcp=settings)


def describe(client: StdioClient) -> Json:
    """One call, and what is told of it: a verdict, or why there is no such tool now."""
    reply: Reply = client.request("tools/call", {"name": "describe_data", "arguments": {"data": "a"}})
    if "error" in reply.response:
        return {"verdict": "none", "said": reply.response["error"]["message"]}
    return reply.verification | {"said": json.dumps(reply.result["content"])}


def until(told: Callable[[], T], right: Callable[[T], bool]) -> T:
    """What is told once it is right; fails at the deadline."""
    end = time.monotonic() + SECONDS
    while not right(said := told()):
        assert time.monotonic() < end, said
        time.sleep(0.05)
    return said


def state(client: StdioClient) -> str:
    """How the server is."""
    return client.request("tools/list").result["_meta"]["com.etmcp/servers"]["lean"]


def test_g31_a_stricter_policy_holds_from_the_next_call_and_a_broken_one_lets_nothing_pass(tmp_path: Path) -> None:
    rules = policy(tmp_path / "policy.json", DEVELOPMENT)
    config = software(tmp_path, appraisal="policy.json")
    with StdioClient(config, tmp_path / "home", tmp_path / "stderr") as client:
        assert describe(client)["verdict"] == "verified"
        policy(rules, PRODUCTION)
        assert describe(client)["verdict"] != "verified"
        until(lambda: state(client), lambda told: "[policy]" in told)
        assert describe(client)["verdict"] == "none"
        policy(rules, DEVELOPMENT)
        assert until(lambda: describe(client), lambda told: told["verdict"] == "verified")["assurance"] == "software"
        rules.write_text("{")
        assert describe(client)["code"] == "superseded"
        until((tmp_path / "stderr").read_text, lambda told: f"{rules}: " in told)
        assert describe(client)["code"] == "superseded"
        rules.unlink()
        assert describe(client)["code"] == "superseded"
        policy(rules, DEVELOPMENT)
        until(lambda: describe(client), lambda told: told["verdict"] == "verified")


def test_a_configuration_that_names_a_file_before_it_is_there_is_taken_up_when_it_is(tmp_path: Path) -> None:
    config = software(tmp_path, appraisal="development")
    told = json.loads(config.read_text())
    with StdioClient(config, tmp_path / "home", tmp_path / "stderr") as client:
        assert describe(client)["verdict"] == "verified"
        told["mcpServers"]["lean"]["etmcp"]["appraisal"] = "late.json"
        config.write_text(json.dumps(told))
        until((tmp_path / "stderr").read_text, lambda said: "late.json: No such file" in said)
        policy(tmp_path / "late.json", PRODUCTION)
        until(lambda: state(client), lambda said: "[policy]" in said)


@pytest.mark.parametrize("settings", [{"appraisal": "a\0b"}, {"appraisal": "x" * 3000}])
def test_what_can_be_no_path_is_a_users_mistake(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(UserError, match="name a policy file"):
        load(software(tmp_path, **settings))


def test_a_policy_without_end_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="/dev/zero: the policy file is longer than"):
        accepting("/dev/zero", tmp_path)


def test_g31_a_server_with_an_appraisal_policy_has_to_offer_evidence(tmp_path: Path) -> None:
    config = software(tmp_path, appraisal="development")
    (tmp_path / "proven" / "mode").write_text("plain")
    with StdioClient(config, tmp_path / "home", tmp_path / "stderr") as client:
        assert "[unattested]" in state(client)
        assert describe(client)["verdict"] == "none"


def test_an_appraisal_policy_is_read_with_the_configuration_and_is_part_of_what_decides(tmp_path: Path) -> None:
    rules = policy(tmp_path / "policy.json", DEVELOPMENT)
    config = software(tmp_path, appraisal="policy.json")
    first = load(config)
    assert first.policies.keys() == {rules}
    assert first.servers["lean"].etmcp.proven
    policy(rules, PRODUCTION)
    assert load(config).digest() != first.digest()
    rules.unlink()
    with pytest.raises(UserError, match="name a policy file, or one of production, development"):
        load(config)


def test_a_file_that_changes_between_two_servers_is_read_again_for_both(tmp_path: Path) -> None:
    """Else the first would be held to be outdated until the file changes once more."""
    held: dict[str, Server] = {}
    for alias, accept in (("one", DEVELOPMENT), ("two", PRODUCTION), ("three", PRODUCTION)):
        rules = policy(tmp_path / "policy.json", accept)
        settings = Settings(appraisal="policy.json").held_to(accepting("policy.json", tmp_path), DEFAULT)
        held[alias] = Server(command="x", etmcp=settings)
    assert Config(held, "config").policies == {rules: None}
    assert Config({"three": held["three"]}, "config").policies == {rules: Mark.of(rules)}


@dataclass(frozen=True)
class Machine:
    """A guest of the fake AMD, and the gateway's command line before it."""

    folder: Path
    url: str

    def etmcp(self, *arguments: str, roots: bool = True) -> subprocess.CompletedProcess[str]:
        told = ["--dangerous-test-roots", str(self.folder / "roots.json")] if roots else []
        command = [ETMCP, "--config", str(self.folder / "config.json"), "--home", str(self.folder / "home"), *told]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def hold(self, accept: Any, **settings: Any) -> None:
        """The configuration: the server under this policy."""
        policy(self.folder / "policy.json", accept)
        configured(self.folder, url=self.url, etmcp={"appraisal": "policy.json", **settings})

    def known(self) -> list[Any]:
        """The rule for its very program."""
        values = json.loads((self.folder / "values.json").read_text())["amd-sev-snp"]["measurement"]
        return [{"measurement": {"register": "measurement", "values": values}}]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    command = [sys.executable, "-m", "tests.support.guest", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield Machine(folder, process.stdout.readline().strip())
        finally:
            process.kill()


HARDWARE = {"minAssurance": "hardware"}


def test_hardware_is_accepted_and_each_verdict_says_test_root(machine: Machine) -> None:
    machine.hold({"allOf": [HARDWARE, {"notDebug": True}, *machine.known()]})
    called = machine.etmcp("call", "echo", "text=a", "--json")
    assert called.returncode == 0, called
    verdict = json.loads(called.stdout)["_meta"]["com.etmcp/verification"]
    assert (verdict["verdict"], verdict["assurance"], verdict["anchor"]) == ("verified", "hardware", "test-root")
    assert "executor-attested, assurance hardware, test-root, receipt" in called.stderr
    assert "roots for tests count" in called.stderr
    listed = machine.etmcp("receipts", "list", "--limit", "1")
    assert "executor-attested (hardware, test-root)" in listed.stdout
    assert json.loads(machine.etmcp("receipts", "list", "--limit", "1", "--json").stdout)["anchor"] == "test-root"
    assert "executor-attested, assurance hardware, test-root, 1 tools" in machine.etmcp("status").stdout


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        pytest.param([PRODUCTION], "root", id="g29-production-takes-no-test-root"),
        pytest.param([HARDWARE], "measurement", id="g24-no-reference-values"),
        pytest.param(
            [HARDWARE, {"measurement": {"register": "measurement", "values": ["00" * 48]}}],
            "measurement",
            id="g24-another-program",
        ),
        pytest.param([{"minTcb": {"snp": 25}}, DEVELOPMENT], "tcb", id="g17-svn-floor"),
        pytest.param([{"instances": ["chip:00"]}, DEVELOPMENT], "policy", id="g23-another-machine"),
        pytest.param([{"schemes": ["intel-tdx"]}, DEVELOPMENT], "policy", id="g08-another-scheme"),
        pytest.param([], "policy", id="an-empty-policy"),
    ],
)
@pytest.mark.anyio
async def test_hardware_that_the_policy_does_not_accept_is_refused(
    machine: Machine, accept: list[Any], code: str
) -> None:
    machine.hold({"allOf": accept})
    roots = load_trust((machine.folder / "roots.json").read_bytes()).anchors
    async with running(
        load(machine.folder / "config.json"),
        Home(machine.folder / "other"),
        clock=lambda: time.time_ns() // 1_000_000,
        environ={},
        version="0",
        test_roots=roots,
    ) as gateway:
        assert f"[{code}]" in (await gateway.aggregate.survey())["lean"]


def test_g29_without_the_option_a_test_root_is_no_root(machine: Machine) -> None:
    machine.hold({"allOf": [HARDWARE, *machine.known()]})
    assert "[root]" in machine.etmcp("status", roots=False).stdout


def test_no_configuration_can_contain_test_roots(machine: Machine) -> None:
    for name in ("testRoots", "test_roots", "dangerousTestRoots", "dangerous-test-roots"):
        path = configured(machine.folder, url=machine.url, etmcp={name: str(machine.folder / "roots.json")})
        with pytest.raises(UserError, match=f"lean.etmcp.{name}: "):
            load(path)


def test_a_publishers_reference_values_are_enough_beside_a_policy_without_any(machine: Machine) -> None:
    machine.hold({"allOf": [HARDWARE, *machine.known()]})
    key, signed, values = (str(machine.folder / name) for name in ("key", "manifest.json", "values.json"))
    made = machine.etmcp("manifest", "lean", "--key", key, "--reference-values", values, signed)
    assert made.returncode == 0, made
    settings = json.loads("{" + made.stdout.splitlines()[-1] + "}")["etmcp"]
    machine.hold(HARDWARE, **settings)
    assert "assurance hardware" in machine.etmcp("status").stdout
    other = machine.folder / "other.json"
    other.write_text(json.dumps({"amd-sev-snp": {"measurement": ["00" * 48]}}))
    machine.hold({"allOf": [HARDWARE, *machine.known()]})
    assert not machine.etmcp("manifest", "lean", "--key", key, "--reference-values", str(other), signed).returncode
    machine.hold(DEVELOPMENT, **settings)
    assert "[measurement]" in machine.etmcp("status").stdout
