"""A hosted server that attacks its host gets nothing, and what can be seen of its attempts is in the log."""

import json
import os
import re
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.servers.tee.hosted.scene import LIMITS, Host, policy, script
from tests.support.rawclient import Json

SECRET = "operator-secret-4711"
RESULT_BYTES = LIMITS["resultBytes"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server on this machine's loopback that a hosted one must not reach."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            raise AssertionError(f"the host's loopback was reached: {format % args}")

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The hostile server, hosted, with a secret in the operator's environment and in a file."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "secret.txt").write_text(SECRET)
    environ = {"OPERATOR_TOKEN": SECRET, "ETMCP_SECRET_UNNAMED": SECRET}
    with Host(folder / "log", "--unsigned-policy", str(policy(folder)), *script("evil.py"), environ=environ) as host:
        yield host


def test_files_of_the_host_are_not_there_and_looking_for_keys_is_seen(evil: Host, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(SECRET)
    said = evil.text("files", paths=[str(tmp_path / "own"), str(Path.home() / ".ssh"), "/etc/passwd", "/proc/kcore"])
    assert SECRET not in said
    assert "root:" not in said
    got = {line.split()[0] for line in said.splitlines() if " GOT " in line and "decoy" not in line}
    assert got == {"/proc/1/environ", "/proc/self/environ", "/etc/passwd"}  # its own, and the sandbox's
    for name in ("~/.ssh/id_ed25519", "~/.ssh/id_rsa", "~/.aws/credentials", "/etc/shadow"):
        assert f"it opened {name}: a decoy" in evil.log


def test_its_environment_is_what_was_granted(evil: Host) -> None:
    environment: dict[str, str] = json.loads(evil.text("environment"))
    assert SECRET not in environment.values()
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "NODE_USE_ENV_PROXY"}
    assert set(environment) <= {"PATH", "HOME", "LANG", "TMPDIR", "TZ", "PWD"} | proxies


def test_the_network_is_not_there_and_each_try_is_named(evil: Host, port: int) -> None:
    said = evil.text("network", port=port)
    assert "GOT" not in said
    assert SECRET not in said
    assert f"it tried http to 127.0.0.1 port {port}: denied" in evil.log
    assert "it tried http to evil.example port 80: denied" in evil.log
    assert "it tried to reach addresses past its proxy" in evil.log


def test_other_processes_are_not_there(evil: Host) -> None:
    said = dict(line.split(" ", 1) for line in evil.text("processes", pid=evil.process.pid).splitlines())
    assert said["list"].endswith("GOT ['1']") or "GOT" not in said["list"]
    assert "GOT" not in evil.text("processes", pid=evil.process.pid).split("host memory")[1]
    assert evil.process.poll() is None


def test_no_right_is_gained_and_nothing_of_the_program_is_changed(evil: Host) -> None:
    assert "GOT" not in evil.text("escalate")


def test_forged_answers_and_receipts_are_not_passed_on(evil: Host) -> None:
    result = evil.call("forge")
    assert result["content"][0]["text"] == "mine"
    assert result["_meta"] == {"other": 1}
    assert evil.text("environment") != "forged"
    assert evil.text("twice") == "first"
    assert evil.text("environment") != "second"


def test_its_name_and_extension_are_ours_to_say(evil: Host) -> None:
    info: Json = evil.introduced["_meta"]["io.modelcontextprotocol/serverInfo"]
    assert info["name"] == "local:evil.py"
    extension = evil.introduced["capabilities"]["extensions"]["com.etmcp/receipts"]
    assert extension["evidence"] == "attest://evidence/{nonce}"


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("ambiguous", {}, "without one meaning"),
        ("deep", {}, "nested too deeply"),
        ("huge", {"size": 4 * RESULT_BYTES}, "a line of more than"),
    ],
)
def test_what_cannot_be_read_fails_its_own_call_only(evil: Host, tool: str, arguments: Json, why: str) -> None:
    result = evil.call(tool, **arguments)
    assert result["isError"]
    assert why in result["content"][0]["text"]
    assert evil.text("environment")


def test_floods_are_bounded_and_counted(evil: Host) -> None:
    assert evil.text("noise") == "said"
    assert evil.text("questions") == "asked"
    assert evil.text("notifications", count=5000) == "sent"
    assert evil.text("environment")
    assert "\x1b" not in evil.log
    assert evil.log.count("spam") <= 50


def test_memory_processes_and_disk_end_within_their_bounds(tmp_path: Path) -> None:
    with Host(tmp_path / "log", "--unsigned-policy", str(policy(tmp_path)), *script("evil.py")) as host:
        assert re.match(r"stopped after 1[0-9] MiB: No space left", host.text("disk"))
        stopped = re.match(r"stopped after (\d+)", host.text("forks"))
        assert stopped
        assert int(stopped[1]) < LIMITS["processes"]
        assert host.call("memory")["isError"]  # MemoryError, or killed
        assert host.text("mark") == "[]"  # and the next one works


def test_a_new_session_finds_nothing_of_the_one_before(tmp_path: Path) -> None:
    with Host(tmp_path / "log", "--unsigned-policy", str(policy(tmp_path)), *script("evil.py")) as host:
        assert json.loads(host.text("mark")) == []
        assert len(json.loads(host.text("mark"))) == 3  # it had a place to write to
        died = host.call("die")
        assert died["isError"]
        assert "exited with code 7, last saying “these are my last words”" in died["content"][0]["text"]
        assert json.loads(host.text("mark")) == []


def test_what_hangs_is_given_up_and_replaced(tmp_path: Path) -> None:
    limits = {"wallSeconds": 1}
    with Host(tmp_path / "log", "--unsigned-policy", str(policy(tmp_path, limits=limits)), *script("evil.py")) as host:
        for _ in range(2):
            result = host.call("hang")
            assert "did not answer within the 1 s" in result["content"][0]["text"]
        assert "left 2 calls in a row unanswered" in host.log
        assert host.text("environment")


def test_a_quota_on_what_it_may_write_is_held(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, 65534, 65534)
    grant = {"path": str(state), "guest": "/state", "access": "rw"}
    document = policy(tmp_path, grant, files={"quotaBytes": 1 << 20, "quotaInodes": 10})
    with Host(tmp_path / "log", "--unsigned-policy", str(document), *script("evil.py")) as host:
        assert host.text("quota", path="/state/small", size=1000) == "written"
        sizes = [host.call("quota", path=f"/state/{number}", size=1 << 20) for number in range(40)]
        assert any("the policy grants 1,048,576" in each["content"][0]["text"] for each in sizes)


def test_nothing_it_started_outlives_its_host(tmp_path: Path) -> None:
    with Host(tmp_path / "log", "--unsigned-policy", str(policy(tmp_path)), *script("evil.py")) as host:
        assert host.text("daemon") == "left behind"
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            assert b"/scripts/evil.py" not in words or not _ours(folder, tmp_path)


def test_kill_9_of_the_host_ends_all_that_it_hosts(tmp_path: Path) -> None:
    with Host(tmp_path / "log", "--unsigned-policy", str(policy(tmp_path)), *script("evil.py")) as host:
        assert host.text("daemon") == "left behind"
        below = descendants(host.process.pid)
        assert len(below) >= 3  # the fork server, the server, and what it left behind
        watched = [os.pidfd_open(pid) for pid in below]
        host.process.send_signal(signal.SIGKILL)
        host.process.wait()
        for descriptor in watched:
            assert select.select([descriptor], [], [], 60)[0]
            os.close(descriptor)


def descendants(pid: int) -> list[int]:
    """The processes below one, as they are now."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found, more = list[int](), [pid]
    while more:
        above = more.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found += below
        more += below
    return found


def _ours(folder: Path, tmp_path: Path) -> bool:
    """Whether it shows the folder of this test among its mounts."""
    try:
        return str(tmp_path) in (folder / "mountinfo").read_text()
    except OSError:
        return False
