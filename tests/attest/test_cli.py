"""`etmcp-verify` as a process: three outcomes, four exit codes, and nothing on the machine but four libraries."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cryptography
import pytest
import rfc8785

import attest
from attest.canonical import canonical
from attest.evidence import Evidence
from attest.schemes import sev_snp
from attest.trust import FORMAT
from tests.attest.made import (
    BINDING,
    NOW,
    OBSERVED,
    STATEMENT,
    bundle,
    evidence,
    observed_bundle,
    receipt,
)
from tests.attest.test_bundle_documents import COLLATERAL, TD
from tests.pki.amd import FakeAmd
from tests.pki.nvidia import FakeNvidia

VECTORS = Path(__file__).parent.parent / "vectors"
PROGRAM = Path(sys.executable).with_name("etmcp-verify")
GOOD, UNTRUSTED = VECTORS / "bundles/good-executor.json", VECTORS / "bundles/untrusted-root.json"
REFUSED = VECTORS / "bundles/bad-result-other.json"
MINE = ("--policy", str(VECTORS / "policy/good-software.json"), "--trust", str(VECTORS / "trust/good-vectors.json"))
NAKED = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
try:
    runpy.run_module("attest", run_name="__main__", alter_sys=True)
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names), file=sys.stderr)
"""


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *map(str, arguments)]
    env = {**os.environ, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


def test_a_good_bundle_is_verified_with_exit_code_0() -> None:
    done = run(GOOD, *MINE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "verified"
    assert lines[1] == "  tools/call add by calculator 1.0.0"
    assert f"executor-attested, assurance software, time unproven, receipt {receipt().receipt_id}" in lines[2]
    assert [line.split() for line in lines[3:]][:2] == [["1", "bundle", "passed"], ["2", "signature", "passed"]]
    assert len(lines) == 13


@pytest.mark.parametrize("arguments", [(GOOD,), (GOOD, *MINE[:2]), (GOOD, *MINE[2:]), (UNTRUSTED, *MINE)])
def test_without_trust_or_policy_or_anchor_the_exit_code_is_3(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("self-consistent, untrusted")
    assert "assurance none" in done.stdout
    assert "10 policy    not checked" in done.stdout


def test_a_bundle_that_is_wrong_is_refused_with_exit_code_1() -> None:
    done = run(REFUSED, *MINE)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("refused\n")
    assert "  6 result    failed [result]" in done.stdout
    assert "add" not in done.stdout
    assert run(REFUSED).returncode == 1


@pytest.mark.parametrize("content", [b"", b"not a bundle", b"\xff\xfe", b"[" * 100_000, "\u202e".encode()])
def test_any_other_file_is_refused_and_not_an_accident(written: Path, content: bytes) -> None:
    written.write_bytes(content)
    done = run(written, *MINE)
    assert (done.returncode, done.stderr) == (1, "")
    assert "1 bundle    failed [malformed]" in done.stdout


@pytest.mark.parametrize(
    ("path", "outcome", "code"), [(GOOD, "verified", 0), (UNTRUSTED, "untrusted", 3), (REFUSED, "refused", 1)]
)
def test_json_says_outcome_steps_and_what_is_known(path: Path, outcome: str, code: int) -> None:
    done = run(path, *MINE, "--json")
    assert (done.returncode, done.stdout.count("\n")) == (code, 1)
    told = json.loads(done.stdout)
    assert told["outcome"] == outcome
    known = {"kind", "assurance", "server", "method", "target", "time"} if outcome != "refused" else set[str]()
    known |= {"appraisal"} if outcome == "verified" else set()
    assert set(told) == {"outcome", "receiptId", "steps"} | known
    assert [step["step"] for step in told["steps"]] == list(range(1, 11))
    assert all(set(step) == {"step", "name", "status", "code", "detail"} for step in told["steps"])
    assert told.get("time", "unproven") == "unproven"
    assert told.get("assurance") == {"verified": "software", "untrusted": "none"}.get(outcome)


def mistakes(folder: Path) -> dict[str, tuple[str | Path, ...]]:
    bad = VECTORS / "policy/bad-malformed-empty.json"
    anchor = VECTORS / "trust/bad-malformed-anchor-short.json"
    return {
        "missing bundle": (folder / "none",),
        "missing policy": (GOOD, "--policy", folder / "none"),
        "misspelt preset": (GOOD, "--policy", "productoin"),
        "missing trust": (GOOD, "--trust", folder / "none"),
        "directory": (folder,),
        "directory as policy": (GOOD, "--policy", folder),
        "malformed policy": (GOOD, "--policy", bad),
        "malformed trust": (GOOD, "--trust", anchor),
        "malformed trust beside a policy": (GOOD, *MINE[:2], "--trust", anchor),
        "bundle as policy": (GOOD, "--policy", GOOD),
        "policy as trust": (GOOD, "--trust", bad),
        "name that cannot be printed": (folder / "no\udcffne\x1b[2J\n",),
    }


@pytest.mark.parametrize("name", mistakes(Path()))
def test_a_mistake_of_the_user_is_one_line_that_names_the_file_and_exit_code_2(name: str, tmp_path: Path) -> None:
    arguments = mistakes(tmp_path)[name]
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("etmcp-verify: ")
    assert done.stderr.count("\n") == 1
    named = next(part for part in reversed(arguments) if not str(part).startswith("--"))
    assert str(named).split("\udcff")[0] in done.stderr


def test_a_policy_that_is_neither_file_nor_preset_is_told_of_both() -> None:
    for arguments in ((GOOD, "--policy", "productoin"), ("policy", "check", "productoin")):
        told = "productoin: No such file or directory; name a file that can be read, or a preset: production or "
        assert told in run(*arguments).stderr


@pytest.mark.parametrize(("path", "code"), [(GOOD, 0), (REFUSED, 1), (UNTRUSTED, 3)])
def test_a_reader_who_goes_away_changes_no_exit_code(path: Path, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [PROGRAM, path, *MINE]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (code, b"")


def test_a_full_disk_is_no_verdict() -> None:
    with Path("/dev/full").open("w") as full:
        command = [PROGRAM, GOOD, *MINE]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard output: No space left" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--policy",), (GOOD, "--trusted", "x")])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("etmcp-verify: ")
    assert done.stderr.count("\n") == 1


def test_an_endless_file_is_refused_and_not_read_to_its_end() -> None:
    done = run("/dev/zero")
    assert done.returncode == 2
    assert "larger than 256 MiB" in done.stderr


def test_a_bundle_cannot_paint_a_verdict_on_the_terminal(written: Path) -> None:
    forged = {"name": "x\x1b[2J\rverified\n  10 policy    passed\u202e", "version": "\u00e9"}
    written.write_bytes(bundle(replace(STATEMENT, server=forged)).encode())
    for encoding in ("utf-8", "ascii"):
        done = run(written, environment={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout.isascii()
        assert all(char.isprintable() for char in done.stdout.replace("\n", ""))
        assert len(done.stdout.splitlines()) == 13
    unknown = json.dumps({"format": "\u202e", "\x1b[2J\nverified": 1})
    written.write_text(unknown)
    assert "\x1b" not in run(written).stdout


def test_time_is_the_clock_of_this_machine(written: Path) -> None:
    later = time.time_ns() // 1_000_000 + 3_600_000
    said = replace(STATEMENT, received_at=later, finished_at=later)
    written.write_bytes(bundle(said, speaker=(evidence(issued_at=later), bundle().speaker[1])).encode())
    assert "7 time      failed [time]" in run(written, *MINE).stdout


def test_an_observers_bundle_needs_a_policy_that_accepts_no_assurance(written: Path) -> None:
    written.write_bytes(observed_bundle(OBSERVED).encode())
    assert "10 policy    failed [policy]" in run(written, *MINE).stdout
    policy = written.with_name("policy.json")
    policy.write_text('{"kind":"appraisal","version":1,"accept":{"minAssurance":"none"}}')
    done = run(written, "--policy", policy, *MINE[2:])
    assert done.returncode == 0
    assert "kind observer-attested, assurance none" in done.stdout


@pytest.mark.parametrize(("path", "code"), [(GOOD, 0), (UNTRUSTED, 3), (REFUSED, 1)])
def test_it_runs_with_four_libraries_alone(tmp_path: Path, path: Path, code: int) -> None:
    libraries = Path(str(cryptography.__file__)).parent.parent
    needed = [Path(str(attest.__file__)).parent, Path(str(rfc8785.__file__)).parent, libraries / "cryptography"]
    needed += [libraries / "cffi", *libraries.glob("_cffi_backend*"), *libraries.glob("pycparser")]
    needed += [libraries / "cbor2", libraries / "dcap_qvl", *libraries.glob("dcap_qvl-*.dist-info")]
    for part in needed:
        (tmp_path / part.name).symlink_to(part)
    command = [sys.executable, "-I", "-S", "-B", "-c", NAKED, tmp_path, path, *MINE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env={})
    assert done.returncode == code, done.stderr
    ours = {"__main__", "attest", "cryptography", "rfc8785", "cbor2", "dcap_qvl"}
    assert set(done.stderr.split()) <= ours | {"_cffi_backend", "_openssl"}


AMD, GPU = FakeAmd(NOW), FakeNvidia(NOW)
LAUNCHED = {"measurement": {"register": "measurement", "values": [AMD.report()[0x90:0xC0].hex()]}}


def presented(folder: Path, shown: Evidence, accept: Any, anchors: Mapping[str, list[str]]) -> list[str | Path]:
    """The command line for a bundle under this evidence, and what a verifier brings."""
    files = {
        "bundle": bundle(speaker=(shown, BINDING)).encode(),
        "policy": canonical({"kind": "appraisal", "version": 1, "accept": accept}),
        "trust": canonical({"format": FORMAT, "anchors": anchors}),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / "bundle", "--policy", folder / "policy", "--trust", folder / "trust"]


def guest(folder: Path, accept: Any, **documents: bytes) -> list[str | Path]:
    """As `presented`, for a SEV-SNP guest and documents in a folder."""
    for name, data in AMD.documents(**documents).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    shown = Evidence(sev_snp.MEDIA_TYPE, AMD.report(report_data=BINDING.report_data()))
    told = presented(folder, shown, accept, {"amd": [AMD.root_sha256]})
    return [*told, "--endorsements", folder]


@pytest.mark.parametrize(
    ("accept", "documents", "worth", "dated"),
    [
        ({"allOf": [{"minAssurance": "hardware"}, LAUNCHED]}, {}, "hardware", "no dated collateral"),
        (LAUNCHED, {"crl": AMD.crl()}, "hardware", "collateral of 20"),
        ({"minAssurance": "none"}, {}, "none", "no dated collateral"),
    ],
)
def test_what_hardware_is_worth_and_what_was_not_looked_at_is_said(
    written: Path, accept: Any, documents: dict[str, bytes], worth: str, dated: str
) -> None:
    done = run(*guest(written.parent, accept, **documents))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"assurance {worth}, time unproven" in lines[2]
    assert lines[3].startswith(f"  evidence amd-sev-snp, instance unpinned, {dated}")
    assert lines[3].endswith(", assumes no physical access")


def test_what_is_a_signature_only_is_called_so(written: Path) -> None:
    shown = GPU.evidence(BINDING.report_data())
    done = run(*presented(written.parent, shown, {"minAssurance": "none"}, {"nvidia": [GPU.root_sha256]}))
    assert (done.returncode, done.stderr) == (0, "")
    assert "assurance none, " in done.stdout
    assert "\n  evidence nvidia-gpu, instance unpinned, signature only\n" in done.stdout


def test_a_document_that_cannot_be_read_is_not_one_that_is_absent(written: Path) -> None:
    arguments = guest(written.parent, {"minAssurance": "none"})
    (written.parent / AMD.names()[2]).mkdir()
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{AMD.names()[2]}: Is a directory" in done.stderr


def test_a_folder_without_any_document_for_the_bundle_is_a_mistake_and_not_a_pass(
    written: Path, tmp_path: Path
) -> None:
    written.write_bytes(TD.encode())
    for folder in (tmp_path, tmp_path / "absent"):
        done = run(written, "--endorsements", folder)
        assert (done.returncode, f"{folder}: has no {COLLATERAL}; " in done.stderr) == (2, True)
    assert run(GOOD, *MINE, "--endorsements", tmp_path).returncode == 0
