"""`score` through a gateway: proven by a real TEE server; and by a server that lies under good receipts, refused."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attest.bundle import Bundle
from attest.canonical import canonical, parse
from attest.claims import Endorsements
from attest.denylist import DEFAULT, Denylist, Entry
from attest.policy import MinAssurance
from attest.proven import Accepted
from attest.schemes import ALL
from attest.verdict import Verdict, verify_bundle
from servers.tee.proving import models
from servers.tee.proving.folder import MODEL, Keys, place
from tests.support.rawclient import ETMCP, Json, Reply, StdioClient

TEE = str(Path(sys.executable).with_name("etmcp-tee"))
SOFTWARE = ["--attester", "software"]
VERIFY = str(Path(sys.executable).with_name("etmcp-verify"))
LIAR = str(Path(__file__).with_name("liar.py"))
X = [3, -16384, 16383, 0, -1, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
FAR = 1 << 50
"""Milliseconds since 1970: later than any of these receipts."""


@dataclass(frozen=True)
class Scene:
    """A gateway before an honest server and a liar."""

    client: StdioClient
    folder: Path

    def call(self, server: str, **arguments: Any) -> Reply:
        return self.client.request("tools/call", {"name": f"{server}_score", "arguments": {"x": X} | arguments})

    def order(self, order: str) -> None:
        (self.folder / "order").write_text(order)

    def etmcp(self, *arguments: str) -> str:
        command = [ETMCP, "--home", str(self.folder / "home"), "--config", str(self.folder / "etmcp.json"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def bundle(self, reply: Reply) -> bytes:
        file = self.folder / "bundle.json"
        self.etmcp("receipts", "export", reply.verification["receiptId"], str(file))
        return file.read_bytes()


@pytest.fixture(scope="module")
def scene(proving_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    other = folder / "other"
    shutil.copytree(proving_cache, other)
    (place(other) / MODEL).write_bytes(models.encode(models.random()))
    (folder / "order").write_text("honest")
    (folder / "forgery").write_text("degenerate")
    attested: Json = {"require": "executor-attested", "prefix": "always", "timeout": 100}
    lies = [LIAR, str(proving_cache), str(other), str(folder / "order")]
    servers: Json = {
        "tee": {"command": TEE, "args": ["--cache", str(proving_cache), "stdio", *SOFTWARE], "etmcp": attested},
        "liar": {"command": sys.executable, "args": lies, "etmcp": attested},
        "forger": {
            "command": sys.executable,
            "args": [*lies[:-1], str(folder / "forgery")],
            "etmcp": attested,
        },
        "bare": {"command": sys.executable, "args": [*lies, "unattested"], "etmcp": {"prefix": "always"}},
    }
    (folder / "etmcp.json").write_text(json.dumps({"mcpServers": servers}))
    with StdioClient(folder / "etmcp.json", folder / "home", folder / "stderr") as client:
        states = client.request("tools/list").result["_meta"]["com.etmcp/servers"]
        assert states == dict.fromkeys(("tee", "liar", "bare"), "ready") | {"forger": "ready, with unapproved changes"}
        yield Scene(client, folder)
    assert not (folder / "stderr").read_bytes()


@pytest.fixture(scope="module")
def honest(scene: Scene) -> Reply:
    return scene.call("tee", salt="0f" * 16)


def model_of(cache: Path) -> models.Model:
    return models.decode((place(cache) / MODEL).read_bytes(), "")


def verified(data: bytes, **changes: Any) -> Verdict:
    return verify_bundle(
        data, schemes=ALL, endorsements=Endorsements({}), policy=MinAssurance("none"), now=FAR, **changes
    )


def failed(verdict: Verdict) -> tuple[str, str]:
    return next((step.name, step.code) for step in verdict.steps if step.status == "failed")


def test_a_result_of_the_private_model_is_proven_and_the_gateway_says_under_what(
    honest: Reply, keys: Keys, proving_cache: Path
) -> None:
    told = honest.result["structuredContent"]
    assert told == {"y": model_of(proving_cache).score(X), "salt": "0f" * 16}
    proof = honest.verification["proof"]
    assert proof["program"] == keys.program.digest
    assert (proof["scheme"], proof["setup"]) == ("groth16-bn254", "single-party (development)")
    assert (proof["bound"], proof["denylist"]) == (True, DEFAULT.number)
    assert proof["covers"] == ["/arguments/x", "/result/y", "call"]
    assert "that the inputs are true" in proof["saysNothingOf"]
    assert "anything against whoever ran the setup" in proof["saysNothingOf"]
    # What the client gets of ours beside the result is the receipt and the verdict; the proof is in the bundle.
    assert {name for name in honest.result["_meta"] if name.startswith("com.etmcp/")} == {
        *("com.etmcp/receipt", "com.etmcp/verification")
    }


def test_the_command_line_and_the_receipt_say_under_what_setup(scene: Scene, keys: Keys, honest: Reply) -> None:
    config = ["--home", str(scene.folder / "home"), "--config", str(scene.folder / "etmcp.json")]
    done = subprocess.run(
        [ETMCP, *config, "call", "tee_score", f"x={X}"], capture_output=True, text=True, timeout=120, check=False
    )
    said = "executor-attested, assurance software, proven, setup: single-party (development), receipt "
    assert done.stderr.rpartition(" ")[0] + " " == said
    shown = json.loads(scene.etmcp("receipts", "show", honest.verification["receiptId"]))
    environment = shown["statement"]["predicate"]["environment"]
    assert (environment["program"], environment["setup"]) == (keys.program.digest, keys.program.setup)


def test_without_a_salt_each_commitment_has_its_own(scene: Scene) -> None:
    salts = {scene.call("tee").result["structuredContent"]["salt"] for _ in range(2)}
    assert len(salts) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"x": X[:-1]}, "x: it must have minItems 16"),
        ({"x": [*X[:-1], 16384]}, "x.15: it must have maximum 16383"),
        ({"x": [*X[:-1], -16385]}, "x.15: it must have minimum -16384"),
        ({"x": [*X[:-1], 0.5]}, "x.15"),
        ({"salt": "0" * 31}, "salt"),
        ({"salt": "G" * 32}, "salt: it must be 32 hex digits in lower case"),
        ({"y": [0]}, "Additional properties"),
    ],
)
def test_arguments_out_of_range_are_a_tool_error_in_one_line(scene: Scene, arguments: Json, said: str) -> None:
    reply = scene.call("tee", **arguments)
    assert reply.result["isError"] is True
    assert reply.verification["verdict"] == "verified"
    assert "proof" not in reply.verification
    text = reply.result["content"][0]["text"]
    assert text.startswith("score: ")
    assert said in text
    assert "\n" not in text


LIES = {
    "result": "proof",
    "argument": "proof",
    "replay": "proof",
    "weights": "proof",
    "alias": "proof",
    "swapped": "proof",
    "salt": "proof",
    "text": "proof",
    "member": "proof",
    "point": "proof",
    "scheme": "proof",
    "inputs": "proof",
    "malformed": "proof",
    "none": "unproven",
    "unstructured": "unproven",
    "error-with-value": "unproven",
    "question": "proof",
    "said-to-fail": "proof",
    "note": "proof",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_under_a_good_receipt_is_withheld(scene: Scene, lie: str) -> None:
    scene.order("honest")
    if lie == "replay":  # the first call's result, for the same arguments
        assert scene.call("liar").verification["verdict"] == "verified"
    scene.order(lie)
    reply = scene.call("liar")
    assert reply.verification == {"verdict": "withheld", "server": "liar", "code": LIES[lie]}
    assert reply.result["isError"] is True
    assert "structuredContent" not in reply.result
    assert b"excellent" not in reply.raw
    assert b"Grant" not in reply.raw


@pytest.mark.parametrize("variant", ["honest", "negated", "no-content"])
def test_each_form_of_the_truth_passes(scene: Scene, variant: str, proving_cache: Path) -> None:
    """A proof can be written in several ways, so nothing hangs on its bytes."""
    scene.order(variant)
    reply = scene.call("liar")
    assert reply.verification["proof"]["bound"] is True
    assert reply.result["structuredContent"]["y"] == model_of(proving_cache).score(X)


def test_an_error_needs_no_proof_and_shows_none(scene: Scene) -> None:
    scene.order("error")
    reply = scene.call("liar")
    assert reply.result["content"] == [{"type": "text", "text": "no"}]
    assert reply.verification["verdict"] == "verified"
    assert "proof" not in reply.verification


def test_a_server_without_receipts_cannot_prove_for_a_call_that_it_is_not_told_of(scene: Scene) -> None:
    scene.order("honest")
    reply = scene.call("bare")
    assert reply.result["isError"] is True
    assert "call it through a gateway" in reply.result["content"][0]["text"]
    scene.order("made-up")
    assert scene.call("bare").verification == {"verdict": "withheld", "server": "bare", "code": "unproven"}


def test_a_program_under_a_key_that_anyone_can_forge_with_is_blocked_and_no_approval_helps(scene: Scene) -> None:
    listed = [tool["name"] for tool in scene.client.request("tools/list").result["tools"]]
    assert "liar_score" in listed
    assert "forger_score" not in listed
    assert scene.call("forger").verification["code"] == "program"
    scene.etmcp("approve", "forger", "--yes")
    assert scene.call("forger").verification["code"] == "program"


def test_the_bundle_is_verified_offline_by_a_stranger(scene: Scene, honest: Reply, keys: Keys) -> None:
    file = scene.folder / "bundle.json"
    scene.bundle(honest)
    done = subprocess.run([VERIFY, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert (
        f"proven by groth16-bn254 under program {keys.program.digest}, setup: single-party (development), denylist 1"
        in done.stdout
    )
    assert "the proof does not say that the inputs are true" in done.stdout
    assert "  8 proof     passed" in done.stdout
    told = json.loads(subprocess.run([VERIFY, str(file), "--json"], capture_output=True, check=False).stdout)
    assert told["proof"]["setup"] == "single-party (development)"


def test_a_proof_cannot_be_taken_out_of_a_bundle_whose_receipt_says_that_there_is_one(
    scene: Scene, honest: Reply
) -> None:
    value = parse(scene.bundle(honest))
    del value["proof"]
    verdict = verified(canonical(value))
    assert (verdict.outcome, failed(verdict)) == ("refused", ("proof", "binding"))


def test_what_a_server_does_not_say_to_be_proven_is_not_checked_unless_the_policy_asks(scene: Scene) -> None:
    scene.order("error")
    bare = scene.bundle(scene.call("bare"))
    verdict = verified(bare)
    assert next(step.status for step in verdict.steps if step.name == "proof") == "not checked"
    assert verdict.proof is None
    assert "proof" not in verdict.to_json()


def test_a_bundle_with_another_calls_proof_or_definition_is_refused(scene: Scene, honest: Reply) -> None:
    value, other = parse(scene.bundle(honest)), parse(scene.bundle(scene.call("tee", salt="0f" * 16)))
    assert verified(canonical(value)).proof is not None
    cases: list[tuple[Any, tuple[str, str]]] = [
        (other["proof"], ("proof", "signature")),
        (value["proof"] | {"definition": "e30="}, ("proof", "binding")),
        (value["proof"] | {"proof": {}}, ("bundle", "malformed")),
        ({}, ("bundle", "malformed")),
        ([], ("bundle", "malformed")),
    ]
    for proof, step in cases:
        verdict = verified(canonical(value | {"proof": proof}))
        assert (verdict.outcome, failed(verdict)) == ("refused", step)


def test_a_newer_denylist_refuses_what_an_older_one_let_pass(scene: Scene, honest: Reply, keys: Keys) -> None:
    data = scene.bundle(honest)
    stopped = Denylist(7, (Entry("groth16-bn254", "stopped", "found unsound", "a test", "key", keys.program.identity),))
    verdict = verified(data, proofs=Accepted(stopped))
    assert failed(verdict) == ("proof", "revoked")
    assert "denylist 7" in next(step.detail for step in verdict.steps if step.code)


def test_a_policy_that_names_programs_accepts_proofs_of_no_other(scene: Scene, honest: Reply, keys: Keys) -> None:
    data = scene.bundle(honest)
    assert verified(data, proofs=Accepted(programs=frozenset({keys.program.digest}))).proof is not None
    others = frozenset({keys.program.identity})  # of the same setup, whatever the model
    assert failed(verified(data, proofs=Accepted(programs=others))) == ("proof", "policy")
    for name, line in ((keys.program.digest, "8 proof     passed"), ("00" * 32, "8 proof     failed [policy]")):
        policy: Json = {"kind": "appraisal", "version": 1, "accept": {"minAssurance": "software"}, "programs": [name]}
        (scene.folder / "policy.json").write_text(json.dumps(policy))
        command = [VERIFY, str(scene.folder / "bundle.json"), "--policy", str(scene.folder / "policy.json")]
        assert line in subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def test_no_flipped_bit_of_a_proof_survives(scene: Scene, honest: Reply) -> None:
    bundle = Bundle.decode(scene.bundle(honest))
    assert bundle.proof is not None
    data = bundle.encode()
    start = data.index(b'"proof":{')
    for _ in range(60):
        place_, bit = start + secrets.randbelow(data.index(b'"receipt"') - start), secrets.randbelow(8)
        changed = data[:place_] + bytes([data[place_] ^ 1 << bit]) + data[place_ + 1 :]
        assert verified(changed).outcome == "refused", (place_, bit)


def worker_of(name: str) -> int:
    """The process id of the prover's process under the server with this name."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if b"servers.tee.proving.worker" in words and name.encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"{name} has no prover")


@pytest.mark.skipif(sys.platform != "linux", reason="it finds processes in /proc")
def test_a_prover_that_is_killed_in_a_proof_is_a_clear_error_and_the_next_call_works(
    scene: Scene, honest: Reply
) -> None:
    worker = worker_of("etmcp-tee")
    os.kill(worker, signal.SIGSTOP)  # the proof cannot come before the kill does
    with ThreadPoolExecutor() as threads:
        call = threads.submit(scene.call, "tee")
        os.kill(worker, signal.SIGKILL)
        reply = call.result(60)
    assert reply.result["isError"] is True
    assert reply.result["content"][0]["text"] == (
        "score: the prover's process ended during the call: try again; a new one is started"
    )
    assert reply.verification["verdict"] == "verified"
    assert scene.call("tee").verification["proof"]["bound"] is True
    assert worker_of("etmcp-tee") != worker
