"""A server under a signed policy: what it proves of that policy, what it refuses by it, when it does not start."""

import json
import os
import subprocess
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.statement import Statement
from gateway.config import SOFTWARE
from servers import code
from servers.tee.cli.tiers import Native, native
from servers.tee.library.folder import load
from servers.tee.library.library import SHIPPED
from servers.tee.policy import read_policy
from servers.tee.sandbox import Limits
from servers.tee.sandbox.wasm import WasmSandbox
from servers.tee.selftest.startup import Proven
from tests.servers.tee.bare import bare
from tests.servers.tee.library.scene import TEE

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
RULE = {"scheme": "https", "host": "api.example.com", "ports": [443]}
OPERATOR = {
    "kind": "execution",
    "version": 1,
    "tier": "wasm",
    "hostCalls": ["fetch"],
    "network": {"rules": [RULE]},
    "limits": {"fuel": 50_000_000, "stdoutBytes": 100},
}


def signed(place: Path, document: Any = OPERATOR) -> Path:
    """A policy that `KEY` signed, by the command that operators use."""
    (place / "plain.json").write_text(json.dumps(document))
    (place / "key").write_text(KEY.private_bytes_raw().hex())
    command = [TEE, "policy", "sign", str(place / "plain.json"), "--key-file", str(place / "key")]
    (place / "signed.json").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return place / "signed.json"


@pytest.mark.anyio
async def test_receipts_and_evidence_name_the_signed_policy_and_what_is_beyond_it_is_refused(
    component_cache: Path, tmp_path: Path
) -> None:
    path, attester = signed(tmp_path), Ed25519PrivateKey.generate()
    policy = read_policy(path.read_bytes(), [PUBLIC])
    (tmp_path / "attester").write_text(attester.private_bytes_raw().hex())
    command = [TEE, "--cache", str(component_cache), "stdio", *SOFTWARE]
    command += ["--key-file", str(tmp_path / "attester"), "--policy", str(path), "--policy-key", PUBLIC.hex()]
    async with bare(command, os.environ, None) as server:
        server.attester = attester.public_key().public_bytes_raw().hex()
        await server.meet()
        good = await server.call("run_python", code="1 + 1")
        assert good.value == 2
        statement = _statement(good.statement)
        assert statement.policy_digest == policy.digest()
        asked = load(SHIPPED / "run_python").policy
        given = policy.for_tool(asked)
        assert statement.environment["policy"] == given.digest()
        assert not given.host_calls, "it does not ask for what the operator grants"
        assert not given.network.rules
        assert statement.environment["limits"]["fuel"] == 50_000_000, "the tool names no limit: the operator's holds"
        assert server.speaker is not None
        assert server.speaker[1].configuration.hex() == await _configuration(component_cache, policy.digest())

        assert "fuel" in (await server.call("run_python", code="while True: pass")).error
        weaker = await server.call("query_table", sql="SELECT 1")
        assert "the policy asks for the wasm tier; process is weaker" in weaker.error
        assert "tier" not in _statement(weaker.statement).environment, "nothing ran"
        elsewhere = await server.call("http_request", url="https://other.example.com/")
        assert "no rule grants GET over https to other.example.com port 443" in elsewhere.error
        statement = _statement(elsewhere.statement)
        assert "other.example.com" in json.dumps(statement.usage["egress"])
        asked = policy.model_copy(update={"tier": "wasm"})
        assert statement.environment["policy"] == policy.for_tool(asked).digest(), "all that the operator grants"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("another key", "signature: the policy is signed under key"),
        ("another byte", "signature"),
        ("no signature", "signature"),
        ("no key", "--policy and --policy-key belong together"),
    ],
)
def test_a_server_does_not_start_under_a_policy_that_the_operator_did_not_sign(
    component_cache: Path, tmp_path: Path, change: str, said: str
) -> None:
    path, key = signed(tmp_path), PUBLIC.hex()
    if change == "another key":
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    elif change == "another byte":
        envelope = json.loads(path.read_text())
        text: str = envelope["signatures"][0]["sig"]
        envelope["signatures"][0]["sig"] = ("A" if text[0] != "A" else "B") + text[1:]
        path.write_text(json.dumps(envelope))
    elif change == "no signature":
        path = tmp_path / "plain.json"
    options = ["--policy", str(path), *(["--policy-key", key] if change != "no key" else [])]
    done = subprocess.run(
        [TEE, "--cache", str(component_cache), "stdio", *SOFTWARE, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("etmcp-tee: ")
    assert said in done.stderr


async def _configuration(cache: Path, policy: str) -> str:
    """The digest of what a server here says it is made of, put together anew."""
    async with AsyncExitStack() as stack:
        environments = {"wasm": dict(Proven(WasmSandbox(cache), "wasm").environment)}
        process = await native(stack, 1, Limits())
        if isinstance(process, Native):
            environments["process"] = dict(process.environment)
    told = {"name": "etmcp-tee", "version": version("etmcp")}
    made_of = {"server": told, "code": code.own(), "policy": policy, "environment": environments}
    return sha256_hex(canonical(made_of | {"requireSealed": False}))


def _statement(statement: Statement | None) -> Statement:
    assert statement is not None
    return statement
