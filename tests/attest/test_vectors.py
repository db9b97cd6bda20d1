"""Every file under `tests/vectors/`: good ones pass, and one named bad-X fails with exactly code X."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attest import schemes
from attest.canonical import canonical, parse
from attest.dsse import Envelope
from attest.errors import CanonicalError, ManifestError, PolicyError
from attest.identity import Request, verify_assertion
from attest.manifest import open_manifest
from attest.receipt import Receipt
from attest.statement import Statement
from attest.trust import load_policy, load_trust
from attest.verdict import verify_bundle
from tests.attest.made import failure

VECTORS = Path(__file__).parent.parent / "vectors"
CODES = ("integer-too-long", "duplicate-key", "lone-surrogate", "not-a-number", "not-json", "not-utf8", "too-deep")


def files(folder: str, pattern: str) -> list[Any]:
    found = sorted((VECTORS / folder).glob(pattern))
    assert found, f"{folder}/{pattern} matches nothing"
    return [pytest.param(path, id=path.stem) for path in found]


def value(name: str) -> Any:
    return json.loads((VECTORS / "values" / f"{name}.json").read_text(encoding="utf-8"))


def code_of(path: Path) -> str:
    """The X of bad-X-what.json."""
    return path.stem.split("-")[1]


def prefixed(tag: bytes, *fields: bytes) -> bytes:
    """WIRE.md's length-prefixed encoding, written a second time."""
    return tag + b"\0" + b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def test_the_script_makes_exactly_these_files() -> None:
    command = [sys.executable, "-m", "tests.vectors.make", "--check"]
    run = subprocess.run(command, cwd=VECTORS.parent.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("path", files("canonical", "good-*.in"))
def test_good_json_has_these_canonical_bytes(path: Path) -> None:
    expected = path.with_suffix(".out").read_bytes()
    assert canonical(parse(path.read_bytes())) == expected
    assert canonical(parse(expected)) == expected


@pytest.mark.parametrize("path", files("canonical", "bad-*.in"))
def test_bad_json_is_refused_by_the_name_of_its_file(path: Path) -> None:
    expected = next(code for code in CODES if path.stem.startswith(f"bad-{code}"))
    with pytest.raises(CanonicalError) as caught:
        parse(path.read_bytes())
    assert caught.value.code == expected


@pytest.mark.parametrize("code", CODES)
def test_each_canonical_code_has_a_vector(code: str) -> None:
    assert list((VECTORS / "canonical").glob(f"bad-{code}*.in"))


def test_the_dsse_envelope_signs_its_pre_authentication_encoding() -> None:
    vector = value("dsse")
    payload, envelope = bytes.fromhex(vector["payload"]), vector["envelope"]
    kind = envelope["payloadType"]
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    assert signed.hex() == vector["signed"]
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(vector["publicKey"]))
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    key.verify(signature, signed)
    with pytest.raises(InvalidSignature):
        key.verify(signature, signed + b" ")
    assert Envelope.from_json(envelope).open(kind, key.public_bytes_raw(), envelope["signatures"][0]["keyid"])


def test_key_ids_and_report_data_follow_from_the_byte_layout() -> None:
    vector = value("keys")
    members = ("nonce", "signingKey", "sealingKey", "configuration", "bootId")
    fields = [bytes.fromhex(vector["binding"][name]) for name in members]
    assert [len(field) for field in fields] == [32, 32, 1216, 32, 16]
    assert hashlib.sha512(prefixed(b"etmcp/report-data/v1", *fields)).hexdigest() == vector["reportData"]
    assert hashlib.sha256(prefixed(b"etmcp/key-id/v1", *fields[1:3])).hexdigest() == vector["keyId"]
    alone = bytes.fromhex(vector["signingOnly"]["signingKey"])
    assert hashlib.sha256(prefixed(b"etmcp/key-id/v1", alone, b"")).hexdigest() == vector["signingOnly"]["keyId"]


def test_salted_digests_hash_the_salt_and_then_the_preimage() -> None:
    for case in value("digests"):
        preimage = case["preimage"].encode()
        assert hashlib.sha256(bytes.fromhex(case["salt"]) + preimage).hexdigest() == case["sha256"]


def test_the_sealed_request_and_progress_open_with_the_info_of_its_header() -> None:
    vector = value("seal")
    digest = hashlib.sha256(vector["header"].encode()).digest()
    assert prefixed(b"etmcp/request/v1", digest).hex() == vector["requestInfo"]
    assert prefixed(b"etmcp/reply/v1", digest).hex() == vector["replyInfo"]
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(vector["mlKemSeed"]))
    x25519 = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["x25519Private"]))
    public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    assert public.hex() == vector["publicKey"]
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    sealed, info = base64.b64decode(vector["sealedRequest"]), bytes.fromhex(vector["requestInfo"])
    opened = suite.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(ml_kem, x25519), info=info)
    assert opened.decode() == vector["plaintext"]
    place = vector["progressNumber"].to_bytes(8, "big")
    assert prefixed(b"etmcp/progress/v1", digest, place).hex() == vector["progressInfo"]
    sealed, info = base64.b64decode(vector["sealedProgress"]), bytes.fromhex(vector["progressInfo"])
    opened = suite.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(ml_kem, x25519), info=info)
    assert opened.decode() == vector["progress"]


def test_statements_decode_and_are_named_by_their_digest() -> None:
    for case in value("statement"):
        payload = case["payload"].encode()
        assert Statement.decode(payload).encode() == payload
        assert hashlib.sha256(payload).hexdigest() == case["receiptId"]


def test_the_receipt_reads_back_and_is_named_by_its_statement() -> None:
    vector = value("receipt")
    receipt = Receipt.from_json(vector)
    assert receipt.to_json() == vector
    assert receipt.receipt_id == value("statement")[0]["receiptId"]


def test_an_assertion_of_identity_covers_its_request() -> None:
    vector = value("identity")
    key = bytes.fromhex(vector["publicKey"])
    for case in vector["cases"]:
        assert hashlib.sha256(case["covered"].encode()).hexdigest() == case["request"]
        payload = json.loads(base64.b64decode(case["assertion"]["payload"]))
        assert payload["request"] == case["request"]
        request = Request(**json.loads(case["covered"]))
        said = verify_assertion(case["assertion"], [key], vector["audience"], request, vector["now"])
        assert (said.user, said.nonce) == (vector["user"], case["nonce"])


def verdict(path: Path, policy: str = "policy/good-software.json", trust: str = "trust/good-vectors.json") -> Any:
    return verify_bundle(
        path.read_bytes(),
        schemes=schemes.ALL,
        endorsements=load_trust((VECTORS / trust).read_bytes()),
        policy=load_policy((VECTORS / policy).read_bytes()),
        now=value("steps")["now"],
    )


@pytest.mark.parametrize("path", files("bundles", "good-*.json"))
def test_a_good_bundle_is_verified_step_by_step(path: Path) -> None:
    found = verdict(path)
    assert found.outcome == "verified"
    assert [step.status for step in found.steps] == ["passed"] * 7 + ["not checked"] + ["passed"] * 2
    assert found.assurance == "software"


@pytest.mark.parametrize("path", files("bundles", "good-*.json"))
def test_a_good_bundle_is_untrusted_without_anchors_and_refused_by_a_policy_that_is_empty(path: Path) -> None:
    assert verdict(path, trust="trust/good-empty.json").outcome == "untrusted"
    refused = verdict(path, policy="policy/good-empty-refuses.json")
    assert (refused.outcome, *failure(refused)) == ("refused", "policy", "policy")


@pytest.mark.parametrize("path", files("bundles", "untrusted-*.json"))
def test_an_untrusted_bundle_fails_for_want_of_an_anchor_alone(path: Path) -> None:
    found = verdict(path)
    assert (found.outcome, *failure(found)) == ("untrusted", value("steps")["steps"][path.stem], code_of(path))
    assert found.assurance == "none"


@pytest.mark.parametrize("path", files("bundles", "bad-*.json"))
def test_a_bad_bundle_fails_at_its_step_with_its_code(path: Path) -> None:
    found = verdict(path)
    assert (found.outcome, *failure(found)) == ("refused", value("steps")["steps"][path.stem], code_of(path))
    assert found.assurance == "none"
    assert found.steps[-1].status != "passed"


@pytest.mark.parametrize("kind", ["policy", "trust"])
def test_policy_and_trust_files_load_or_are_malformed(kind: str) -> None:
    load: Any = load_policy if kind == "policy" else load_trust
    for path in (VECTORS / kind).glob("good-*.json"):
        assert load(path.read_bytes()) is not None
    for path in (VECTORS / kind).glob("bad-*.json"):
        with pytest.raises(PolicyError) as caught:
            load(path.read_bytes())
        assert caught.value.code == code_of(path), path.name


@pytest.mark.parametrize("path", files("manifests", "*.json"))
def test_manifests_open_under_the_publisher_or_are_refused(path: Path) -> None:
    publisher = bytes.fromhex(value("publisher")["publicKey"])
    envelope = Envelope.from_json(parse(path.read_bytes()), ManifestError)
    if path.stem.startswith("good-"):
        trusted = open_manifest(envelope, publisher)
        assert trusted.manifest.encode() == envelope.payload
        assert trusted.publisher == publisher.hex()
        return
    with pytest.raises(ManifestError) as caught:
        open_manifest(envelope, publisher)
    assert caught.value.code == code_of(path)


def test_every_vector_file_is_good_untrusted_or_bad() -> None:
    names = [path.name for path in VECTORS.glob("[!_]*/*") if path.parent.name != "values"]
    assert [name for name in names if not re.match(r"(good|untrusted|bad)-", name)] == []
