"""What `deploy/` says is what the programs take, as far as a machine without a TEE can tell."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from attest.claims import Claims, Endorsements
from attest.errors import PolicyError
from attest.evidence import Evidence
from attest.policy import Subject
from attest.schemes.intel import TdxScheme
from attest.schemes.sev_snp import SevSnpScheme
from attest.trust import load_policy
from gateway.config import load
from tests.pki.amd import FakeAmd
from tests.pki.amd import octets as of_amd
from tests.pki.intel import FakeIntel
from tests.pki.intel import octets as of_intel
from tests.servers.tee.installed import COMMAND

DEPLOY = Path(__file__).parents[1] / "deploy"
RECIPE = (DEPLOY / "README.md").read_text(encoding="utf-8")
UNITS = sorted(DEPLOY.glob("*/*.service"))
NOW = time.time_ns() // 1_000_000
REGISTERS = {"mrtd": 0, "rtmr1": 1, "rtmr2": 2, "rtmr3": 3}


def start(unit: Path) -> list[str]:
    """The words of ExecStart."""
    (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.parent.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace(start(unit)[0], sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if here.name in line or str(here) in line]
    assert not complaints


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.parent.name)
def test_the_unit_keeps_memory_off_the_disks_and_the_server_from_changing_the_system(unit: Path) -> None:
    said = unit.read_text().splitlines()
    assert {"LimitCORE=0", "MemorySwapMax=0", "UMask=0077", "ProtectHome=yes", "PrivateTmp=yes"} <= {*said}
    assert {"ProtectSystem=strict", "ProtectKernelModules=yes", "NoNewPrivileges=yes"} <= {*said}


@pytest.mark.parametrize(
    ("place", "said"), [("tdx", ("is not measured; install",)), ("snp", ("/sys/kernel/config/tsm/report: ",))]
)
def test_the_command_line_is_one_of_ours(place: str, said: tuple[str, ...]) -> None:
    """It comes as far as this machine lets it, which has neither a TEE nor an installation apart."""
    words = start(DEPLOY / place / "etmcp-tee.service")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        words = [word.replace("/run/etmcp-tee", memory) for word in words]
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert any(each in line for each in said), line


def filled(place: str, **values: bytes) -> bytes:
    """The policy with reference values put in."""
    policy = json.loads((DEPLOY / place / "policy.json").read_bytes())
    for rule in policy["accept"]["allOf"]:
        if "measurement" in rule:
            rule["measurement"]["values"] = [values[rule["measurement"]["register"]].hex()]
    return json.dumps(policy).encode()


def tdx() -> tuple[Claims, dict[str, bytes]]:
    intel = FakeIntel(NOW)
    values = {name: of_intel(name, 48) for name in REGISTERS}
    rtmrs = {index: values[name] for name, index in REGISTERS.items() if index}
    evidence = Evidence("application/vnd.etmcp.tdx-quote", intel.quote(mrtd=values["mrtd"], rtmrs=rtmrs))
    anchors = Endorsements({"intel": frozenset({intel.root_sha256})}, intel.documents)
    return TdxScheme().open(evidence, anchors, NOW), values


def snp() -> tuple[Claims, dict[str, bytes]]:
    amd = FakeAmd(NOW)
    evidence = Evidence("application/vnd.etmcp.sev-snp", amd.report() + amd.table())
    claims = SevSnpScheme().open(evidence, Endorsements({"amd": frozenset({amd.root_sha256})}), NOW)
    return claims, {"measurement": of_amd("measurement", 48)}


@pytest.mark.parametrize(("place", "made"), [("tdx", tdx), ("snp", snp)], ids=["tdx", "snp"])
def test_the_policy_accepts_its_reference_values_and_nothing_as_it_lies_there(
    place: str, made: Callable[[], tuple[Claims, dict[str, bytes]]]
) -> None:
    claims, values = made()
    subject = Subject(claims, NOW, challenged=True)
    with pytest.raises(PolicyError):
        load_policy((DEPLOY / place / "policy.json").read_bytes()).check(subject)
    assert load_policy(filled(place, **values)).check(subject).covered == values.keys()
    for name in values:
        with pytest.raises(PolicyError) as refused:
            load_policy(filled(place, **{**values, name: bytes(48)})).check(subject)
        assert refused.value.code == "measurement"


def test_the_recipes_shell_parses_and_installs_as_the_tests_do() -> None:
    blocks = re.findall(r"^ *```sh\n(.*?)```", RECIPE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        subprocess.run(["sh", "-n", "-c", block], check=True, capture_output=True)
    assert shlex.join(COMMAND) in blocks[0]


def test_the_gateways_configuration_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"<!-- a gateway's configuration -->\n```json\n(.*?)```", RECIPE, re.DOTALL)
    (tmp_path / "config.json").write_text(text)
    shutil.copy(DEPLOY / "tdx" / "policy.json", tmp_path)
    assert load(tmp_path / "config.json", {}).servers["tee"].etmcp.accepting is not None
