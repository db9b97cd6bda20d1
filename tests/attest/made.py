"""One exchange with fixed keys, times and salts, made with `attest` itself; tests change it in one place."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attest import schemes
from attest.bundle import Bundle
from attest.canonical import canonical
from attest.claims import Endorsements
from attest.dsse import Envelope
from attest.encoding import salted, sha256_hex
from attest.errors import AttestError
from attest.evidence import Binding, Evidence, key_id
from attest.manifest import Manifest, Pin, text_digest
from attest.policy import AllOf, MinAssurance, NotDebug, Policy
from attest.proven import ANY, Accepted
from attest.receipt import Exchange, Receipt
from attest.schemes.software import SCHEME, SoftwareAttester
from attest.sequence import SequenceLedger
from attest.statement import PAYLOAD_TYPE, Statement
from attest.verdict import OBSERVER, Verdict, verify_bundle
from attest.verifier import AttestationResult, Verifier

NOW = 1_750_000_000_000
"""When things are checked, in milliseconds; evidence is ten seconds old then, and the receipt is two."""
ISSUED = NOW - 10_000
RECEIVED, FINISHED = NOW - 3_000, NOW - 2_000


def octets(name: str, size: int) -> bytes:
    """Bytes that look random and are the same for ever."""
    return hashlib.shake_256(f"etmcp test {name}".encode()).digest(size)


def signing_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(octets(f"signing {name}", 32))


def raw(name: str) -> bytes:
    """The public half of `signing_key(name)`."""
    return signing_key(name).public_key().public_bytes_raw()


def sealing_seeds(name: str) -> tuple[bytes, bytes]:
    """The private halves: a 64-byte ML-KEM-768 seed and a 32-byte X25519 scalar."""
    return octets(f"ml-kem {name}", 64), octets(f"x25519 {name}", 32)


def sealing_public(name: str) -> bytes:
    ml_kem, x25519 = sealing_seeds(name)
    first = MLKEM768PrivateKey.from_seed_bytes(ml_kem).public_key().public_bytes_raw()
    return first + X25519PrivateKey.from_private_bytes(x25519).public_key().public_bytes_raw()


BINDING = Binding(octets("challenge", 32), raw("executor"), sealing_public("executor"), octets("conf", 32), bytes(16))
PARAMS = canonical({"name": "add", "arguments": {"a": 2, "b": 40}})
RESULT = canonical({"content": [{"type": "text", "text": "42"}]})
PARAMS_SALT, RESULT_SALT = octets("params salt", 32), octets("result salt", 32)
DEFINITION = sha256_hex(canonical({"name": "add"}))

STATEMENT = Statement(
    kind="executor-attested",
    server={"name": "calculator", "version": "1.0.0"},
    method="tools/call",
    target="add",
    definition=DEFINITION,
    params_digest=salted(PARAMS_SALT, PARAMS),
    result_digest=salted(RESULT_SALT, RESULT),
    outcome="result",
    nonce=octets("nonce", 32).hex(),
    client_nonce="from the client",
    stream=octets("stream", 16).hex(),
    sequence=1,
    previous=None,
    policy_digest=sha256_hex(b"none"),
    received_at=RECEIVED,
    finished_at=FINISHED,
    environment={"tier": "none"},
    usage={"fuel": 7},
)
OBSERVED = replace(STATEMENT, kind="observer-attested", launch={"command": "calculator", "launch": DEFINITION})
EXCHANGE = Exchange(
    server_name="calculator",
    method="tools/call",
    target="add",
    definition=DEFINITION,
    nonce=STATEMENT.nonce,
    client_nonce="from the client",
    stream=STATEMENT.stream,
    previous=None,
    params=PARAMS,
    params_salt=PARAMS_SALT,
    result=RESULT,
    outcome="result",
    sent_at=NOW - 4_000,
)
MANIFEST = Manifest(
    server="calculator",
    version="1.0.0",
    kind="executor-attested",
    tools={"add": Pin.of({"name": "add", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}})},
    prompts={"greet": Pin.of({"name": "greet", "arguments": [{"name": "who", "required": True}]})},
    templates={"sum://{n}": Pin.of({"name": "sum", "uriTemplate": "sum://{n}", "mimeType": "text/plain"})},
    instructions=text_digest("Adds numbers."),
    attesters=frozenset({raw("attester").hex()}),
    reference_values={"intel-tdx": {"mrtd": frozenset({"ab" * 48, "cd" * 48}), "rtmr3": frozenset({"ef" * 48})}},
)

ANCHORS = Endorsements({SCHEME: frozenset({raw("attester").hex()}), OBSERVER: frozenset({raw("observer").hex()})})
POLICY: Policy = AllOf([MinAssurance("software"), NotDebug()])


def evidence(binding: Binding = BINDING, *, attester: str = "attester", issued_at: int = ISSUED) -> Evidence:
    made = SoftwareAttester(signing_key(attester), lambda: issued_at, {"engine": "none"})
    return made.attest(binding.report_data())


def sign(payload: bytes, *, name: str = "executor", key: str = BINDING.key_id, kind: str = PAYLOAD_TYPE) -> Envelope:
    return Envelope.sign(kind, payload, signing_key(name), key)


def receipt(statement: Statement = STATEMENT) -> Receipt:
    """Signed by the executor, whatever it says."""
    return Receipt(sign(statement.encode()), RESULT_SALT)


def bundle(statement: Statement = STATEMENT, **changes: Any) -> Bundle:
    """What the executor's receipt needs, with some of it changed."""
    made = Bundle(receipt(statement), PARAMS_SALT, PARAMS, RESULT, (evidence(), BINDING))
    return replace(made, **changes)


def observed_bundle(statement: Statement = OBSERVED, *, name: str = "observer", **changes: Any) -> Bundle:
    envelope = sign(statement.encode(), name=name, key=key_id(raw(name)))
    return replace(Bundle(Receipt(envelope, RESULT_SALT), PARAMS_SALT, PARAMS, RESULT, raw(name)), **changes)


def appraisal(now: int = NOW, maximum_age_ms: int = 900_000) -> AttestationResult:
    verifier = Verifier(schemes=schemes.ALL, endorsements=ANCHORS, policy=POLICY)
    return verifier.appraise(evidence(), BINDING, nonce=BINDING.nonce, now=now, maximum_age_ms=maximum_age_ms)


def ledger(calls: int = 1) -> SequenceLedger:
    """A stream in which so many calls were begun."""
    made = SequenceLedger()
    for _ in range(calls):
        made.begin()
    return made


def verify(
    data: bytes, *, endorsements: Endorsements = ANCHORS, policy: Policy | None = POLICY, proofs: Accepted = ANY
) -> Verdict:
    return verify_bundle(data, schemes=schemes.ALL, endorsements=endorsements, policy=policy, now=NOW, proofs=proofs)


def refusal(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """The code with which `attest` refuses; empty where it does not. Any other exception passes."""
    try:
        call(*arguments, **named)
    except AttestError as e:
        return e.code
    return ""


def failure(verdict: Verdict) -> tuple[str, str]:
    """The step that failed and its code; two empty strings where all passed."""
    return next(((step.name, step.code) for step in verdict.steps if step.status == "failed"), ("", ""))
