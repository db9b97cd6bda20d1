"""`etmcp-verify cases`: tables of evidence and proofs, genuine where the folder is there, minted in any clone."""

import json
import shutil
import ssl
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from attest.canonical import canonical
from attest.cases import judge_cases
from attest.claims import Endorsements
from attest.denylist import Denylist, Entry
from attest.document import sign_policy
from attest.errors import EvidenceError
from attest.groth16.conventions import Points
from attest.trust import FORMAT
from attest.x509 import milliseconds
from tests.attest.made import signing_key
from tests.attest.test_cli import PROGRAM, run
from tests.attest.zk.minted import PLAIN, plain_proof
from tests.pki.amd import FakeAmd
from tests.pki.aws import FakeAws, pcrs
from tests.pki.intel import FakeIntel

NOW = 1_795_176_000_000
TD, SGX, AMD, AWS = FakeIntel(NOW), FakeIntel(NOW, "sgx"), FakeAmd(NOW), FakeAws(NOW)
CHAIN, LEAF, _ = AMD.names()
BEGIN, END = milliseconds(AWS.leaf.not_valid_before_utc), milliseconds(AWS.leaf.not_valid_after_utc)
NOBODY = Endorsements({})
Json = dict[str, Any]


def case(name: str, kind: str, expect: str, at: int = NOW, **files: str) -> Json:
    return {"id": name, "kind": kind, "at": at // 1000, "expect": expect, **files}


def out_of_date(info: Json) -> None:
    for level in info["tcbLevels"]:
        level["tcbStatus"] = "OutOfDate"


def minted(folder: Path) -> Path:
    """A manifest of evidence by the fake vendors, with what the genuine samples cannot show."""
    documents = AMD.documents()
    files = {
        "td": TD.quote(),
        "td-debug": TD.quote(attributes=0x10000001),
        "enclave": SGX.enclave_quote(),
        "report": AMD.report(),
        "report-debug": AMD.report(policy=0xB0000),
        "other-report": FakeAmd(NOW, name="other").report(),
        "document": AWS.document(),
        "document-debug": AWS.document(registers=pcrs(debug=True)),
        "td.json": TD.collateral(),
        "sgx.json": SGX.collateral(),
        "old.json": TD.collateral(tcb=out_of_date),
        "vcek": documents[LEAF],
        "chain": documents[CHAIN],
        "crl": AMD.crl(),
        "crl-revoked": AMD.crl([AMD.ask.serial_number]),
    }
    cases = [
        case("td", "tdx", "UpToDate", evidence="td", collateral="td.json"),
        case("td-old", "tdx", "OutOfDate", evidence="td", collateral="old.json"),
        case("td-debug", "tdx", "debug", evidence="td-debug", collateral="td.json"),
        case("td-later", "tdx", "expired", NOW + 60 * 86_400_000, evidence="td", collateral="td.json"),
        case("td-alone", "tdx", "chain", evidence="td"),
        case("td-as-sgx", "sgx", "unsupported", evidence="td", collateral="td.json"),
        case("enclave", "sgx", "UpToDate", evidence="enclave", collateral="sgx.json"),
        case("report", "snp", "ok", evidence="report", leaf="vcek", chain="chain"),
        case("report-listed", "snp", "ok", evidence="report", crl="crl", leaf="vcek", chain="chain"),
        case("report-revoked", "snp", "revoked", evidence="report", crl="crl-revoked", leaf="vcek", chain="chain"),
        case("report-debug", "snp", "debug", evidence="report-debug", leaf="vcek", chain="chain"),
        case("report-debug-too", "snp", "reject", evidence="report-debug", leaf="vcek", chain="chain"),
        case("another-chip", "snp", "reject", evidence="other-report", leaf="vcek", chain="chain"),
        case("document", "nitro", "ok", evidence="document"),
        case("document-debug", "nitro", "debug", evidence="document-debug"),
        case("document-debug-too", "nitro", "reject", evidence="document-debug"),
        case("document-a-second-early", "nitro", "not_yet_valid", BEGIN - 1000, evidence="document"),
        case("document-in-its-first-second", "nitro", "ok", BEGIN, evidence="document"),
        case("document-in-its-last-second", "nitro", "ok", END, evidence="document"),
        case("document-a-second-late", "nitro", "expired", END + 1000, evidence="document"),
        case("no-such-kind", "sev", "unsupported", evidence="report"),
    ]
    snarkjs = {"vk": PLAIN.key.to_snarkjs(), "proof": plain_proof().to_json(), "public": ["42"]}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "proof.json").write_text(json.dumps(snarkjs))
    proven = {"kind": "groth16-snarkjs", "file": "proof.json", "expected": {"final": "INVALID"}}
    cases.append(proven | {"note": "its proof is spelt in our own way"})
    (folder / "manifest.json").write_text(json.dumps(cases))
    anchors = {"intel": [TD.root_sha256, SGX.root_sha256], "amd": [AMD.root_sha256], "aws": [AWS.root_sha256]}
    (folder / "trust.json").write_bytes(canonical({"format": FORMAT, "anchors": anchors}))
    return folder / "manifest.json"


def test_every_minted_case_gets_its_verdict_and_the_exit_code_says_so(tmp_path: Path) -> None:
    manifest = minted(tmp_path)
    done = run("cases", manifest, "--trust", tmp_path / "trust.json")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "td: UpToDate, expected UpToDate: agreed"
    assert lines[2].startswith("td-debug: reject [debug], expected debug: agreed (")
    assert lines[-1] == "22 of 22 agreed"


def test_under_the_vendors_roots_alone_none_of_them_passes(tmp_path: Path) -> None:
    done = run("cases", minted(tmp_path), "--json")
    assert done.returncode == 1
    told: list[Json] = json.loads(done.stdout)
    assert {each["verdict"] for each in told} == {"reject", "INVALID"}
    assert told[0] | {"reason": None} == {
        "id": "td",
        "verdict": "reject",
        "code": "root",
        "reason": None,
        "expected": "UpToDate",
        "agreed": False,
    }


@pytest.mark.parametrize(
    "spoiled",
    [
        [{"id": "a", "kind": "tdx", "evidence": "missing", "at": 1, "expect": "reject"}],
        [{"kind": "risc0", "file": "missing", "expected": {"final": "INVALID"}}],
        [],
    ],
)
def test_what_cannot_be_read_agrees_with_nothing(tmp_path: Path, spoiled: Any) -> None:
    (tmp_path / "m.json").write_text(json.dumps(spoiled))
    done = run("cases", tmp_path / "m.json")
    assert (done.returncode, done.stderr) == (1, "")
    assert all("unjudged [unread]" in line for line in done.stdout.splitlines()[:-1])


@pytest.mark.parametrize(
    ("spoiled", "name"),
    [
        (1, "case 1"),
        ({}, "case 1"),
        ({"kind": "tdx", "id": 7}, "case 1"),
        ({"kind": "tdx", "id": "a", "evidence": "document", "at": "now", "expect": "unjudged"}, "a"),
        ({"kind": "tdx", "id": "a", "evidence": "document", "at": 1.5, "expect": "reject"}, "a"),
        ({"kind": "tdx", "id": "a", "evidence": ["document"], "at": 1, "expect": "reject"}, "a"),
        ({"kind": "tdx", "id": "a", "evidence": "document", "at": 1, "expect": "unread", "crl": None}, "a"),
        ({"kind": 1, "file": "proof.json", "expected": {"final": "INVALID"}}, "proof.json"),
        ({"kind": "risc0", "file": "proof.json", "expected": "INVALID"}, "proof.json"),
        ({"kind": "risc0", "file": 7}, "case 1"),
    ],
)
def test_a_case_of_another_shape_agrees_with_nothing_and_spoils_no_other(
    tmp_path: Path, spoiled: Any, name: str
) -> None:
    manifest = minted(tmp_path)
    good = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps([good[0], spoiled, *good[1:]]))
    done = run("cases", manifest, "--trust", tmp_path / "trust.json")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[1].startswith(f"{name}: unjudged [unread], expected ")
    assert ": NOT AGREED (case 1 of the manifest " in lines[1]
    assert lines[-1] == f"{len(good)} of {len(good) + 1} agreed"


def test_files_are_named_from_the_manifests_folder_or_from_the_root(tmp_path: Path) -> None:
    manifest = minted(tmp_path)
    cases = json.loads(manifest.read_bytes())
    for each in cases:
        each |= {role: str(tmp_path / each[role]) for role in ("evidence", "collateral", "leaf", "crl") if role in each}
    manifest.write_text(json.dumps(cases))
    for folder, name in ((tmp_path.parent, f"{tmp_path.name}/manifest.json"), (tmp_path, "manifest.json")):
        command = [PROGRAM, "cases", name, "--trust", tmp_path / "trust.json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'"[]"', b'[{"id":"a","id":"b"}]'])
def test_what_is_no_manifest_is_a_mistake_in_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.json").write_bytes(data)
    done = run("cases", tmp_path / "m.json")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "m.json" in done.stderr


def renamed(folder: Path, cases: list[Json]) -> list[Json]:
    """Every file under a name that says nothing, in another folder."""
    (folder / "x").mkdir()
    names: dict[str, str] = {}
    for each in cases:
        for role in ("evidence", "collateral", "leaf", "chain", "file"):
            if role in each:
                new = names.setdefault(each[role], f"x/{len(names)}")
                shutil.copy(folder / each[role], folder / new)
                each[role] = new
    return cases


def respelt(folder: Path, cases: list[Json]) -> list[Json]:
    """Certificates from PEM to DER and back, collateral and proofs in other JSON."""
    for path in {folder / each[role] for each in cases for role in ("leaf", "chain") if role in each}:
        path.chmod(0o600)
        path.write_bytes(other_form(path.read_bytes()))
    for path in {folder / each[role] for each in cases for role in ("collateral", "file") if role in each}:
        path.chmod(0o600)
        path.write_text(json.dumps(dict(reversed(json.loads(path.read_bytes()).items())), indent=3))
    return cases


def other_form(data: bytes) -> bytes:
    if not data.lstrip().startswith(b"-----"):
        return ssl.DER_cert_to_PEM_cert(data).encode()
    parts = data.decode().split("-----END CERTIFICATE-----")[:-1]
    return b"".join(ssl.PEM_cert_to_DER_cert(f"{part.lstrip()}-----END CERTIFICATE-----\n") for part in parts)


def reordered(folder: Path, cases: list[Json]) -> list[Json]:
    return [dict(reversed(each.items())) for each in reversed(cases)]


def shifted(folder: Path, cases: list[Json]) -> list[Json]:
    """A little later: what was valid still is, what was not is not."""
    return [each | {"at": each["at"] + 60} if "at" in each else each for each in cases]


CHANGES: Mapping[str, Callable[[Path, list[Json]], list[Json]]] = {
    "as they are": lambda _, cases: cases,
    "renamed": renamed,
    "respelt": respelt,
    "reordered": reordered,
    "shifted": shifted,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["evidence", "zk"])
def test_genuine_cases_get_their_verdicts_however_they_are_written(
    shared: Path, tmp_path: Path, kind: str, change: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared / "data" / kind, folder)
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o700 if each.is_dir() else 0o600)
    cases = CHANGES[change](folder, json.loads((folder / "manifest.json").read_bytes()))

    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    judged = list(judge_cases(json.dumps(cases).encode(), read, NOBODY))
    assert [each.case for each in judged if not each.agreed] == []
    assert len(judged) == len(cases) > 20


def test_a_time_beyond_what_was_endorsed_changes_the_verdict(shared: Path) -> None:
    folder = shared / "data" / "evidence"
    cases: list[Json] = json.loads((folder / "manifest.json").read_bytes())
    late = [each | {"at": each["at"] + 40 * 365 * 86_400, "expect": "reject"} for each in cases]

    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    judged = list(judge_cases(json.dumps(late).encode(), read, NOBODY))
    assert all(each.agreed for each in judged)


def test_no_manifest_makes_it_raise_anything_else() -> None:
    with pytest.raises(EvidenceError, match="not a list"):
        list(judge_cases(b"{}", lambda _: b"", NOBODY))


def test_a_newer_denylist_counts_for_a_table_too(tmp_path: Path) -> None:
    points = Points.from_evm(plain_proof().proof)
    proof = {
        "pi_a": [str(points.a.x), str(points.a.y), "1"],
        "pi_b": [list(map(str, points.b.x)), list(map(str, points.b.y)), ["1", "0"]],
        "pi_c": [str(points.c.x), str(points.c.y), "1"],
    }
    document = {"vk": PLAIN.key.to_snarkjs(), "proof": proof, "public": ["42"]}
    (tmp_path / "proof.json").write_text(json.dumps(document))
    case = {"kind": "groth16-snarkjs", "file": "proof.json", "expected": {"final": "VALID"}}
    (tmp_path / "m.json").write_text(json.dumps([case]))
    assert run("cases", tmp_path / "m.json").stdout.endswith("1 of 1 agreed\n")
    ours = signing_key("denylist")
    entry = Entry("groth16-bn254", "stopped", "a hole", "a test", "key", PLAIN.key.digest)
    (tmp_path / "list").write_bytes(canonical(sign_policy(Denylist(2, (entry,)).encode(), ours).to_json()))
    anchors = {"denylist": [ours.public_key().public_bytes_raw().hex()]}
    (tmp_path / "trust.json").write_bytes(canonical({"format": FORMAT, "anchors": anchors}))
    options = ("--trust", tmp_path / "trust.json", "--denylist", tmp_path / "list")
    assert "REJECTED_BY_POLICY(stopped)" in run("cases", tmp_path / "m.json", *options).stdout
