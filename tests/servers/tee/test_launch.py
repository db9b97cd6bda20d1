"""`etmcp-tee launch`: what is measured is in the register before it runs, and it is what runs."""

import fcntl
import hashlib
import importlib.util
import json
import marshal
import os
import secrets
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attest import wire
from attest.claims import Claims, Endorsements, Scheme
from attest.errors import PolicyError
from attest.language import load
from attest.policy import AllOf, MinAssurance
from attest.schemes.intel import TdxScheme
from attest.schemes.tpm2 import TpmScheme
from attest.verifier import AttestationResult, Verifier
from servers.attesters import AttesterError
from servers.tee.cli.launch import IN_MEMORY, file_system, handed_on
from servers.tee.measured import Measured
from servers.tee.registers import Pcr, Rtmr, extend_once
from servers.tpm.attester import TpmAttester
from tests.pki.intel import FakeIntel, octets
from tests.servers.tee.installed import Installed, install
from tests.support.rawclient import HttpClient, wait_for
from tests.support.swtpm import SoftwareTpm
from tests.tsm import Place, fake_configfs

NOW = time.time_ns() // 1_000_000
SHARED = "/dev/shm"  # noqa: S108 - a file system in memory
INTEL = FakeIntel(NOW)
BUILD, OTHER = Measured({"code": "00"}), Measured({"code": "11"})
RTMRS = {1: octets("kernel", 48), 2: octets("command line", 48)}


@dataclass
class Register:
    """`lost` extensions are not made, `after` is what somebody else extends it by behind each of ours."""

    held: bytes = bytes(48)
    lost: bool = False
    after: bytes = b""
    extended: list[bytes] = field(default_factory=list[bytes])
    folder: Path = Path(__file__).parent

    def read(self) -> bytes:
        return self.held

    def extend(self, digest: bytes) -> None:
        self.extended.append(digest)
        for each in [digest] * (not self.lost) + [self.after] * bool(self.after):
            self.held = hashlib.sha384(self.held + each).digest()


def test_a_build_is_extended_once_and_another_is_refused() -> None:
    register = Register()
    assert extend_once(register, "rtmr3", BUILD)
    assert register.held == BUILD.value("rtmr3")
    assert not extend_once(register, "rtmr3", BUILD)
    assert len(register.extended) == 1
    with pytest.raises(AttesterError, match="restart the machine"):
        extend_once(register, "rtmr3", OTHER)
    assert len(register.extended) == 1


@pytest.mark.parametrize(
    "register",
    [Register(held=b"\1" + bytes(47)), Register(lost=True), Register(after=bytes(48))],
    ids=["something-is-in-it", "it-does-not-take-it", "somebody-else-extends-it"],
)
def test_a_register_that_would_not_match_keeps_the_server_from_starting(register: Register) -> None:
    with pytest.raises(AttesterError, match="restart the machine"):
        extend_once(register, "rtmr3", BUILD)


def test_launchers_take_turns_and_do_not_wait_without_end(tmp_path: Path) -> None:
    register = Register(folder=tmp_path)
    waited: list[float] = []
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(AttesterError, match="another launcher, or who else has locked it"):
        extend_once(register, "rtmr3", BUILD, pause=waited.append)
    assert 5 <= sum(waited) <= 60
    assert not register.extended

    def ending(_: float) -> None:
        os.close(other)

    assert extend_once(register, "rtmr3", BUILD, pause=ending)


@pytest.fixture
def machine() -> Iterator[Place]:
    with fake_configfs("tdx_guest", INTEL, rtmrs=RTMRS) as place:
        yield place


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    made = SoftwareTpm(tmp_path_factory.mktemp("tpm"))
    made.start()
    yield made
    made.stop()


def test_the_kernels_register(machine: Place, tmp_path: Path) -> None:
    register = Rtmr(machine.measurements)
    with pytest.raises(AttesterError, match="refuses the request"):
        register.extend(bytes(47))
    assert extend_once(register, "rtmr3", BUILD)
    assert register.read() == BUILD.value("rtmr3")
    with pytest.raises(AttesterError, match=r"rtmr3:sha384: not there; it needs a TD with Linux 6\.16"):
        Rtmr(tmp_path).read()
    (tmp_path / "rtmr3:sha384").write_bytes(bytes(47))
    with pytest.raises(AttesterError, match="47 bytes are no register"):
        Rtmr(tmp_path).read()
    (tmp_path / "rtmr3:sha384").write_bytes(bytes(48))
    with pytest.raises(AttesterError, match="restart"):
        extend_once(Rtmr(tmp_path), "rtmr3", BUILD)  # an ordinary file only remembers


def test_a_tpms_register(tpm: SoftwareTpm) -> None:
    register = Pcr(13, tpm.path)
    assert extend_once(register, "pcr13", BUILD)
    assert register.read() == BUILD.value("pcr13")
    assert not extend_once(register, "pcr13", BUILD)
    with pytest.raises(AttesterError):
        Pcr(13, tpm.path.with_name("none")).read()


def test_nothing_that_chooses_code_is_handed_on() -> None:
    steering = dict.fromkeys(
        ("LD_PRELOAD", "PYTHONPATH", "GLIBC_TUNABLES", "OPENSSL_CONF", "GCONV_PATH", "LOCPATH", "LC_ALL"), "x"
    )
    ours = {"PATH": "/bin", "ETMCP_SECRET_A": "s"}
    assert handed_on(ours | steering) == ours | {"LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("launched") / "environment")


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder for compiled code that no disk keeps."""
    with tempfile.TemporaryDirectory(dir=SHARED) as folder:
        assert file_system(Path(folder)) in IN_MEMORY
        yield Path(folder)


def test_compiled_code_comes_from_memory_or_the_server_does_not_start(
    installed: Installed, machine: Place, memory: Path, tmp_path: Path
) -> None:
    (tmp_path / "mounts").touch()
    assert file_system(tmp_path, tmp_path / "mounts") == ""
    if (where := file_system(Path.cwd())) in IN_MEMORY:
        pytest.skip(f"the tests run on {where}")
    words = ["launch", "--measurements", str(machine.measurements), "--", "http"]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for each in (["--cache", folder, *words], ["--cache", str(memory), *words, "--cache", folder]):
            done = installed.run(*each)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
            assert f"{folder}: on {where}; " in done.stderr
            assert "etmcp-tee --cache /run/etmcp-tee launch" in done.stderr
    assert not any(Rtmr(machine.measurements).read())


@contextmanager
def launched(place: Installed, memory: Path, folder: Path, before: list[str], after: list[str]) -> Generator[int]:
    """A server over HTTP; yields its port once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = place.tee("--cache", str(memory), "launch", *before, "--", "http", "--port", str(port), *after)
    with (folder / "log").open("wb") as log, subprocess.Popen(command, env={}, cwd=folder, stderr=log) as process:
        try:
            wait_for(port, process)
            yield port
        finally:
            process.terminate()


def appraised(port: int, scheme: Scheme, endorsements: Endorsements, rules: list[dict[str, Any]]) -> AttestationResult:
    """The server's evidence under these rules, `hardware` among them where there are any."""
    nonce = secrets.token_bytes(32)
    with HttpClient(port) as client:
        read = client.request("resources/read", {"uri": wire.EVIDENCE_URI + nonce.hex()}).result
    evidence, binding = wire.load_evidence(read["contents"][0]["text"])
    level = MinAssurance("hardware" if rules else "software")
    verifier = Verifier(
        schemes=(scheme,), endorsements=endorsements, policy=AllOf([*(load(rule) for rule in rules), level])
    )
    return verifier.appraise(evidence, binding, nonce=nonce, now=time.time_ns() // 1_000_000, maximum_age_ms=60_000)


def reference(register: str, value: bytes) -> dict[str, Any]:
    return {"measurement": {"register": register, "values": [value.hex()]}}


def test_a_policy_of_reference_values_tells_the_build_in_a_td(
    installed: Installed, machine: Place, memory: Path, tmp_path: Path
) -> None:
    """The whole way of the recipe: measure, launch, quote, appraise; then again, then another build."""
    told = json.loads(installed.run("measure").stdout)
    platform = [reference("mrtd", octets("mrtd", 48))]
    platform += [reference(f"rtmr{index}", value) for index, value in RTMRS.items()]
    endorsements = Endorsements({"intel": frozenset({INTEL.root_sha256})}, INTEL.documents)
    before = ["--measurements", str(machine.measurements)]
    after = ["--reports", str(machine.reports)]
    for said in ("rtmr3 holds", "rtmr3 held"):
        with launched(installed, memory, tmp_path, before, after) as port:
            result = appraised(port, TdxScheme(), endorsements, [*platform, told["policy"]])
            assert result.assurance == "hardware"
            assert result.claims.measurement["rtmr3"] == told["rtmr3"]
            with pytest.raises(PolicyError, match="rtmr3"):
                appraised(port, TdxScheme(), endorsements, [*platform, reference("rtmr3", bytes(48))])
        assert f"{said} {told['rtmr3']}" in (tmp_path / "log").read_text()
    (tmp_path / "policy.json").write_text('{"kind": "execution", "version": 1, "tier": "wasm"}')
    other = ["--", "http", *after, "--unsigned-policy", str(tmp_path / "policy.json")]
    done = installed.run("--cache", str(memory), "launch", *before, *other)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "restart the machine" in done.stderr


def test_a_build_is_told_by_a_tpm(installed: Installed, tpm: SoftwareTpm, memory: Path, tmp_path: Path) -> None:
    told = json.loads(installed.run("measure", "--register", "pcr14").stdout)
    device = ["--tpm", str(tpm.path)]
    endorsements = Endorsements({"tpm": frozenset({TpmAttester(tpm.path).key_name()})})
    nowhere = ["--reports", str(tmp_path / "none")]
    with launched(installed, memory, tmp_path, ["--register", "pcr14", *device], [*device, *nowhere]) as port:
        claims: Claims = appraised(port, TpmScheme(), endorsements, []).claims
    assert claims.measurement["pcr14"] == told["pcr14"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--measurements", "{tmp}", "--", "http"], "rtmr3:sha384: not there; it needs a TD with Linux 6.16"),
        (["--register", "pcr14", "--tpm", "{tmp}/none", "--", "http"], "{tmp}/none cannot be used"),
        (["--register", "pcr15", "--", "http"], "invalid choice: 'pcr15'"),  # which no policy has to name
        (["--", "http", "--attester", "software"], "vouches without the register"),
        (["--", "doctor"], "launch starts http or stdio"),
        ([], "launch starts http or stdio"),
        (["--", "http", "--unsigned-policy", "{tmp}/none"], "{tmp}/none: No such file"),
    ],
    ids=["no-td", "no-tpm", "free-pcr", "software", "no-server", "nothing", "no-policy"],
)
def test_what_cannot_be_measured_into_a_register_is_not_started(
    words: list[str], said: str, installed: Installed, memory: Path, tmp_path: Path
) -> None:
    done = installed.run("--cache", str(memory), "launch", *(word.replace("{tmp}", str(tmp_path)) for word in words))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said.replace("{tmp}", str(tmp_path)) in done.stderr


def test_a_launcher_that_may_run_other_code_than_is_measured_refuses(installed: Installed, machine: Place) -> None:
    words = ["-m", "servers.tee", "launch", "--measurements", str(machine.measurements), "--", "http"]
    elsewhere = ["-I", "-X", "pycache_prefix=/tmp"]
    for options in (["-I"], ["-B", "-X", "pycache_prefix=/dev/null/none"], elsewhere):
        command = [installed.python, *options, *words]
        done = subprocess.run(
            command, cwd=installed.packages, env={}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert "-I -B -X pycache_prefix=/dev/null/none -m servers.tee launch" in done.stderr
    assert not any(Rtmr(machine.measurements).read())


def test_a_policy_that_changes_once_it_is_measured_is_not_run_under(
    installed: Installed, machine: Place, memory: Path, tmp_path: Path
) -> None:
    """Whoever owns the disk can show the launcher one file and the server another."""
    texts = [json.dumps({"kind": "execution", "version": 1, "tier": tier}) for tier in ("wasm", "process")]
    policy = tmp_path / "policy.json"
    policy.write_text(texts[0])
    words = ["launch", "--measurements", str(machine.measurements), "--", "http", "--reports", str(machine.reports)]
    command = installed.tee("--cache", str(memory), *words, "--unsigned-policy", str(policy))
    with subprocess.Popen(command, env={}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert "rtmr3 holds" in process.stderr.readline()
            policy.write_text(texts[1])
            assert "the policy has changed since it was measured" in process.stderr.readline()
            assert process.wait(60) == 2
        finally:
            process.kill()


def test_whoever_waits_for_a_key_is_told_that_there_is_none(installed: Installed, machine: Place, memory: Path) -> None:
    """As a gateway does, five seconds at each connection."""
    reading, writing = os.pipe()
    words = ["launch", "--measurements", str(machine.measurements), "--", "stdio", "--reports", str(machine.reports)]
    command = installed.tee("--cache", str(memory), *words)
    given = {"ETMCP_PIN_FD": str(writing)}
    with subprocess.Popen(
        command, env=given, pass_fds=[writing], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        os.close(writing)
        try:
            assert select.select([reading], [], [], 60)[0]
            assert os.read(reading, 1) == b""
            assert process.poll() is None
        finally:
            os.close(reading)
            process.communicate()


def test_compiled_code_beside_the_source_does_not_run(
    installed: Installed, machine: Place, memory: Path, tmp_path: Path
) -> None:
    """Python takes a compiled file for its source if date and size of that are in it: whoever writes one would run code
    that no measurement shows."""
    source, marker = installed.packages / "servers" / "pin.py", tmp_path / "marker"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.parent.mkdir(exist_ok=True)
    code = compile(f"{source.read_text()}\nopen({str(marker)!r}, 'a').close()\n", str(source), "exec")
    seen = source.stat()
    head = importlib.util.MAGIC_NUMBER + bytes(4)
    head += int(seen.st_mtime).to_bytes(4, "little") + (seen.st_size & 0xFFFFFFFF).to_bytes(4, "little")
    compiled.write_bytes(head + marshal.dumps(code))
    try:
        subprocess.run([installed.python, "-I", "-c", "import servers.pin"], check=True)
        assert marker.exists()  # so it is with any other start
        marker.unlink()
        before = ["--measurements", str(machine.measurements)]
        with launched(installed, memory, tmp_path, before, ["--reports", str(machine.reports)]):
            assert not marker.exists()
    finally:
        compiled.unlink()
