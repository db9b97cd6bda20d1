"""The bundles among the vectors: good ones, and each way in which one is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attest.bundle import Bundle
from attest.canonical import canonical, parse
from attest.encoding import salted
from attest.evidence import key_id
from attest.schemes.software import LIFETIME_MS, MEDIA_TYPE
from attest.statement import PAYLOAD_TYPE, Statement
from tests.attest import made

File = tuple[str, bytes]
MINUTE = 60_000


def pretty(value: Any) -> bytes:
    """As the files have it."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _json(bundle: Bundle) -> Any:
    return parse(bundle.encode())


def _said(**changes: Any) -> Bundle:
    """The executor signs a changed statement."""
    return made.bundle(replace(made.STATEMENT, **changes))


def _payload(payload: bytes, **how: str) -> Bundle:
    """The executor signs these bytes."""
    return made.bundle(receipt=replace(made.receipt(), envelope=made.sign(payload, **how)))


def _evidence(**changes: Any) -> Bundle:
    return made.bundle(speaker=(replace(made.evidence(), **changes), made.BINDING))


def _attested(name: str = "attester", kind: str = MEDIA_TYPE, key: str | None = None, **changes: Any) -> Bundle:
    """Evidence that says something else, signed all the same."""
    said: dict[str, Any] = {
        "attester": made.raw("attester").hex(),
        "reportData": made.BINDING.report_data().hex(),
        "selfReported": {},
        "issuedAt": made.ISSUED,
        "expiresAt": made.ISSUED + LIFETIME_MS,
    }
    envelope = made.sign(canonical(said | changes), name=name, key=key or key_id(made.raw("attester")), kind=kind)
    return _evidence(body=canonical(envelope.to_json()))


def _flip(signature: bytes) -> bytes:
    return bytes([signature[0] ^ 1]) + signature[1:]


def with_members(payload: bytes, **members: Any) -> bytes:
    """The statement with members of its predicate changed; those made `absent` taken away."""
    value = parse(payload)
    kept = {name: member for name, member in (value["predicate"] | members).items() if member != "absent"}
    return canonical(value | {"predicate": kept})


def bundles() -> Iterator[tuple[str, str, bytes | Bundle]]:
    """Name, the step that fails (or none), and the file."""
    good = made.bundle()
    whole = _json(good)
    said = made.STATEMENT.encode()
    other = replace(made.BINDING, boot_id=b"\1" * 16)
    envelope = good.receipt.envelope
    yield "good-executor", "", good
    yield "good-big-integer", "", _preimages({"name": "add", "arguments": {"a": 2**80}}, {"content": []})
    yield "good-error", "", _preimages({"name": "add"}, {"code": -32602, "message": "no such thing"}, outcome="error")
    yield "untrusted-root", "trust", made.bundle(speaker=(made.evidence(attester="stranger"), made.BINDING))
    yield "untrusted-root-observer", "trust", made.observed_bundle(name="stranger")

    yield "bad-malformed-empty", "bundle", b""
    yield "bad-malformed-not-canonical", "bundle", json.dumps(whole, indent=1).encode()
    yield "bad-malformed-final-newline", "bundle", good.encode() + b"\n"
    yield "bad-malformed-unknown-member", "bundle", canonical(whole | {"trust": []})
    yield "bad-malformed-no-member", "bundle", canonical({k: v for k, v in whole.items() if k != "observer"})
    yield "bad-malformed-duplicate-key", "bundle", good.encode()[:-1] + b',"result":""}'
    yield "bad-malformed-format", "bundle", canonical(whole | {"format": "https://etmcp.com/bundle/v2"})
    yield "bad-malformed-both-speakers", "bundle", canonical(whole | {"observer": made.raw("observer").hex()})
    yield "bad-malformed-no-speaker", "bundle", canonical(whole | {"evidence": None})
    yield "bad-malformed-upper-case-hex", "bundle", canonical(whole | {"paramsSalt": whole["paramsSalt"].upper()})
    yield "bad-malformed-base64-slack", "bundle", canonical(whole | {"result": "QR=="})
    yield "bad-malformed-base64-not-ascii", "bundle", canonical(whole | {"params": "\u00e9\u00e9\u00e9\u00e9"})
    two = whole["receipt"] | {"envelope": envelope.to_json() | {"signatures": envelope.to_json()["signatures"] * 2}}
    yield "bad-malformed-two-signatures", "bundle", canonical(whole | {"receipt": two})
    yield "bad-malformed-payload-type", "signature", _payload(said, kind="text/plain")
    yield "bad-key-other", "signature", _payload(said, key=key_id(made.raw("executor")))
    broken = replace(envelope, signature=_flip(envelope.signature))
    yield "bad-signature-flipped", "signature", made.bundle(receipt=replace(good.receipt, envelope=broken))
    yield "bad-signature-by-another", "signature", _payload(said, name="stranger")
    yield "bad-malformed-statement-not-canonical", "statement", _payload(json.dumps(parse(said)).encode())
    yield "bad-malformed-statement-member", "statement", _payload(with_members(said, assurance="hardware"))
    yield "bad-malformed-statement-lacks", "statement", _payload(with_members(said, nonce="absent"))
    yield "bad-malformed-statement-kind", "statement", _payload(with_members(said, kind="hardware-attested"))
    yield "bad-malformed-manifest-as-receipt", "statement", _payload(made.MANIFEST.encode())
    yield "bad-kind-executor-key-observes", "statement", made.bundle(made.OBSERVED)
    yield "bad-kind-executor-launches", "statement", _said(launch={"url": "https://example.com/mcp"})
    yield "bad-kind-observer-executes", "statement", made.observed_bundle(made.STATEMENT)
    yield "bad-kind-observer-without-launch", "statement", made.observed_bundle(replace(made.OBSERVED, launch=None))
    yield "bad-unsupported-media-type", "evidence", _evidence(media_type="application/eat-cwt")
    yield "bad-malformed-evidence", "evidence", _evidence(body=b"{}")
    yield "bad-malformed-evidence-spaces", "evidence", _evidence(body=made.evidence().body + b" ")
    yield "bad-malformed-evidence-type", "evidence", _attested(kind=PAYLOAD_TYPE)
    yield "bad-malformed-evidence-member", "evidence", _attested(measurement={"mrtd": "00"})
    yield "bad-key-evidence", "evidence", _attested(key=made.BINDING.key_id)
    yield "bad-signature-evidence", "evidence", _attested("stranger")
    yield (
        "bad-expired-evidence",
        "evidence",
        made.bundle(speaker=(made.evidence(issued_at=made.FINISHED - LIFETIME_MS - 1), made.BINDING)),
    )
    yield "bad-expired-evidence-lives-long", "evidence", _attested(expiresAt=made.ISSUED + LIFETIME_MS + 1)
    yield (
        "bad-not_yet_valid-evidence",
        "evidence",
        made.bundle(speaker=(made.evidence(issued_at=made.FINISHED + MINUTE + 1), made.BINDING)),
    )
    yield "bad-binding-other-boot", "evidence", made.bundle(speaker=(made.evidence(other), made.BINDING))
    yield "bad-params-other", "params", made.bundle(params=canonical({"name": "add", "arguments": {"a": 3, "b": 40}}))
    yield "bad-params-salt", "params", made.bundle(params_salt=bytes(32))
    yield "bad-result-other", "result", made.bundle(result=canonical({"content": []}))
    yield "bad-result-salt", "result", made.bundle(receipt=replace(good.receipt, result_salt=bytes(32)))
    yield "bad-time-out-of-order", "time", _said(received_at=made.FINISHED + 1)
    yield "bad-time-in-the-future", "time", _said(finished_at=made.NOW + MINUTE + 1)
    yield "bad-expired-before-the-evidence", "time", _said(received_at=made.ISSUED - MINUTE - 1)
    yield "bad-policy-observer", "policy", made.observed_bundle()


def _preimages(params: Any, result: Any, **changes: Any) -> Bundle:
    sent, got = canonical(params), canonical(result)
    digests_ = {"params_digest": salted(made.PARAMS_SALT, sent), "result_digest": salted(made.RESULT_SALT, got)}
    said: Statement = replace(made.STATEMENT, **digests_, **changes)
    return made.bundle(said, params=sent, result=got)


def bundle_files() -> Iterator[File]:
    """Checked at `now` under `trust/good-vectors.json` and `policy/good-software.json`."""
    steps: dict[str, str] = {}
    for name, step, file in bundles():
        steps[name] = step
        yield f"bundles/{name}.json", file if isinstance(file, bytes) else file.encode()
    yield "values/steps.json", pretty({"now": made.NOW, "steps": steps})
