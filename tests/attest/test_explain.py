"""`etmcp-verify policy check`: policies in words, and what a reader may overlook."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attest.canonical import canonical
from attest.explain import LAUNCH
from attest.language import load
from attest.presets import PRESETS
from tests.attest.machines import azure, nitro, sgx, snp, tdx

PROGRAM = Path(sys.executable).with_name("etmcp-verify")
PRODUCTION = """\
Requires all of the following.
  Denies evidence that says debug mode.
  Denies evidence under a test root.
  Requires a TCB status, where the vendor has one, of: SWHardeningNeeded, UpToDate.
  Requires one of the following.
    Requires evidence of one of these schemes: aws-nitro, intel-sgx, intel-tdx.
    Requires all of the following.
      Requires evidence of one of these schemes: amd-sev-snp, azure-vtpm.
      Requires the platform's vmpl to be one of: 0.
      Requires the platform's migrationAgent to be one of: no.
  Requires an assurance of hardware or more.
Notes that there are no reference values for what is launched: only a manifest's can make hardware pass.
Notes that without maxCollateralAge, a revocation since the vendor's documents is not seen; AMD's may be absent.
Notes that no machine is named: a genuine one elsewhere with the same program passes too.
Notes that by one of its alternatives, AMD publishes no TCB status: without minTcb its firmware may be of any age.
"""
DEVELOPMENT = """\
Requires all of the following.
  Denies evidence that says debug mode.
  Requires an assurance of software or more.
Notes that software is the word of a process under a key that you trust, and of no hardware.
"""
MINE = """\
Requires all of the following.
  Denies any machine that hides which it is, and these: chip:02.
  Requires security version numbers of at least: snp 22.
Requires each result of a tool to be proven for its call under one of these programs: {program}.
Notes that no assurance is asked for, so that whatever program runs there passes.
Notes that no assurance and no notDebug is asked for, so that debug mode passes.
Notes that without the details vmpl and migrationAgent, something may stand above the guest that was measured.
Notes that without maxCollateralAge, a revocation since the vendor's documents is not seen; AMD's may be absent.
Notes that no machine is named: a genuine one elsewhere with the same program passes too.
"""


def check(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "policy", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def written(folder: Path, accept: Any, **more: Any) -> Path:
    path = folder / "policy.json"
    path.write_bytes(canonical({"kind": "appraisal", "version": 1, "accept": accept, **more}))
    return path


@pytest.mark.parametrize(("name", "said"), [("production", PRODUCTION), ("development", DEVELOPMENT)])
def test_a_preset_is_said_in_words_by_its_name_and_in_a_file(tmp_path: Path, name: str, said: str) -> None:
    for told in (name, written(tmp_path, {"preset": name})):
        done = check(told)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", said)


def test_a_file_is_said_in_words_and_as_json(tmp_path: Path) -> None:
    program = "ab" * 32
    rules = {"allOf": [{"denyInstances": ["chip:02"]}, {"minTcb": {"snp": 22}}]}
    path = written(tmp_path, rules, programs=[program])
    assert check(path).stdout == MINE.format(program=program)
    told = json.loads(check(path, "--json").stdout)
    assert told[1] == {"depth": 1, "verb": "denies", "text": "any machine that hides which it is, and these: chip:02"}
    assert [each["verb"] for each in told] == ["requires", "denies", "requires", "requires", *["notes"] * 5]


def test_the_registers_of_a_launch_are_those_that_claims_name() -> None:
    """So that a policy which passes the check without a note is one that can be met."""
    assert {claims.scheme: claims.launch for claims in (made() for made in (snp, nitro, tdx, sgx, azure))} == LAUNCH


def test_presets_are_two_and_rules_like_any_other() -> None:
    assert {name: load({"preset": name}) for name in PRESETS} == PRESETS
    assert set(PRESETS) == {"production", "development"}
