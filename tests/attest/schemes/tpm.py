"""TPM evidence, right and wrong, and what becomes of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from attest.canonical import canonical
from attest.claims import Endorsements
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, Policy
from attest.schemes.tpm2 import MEDIA_TYPE, TpmEvidence, TpmScheme
from attest.verifier import Verifier
from attest.x509 import fingerprint
from tests.attest.made import BINDING
from tests.pki.tpm import FakeTpm, message, pcrs, sized

NOW = 1_795_176_000_000
SCHEME = TpmScheme()
TPM = FakeTpm(NOW)
RSA = FakeTpm(NOW, "rsassa")
OTHER = FakeTpm(NOW, name="other")
ROOT = fingerprint(TPM.root)
DATA = BINDING.report_data()
GOOD = TPM.attested(DATA)
PCRS = pcrs()
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
N_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

ANCHORS = Endorsements({"tpm": frozenset({TPM.key_name, RSA.key_name, ROOT})})
CERTIFIED = Endorsements({"tpm": frozenset({ROOT})})
POLICY = AllOf([Measurement("pcr4", frozenset({PCRS[4].hex()})), MinAssurance("software")])


def code(evidence: Evidence, endorsements: Endorsements = ANCHORS, now: int = NOW) -> str:
    """The code of the refusal; `untrusted` where it opens under no anchor, empty where under one."""
    try:
        claims = SCHEME.open(evidence, endorsements, now)
    except EvidenceError as e:
        return e.code
    return "" if claims.anchored else "untrusted"


def appraised(evidence: Evidence, endorsements: Endorsements = ANCHORS, policy: Policy = POLICY) -> str:
    verifier = Verifier(schemes=[SCHEME], endorsements=endorsements, policy=policy)
    try:
        verifier.appraise(evidence, BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
    except AttestError as e:
        return e.code
    return ""


def signed(tpm: FakeTpm = TPM, **wrong: Any) -> Evidence:
    """A quote that is signed as it is; `wrong` as for `message`."""
    text = message(DATA, {"sha256": PCRS}, **wrong)
    return tpm.evidence(DATA, attested=tpm.attested(DATA, signed=text))


def shown(banks: Mapping[str, Mapping[int, bytes]], **wrong: Any) -> Evidence:
    """A quote over the PCRs of `PCRS`, or as `wrong` says, and others beside it."""
    text = message(DATA, {"sha256": PCRS}, **wrong)
    return TPM.evidence(DATA, attested=TPM.attested(DATA, shown=banks, signed=text))


def over(banks: Mapping[str, Mapping[int, bytes]]) -> Evidence:
    """A quote over these."""
    return TPM.evidence(DATA, attested=TPM.attested(DATA, banks=banks))


def with_signature(signature: bytes, tpm: FakeTpm = TPM) -> Evidence:
    return tpm.evidence(DATA, attested=replace(tpm.attested(DATA), signature=signature))


def ecdsa(r: int, s: int) -> bytes:
    return b"\x00\x18\x00\x0b" + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))


def parts() -> tuple[int, int]:
    signature = GOOD.signature
    return int.from_bytes(signature[6:38], "big"), int.from_bytes(signature[40:], "big")


def with_key(public: bytes, tpm: FakeTpm = TPM) -> Evidence:
    return TpmEvidence(tpm.attested(DATA), public).encode()


def document(change: Callable[[dict[str, Any]], object]) -> Evidence:
    """Good evidence with its JSON changed."""
    value = json.loads(TPM.evidence(DATA).body)
    change(value)
    return Evidence(MEDIA_TYPE, canonical(value))


def raw(old: bytes, new: bytes) -> Evidence:
    body = TPM.evidence(DATA).body
    assert old in body
    return Evidence(MEDIA_TYPE, body.replace(old, new, 1))
