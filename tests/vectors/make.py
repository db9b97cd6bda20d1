"""Writes the vectors beside this file: `.venv/bin/python -m tests.vectors.make`. The same bytes every time.

With `--check` it writes nothing and says which files differ.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attest import trust
from attest.call import CallHeader
from attest.canonical import canonical, parse
from attest.dsse import Envelope, pae
from attest.encoding import length_prefixed, salted, sha256_hex
from attest.evidence import key_id
from attest.identity import Request, sign_assertion
from attest.manifest import Manifest
from attest.schemes.software import MEDIA_TYPE, SCHEME
from attest.seal import PROGRESS, REPLY, REQUEST
from attest.statement import PAYLOAD_TYPE
from attest.verdict import OBSERVER
from tests.attest import made
from tests.vectors.bundled import bundle_files, pretty, with_members
from tests.vectors.sealed import CIPHERTEXT, PROGRESS_CIPHERTEXT

HERE = Path(__file__).parent
File = tuple[str, bytes]
MINUTE = 60_000


def main() -> None:
    """Write, or compare."""
    files = dict(every_file())
    stale = {str(path.relative_to(HERE)) for path in HERE.rglob("*") if path.is_file()} - set(files)
    stale = {name for name in stale if "/" in name and "__pycache__" not in name}
    if "--check" in sys.argv[1:]:
        changed = {name for name, data in files.items() if _now(name) != data}
        sys.exit(f"differ: {sorted(changed | stale)}" if changed | stale else 0)
    for name in stale:
        (HERE / name).unlink()
    for name, data in files.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_bytes(data)


def _now(name: str) -> bytes | None:
    path = HERE / name
    return path.read_bytes() if path.exists() else None


def every_file() -> Iterator[File]:
    """Name and content of each vector."""
    yield from canonical_files()
    for name, value in (
        ("dsse", dsse()),
        ("keys", keys()),
        ("digests", digests()),
        ("seal", seal()),
        ("statement", statement()),
        ("receipt", made.receipt().to_json()),
        ("identity", identity()),
    ):
        yield f"values/{name}.json", pretty(value)
    yield from bundle_files()
    yield from policy_files()
    yield from trust_files()
    yield from manifest_files()


GOOD = {
    "literals": b' [ null , true,\tfalse,\r\n"" ] ',
    "order-by-utf16": '{"\U0001f600": 1, "\ufb33": 2, "\u20ac": 3, "\\r": 4, "1": 5, "\u0080": 6}'.encode(),
    "string-escapes": b'"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/\\u007f"',
    "surrogate-pair": b'"\\ud83d\\ude00"',
    "floats": b"[333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001, -0.0, 1e21, 1e20, 5e-324]",
    "whole-float": b"[1.0, 100e-2]",
    "integers-beyond-a-double": b"[9007199254740993, -18446744073709551616, 1" + b"0" * 77 + b"]",
    "negative-zero": b"-0",
    "not-normalised": '["\u00e5", "a\u030a"]'.encode(),
    "depth-128": b"[" * 128 + b"]" * 128,
}
BAD = {
    "not-utf8-latin1": b'"\xe9"',
    "not-utf8-overlong": b'"\xc0\x80"',
    "not-utf8-surrogate": b'"\xed\xa0\x80"',
    "not-json-empty": b"",
    "not-json-bom": b"\xef\xbb\xbf{}",
    "not-json-trailing-comma": b"[1,]",
    "not-json-two-values": b"1 2",
    "not-json-single-quotes": b"{'a':1}",
    "not-json-leading-zero": b"[01]",
    "not-json-control-character": b'"a\nb"',
    "not-json-comment": b"[1/*one*/]",
    "too-deep-129": b"[" * 129 + b"]" * 129,
    "too-deep-objects": b'{"a":' * 129 + b"1" + b"}" * 129,
    "duplicate-key": b'{"a":1,"a":1}',
    "duplicate-key-by-escape": b'{"a":1,"\\u0061":2}',
    "duplicate-key-inside": b'[{"b":{"a":1,"a":2}}]',
    "not-a-number-nan": b"NaN",
    "not-a-number-infinity": b"[-Infinity]",
    "not-a-number-beyond-a-double": b"1e400",
    "lone-surrogate-high": b'"\\ud800"',
    "lone-surrogate-low": b'{"\\uDC00":1}',
    "lone-surrogate-reversed": b'"\\ude00\\ud83d"',
    "integer-too-long": b"1" * 4301,
}


def canonical_files() -> Iterator[File]:
    """Text in, canonical bytes out; or the code that begins the name."""
    for name, text in GOOD.items():
        yield f"canonical/good-{name}.in", text
        yield f"canonical/good-{name}.out", canonical(parse(text))
    for name, text in BAD.items():
        yield f"canonical/bad-{name}.in", text


def dsse() -> Any:
    """An envelope and the bytes that were signed."""
    payload = b'{"hello":"w\xc3\xb6rld"}'
    envelope = Envelope.sign("text/example", payload, made.signing_key("executor"), key_id(made.raw("executor")))
    return {
        "publicKey": made.raw("executor").hex(),
        "payload": payload.hex(),
        "signed": pae("text/example", payload).hex(),
        "envelope": envelope.to_json(),
    }


def keys() -> Any:
    """Key ids, and the binding with its report_data."""
    return {
        "signingOnly": {"signingKey": made.raw("observer").hex(), "keyId": key_id(made.raw("observer"))},
        "binding": made.BINDING.to_json(),
        "keyId": made.BINDING.key_id,
        "reportData": made.BINDING.report_data().hex(),
    }


def digests() -> Any:
    """Salted digests: of params, of a result, and of nothing."""
    cases = ((made.PARAMS_SALT, made.PARAMS), (made.RESULT_SALT, made.RESULT), (bytes(32), b""))
    return [
        {"salt": salt.hex(), "preimage": preimage.decode(), "sha256": salted(salt, preimage)}
        for salt, preimage in cases
    ]


def seal() -> Any:
    """The HPKE `info` of each direction, and two ciphertexts that open under the private key given here."""
    header = CallHeader(
        "tools/call", made.BINDING.key_id, made.STATEMENT.nonce, made.STATEMENT.stream, made.NOW, "from the client"
    )
    digest = bytes.fromhex(sha256_hex(header.bytes()))
    ml_kem, x25519 = made.sealing_seeds("executor")
    return {
        "header": header.bytes().decode(),
        "requestInfo": length_prefixed(REQUEST, digest).hex(),
        "replyInfo": length_prefixed(REPLY, digest).hex(),
        "mlKemSeed": ml_kem.hex(),
        "x25519Private": x25519.hex(),
        "publicKey": made.sealing_public("executor").hex(),
        "plaintext": "sealed for the executor",
        "sealedRequest": CIPHERTEXT,
        "progressNumber": 7,
        "progressInfo": length_prefixed(PROGRESS, digest, (7).to_bytes(8, "big")).hex(),
        "progress": '{"message":"halfway","progress":1,"total":2}',
        "sealedProgress": PROGRESS_CIPHERTEXT,
    }


def statement() -> Any:
    """Both kinds as text, each with its receipt id."""
    return [
        {"payload": said.encode().decode(), "receiptId": sha256_hex(said.encode())}
        for said in (made.STATEMENT, made.OBSERVED)
    ]


def identity() -> Any:
    """An assertion of each form, with the request that it stands beside."""
    calls: dict[str, Any] = {"name": "storage_get", "arguments": {"path": "notes/\u00e4 b.md", "version": 2}}
    listens: dict[str, Any] = {"notifications": {"resourceSubscriptions": ["etmcp://alice/a"]}}
    key, user, audience = made.signing_key("observer"), "alice", "etmcp-storage"
    cases: list[dict[str, Any]] = []
    for method, params, nonce in (
        ("tools/call", calls, made.octets("assertion", 16).hex()),
        ("subscriptions/listen", listens, made.octets("listens", 16).hex()),
        ("resources/list", {}, None),
    ):
        request = Request(method, {**params, "_meta": {"progressToken": 1}})
        assertion = sign_assertion(key, user, audience, request, now=made.NOW, nonce=nonce)
        covered = canonical({"method": method, "params": params}).decode()
        cases.append({"covered": covered, "request": request.digest(), "nonce": nonce, "assertion": assertion})
    public = key.public_key().public_bytes_raw().hex()
    return {"publicKey": public, "user": user, "audience": audience, "now": made.NOW, "cases": cases}


def policy_files() -> Iterator[File]:
    """A bad one is always `malformed`."""
    shape: dict[str, Any] = {"kind": "appraisal", "version": 1}
    software = {"allOf": [{"minAssurance": "software"}, {"notDebug": True}]}
    measured = {"measurement": {"register": "mrtd", "values": ["00ff"]}}
    good: dict[str, Any] = {
        "software": software,
        "any": {"anyOf": [measured, {"minAssurance": "none"}]},
        "empty-refuses": {"allOf": []},
        "production": {"allOf": [{"preset": "production"}, measured]},
        "every-rule": {
            "allOf": [
                {"preset": "development"},
                {"noTestRoots": True},
                {"schemes": ["intel-tdx", "amd-sev-snp"]},
                {"minTcb": {"snp": 22, "evaluationDataNumber": 17}},
                {"tcbStatus": ["UpToDate", "SWHardeningNeeded"]},
                {"denyAdvisories": ["INTEL-SA-00960"]},
                {"onlyAdvisories": ["INTEL-SA-00982"]},
                {"instances": ["chip:00ff"]},
                {"denyInstances": ["ppid:00ff"]},
                {"maxAge": 300},
                {"maxCollateralAge": 2592000},
                {"detail": {"name": "vmpl", "values": ["0"]}},
            ]
        },
    }
    bad: dict[str, Any] = {
        "empty": {},
        "array": [software],
        "level": {"minAssurance": "silver"},
        "not-debug-false": {"notDebug": False},
        "not-debug-one": {"notDebug": 1},
        "two-rules": {"notDebug": True, "minAssurance": "software"},
        "inner": {"allOf": [{"minAssurance": "software"}, {}]},
        "all-of-object": {"allOf": {"minAssurance": "software"}},
        "measurement-number": {"measurement": {"register": "mrtd", "values": [1]}},
        "preset": {"preset": "Production"},
        "no-test-roots-false": {"noTestRoots": False},
        "schemes-text": {"schemes": "intel-tdx"},
        "schemes-unknown": {"schemes": ["intel-tdx", "tdx"]},
        "tcb-status-unknown": {"tcbStatus": ["OK"]},
        "advisory-unknown": {"denyAdvisories": ["INTEL-SA-960"]},
        "instance-upper-case": {"denyInstances": ["chip:00FF"]},
        "min-tcb-empty": {"minTcb": {}},
        "min-tcb-text": {"minTcb": {"snp": "22"}},
        "max-age-negative": {"maxAge": -1},
        "max-age-fraction": {"maxAge": 1.5},
        "detail-member": {"detail": {"name": "vmpl", "values": ["0"], "also": 1}},
        "rule-in-other-case": {"minTCB": {"snp": 22}},
        "measurement-member": {"measurement": {"register": "mrtd", "values": [], "also": 1}},
    }
    for name, value in good.items():
        yield f"policy/good-{name}.json", canonical(shape | {"accept": value})
    for name, value in bad.items():
        yield f"policy/bad-malformed-{name}.json", canonical(shape | {"accept": value})
    twice = b'{"accept":{"minAssurance":"hardware","minAssurance":"none"},"kind":"appraisal","version":1}'
    yield "policy/bad-malformed-duplicate-key.json", twice
    yield "policy/good-programs.json", canonical(shape | {"accept": software, "programs": ["ab" * 32]})
    yield "policy/bad-malformed-programs.json", canonical(shape | {"accept": software, "programs": ["zz"]})
    yield "policy/bad-malformed-bare-rule.json", canonical(software)
    yield "policy/bad-malformed-kind.json", canonical(shape | {"accept": software, "kind": "execution"})
    yield "policy/bad-malformed-version.json", canonical(shape | {"accept": software, "version": 2})
    yield "policy/bad-malformed-member.json", canonical(shape | {"accept": software, "also": 1})


def trust_files() -> Iterator[File]:
    """A bad one is always `malformed`."""
    keys_ = {SCHEME: [made.raw("attester").hex()], OBSERVER: [made.raw("observer").hex()]}
    good = {"vectors": keys_, "empty": {}}
    bad: dict[str, Any] = {
        "anchor-upper-case": {SCHEME: [made.raw("attester").hex().upper()]},
        "anchor-short": {SCHEME: ["00"]},
        "anchor-number": {SCHEME: [0]},
        "anchors-not-an-array": {SCHEME: made.raw("attester").hex()},
    }
    for name, anchors in good.items():
        yield f"trust/good-{name}.json", canonical({"format": trust.FORMAT, "anchors": anchors})
    for name, anchors in bad.items():
        yield f"trust/bad-malformed-{name}.json", canonical({"format": trust.FORMAT, "anchors": anchors})
    shape: dict[str, Any] = {"format": trust.FORMAT, "anchors": {}}
    yield "trust/good-vendors.json", canonical(shape | {"vendors": ["amd", "aws", "intel"]})
    yield "trust/bad-malformed-vendor.json", canonical(shape | {"vendors": ["AMD"]})
    yield "trust/bad-malformed-vendors.json", canonical(shape | {"vendors": {"amd": True}})
    yield "trust/bad-malformed-format.json", canonical({"format": "https://etmcp.com/trust/v2", "anchors": keys_})
    yield "trust/bad-malformed-member.json", canonical({"format": trust.FORMAT, "anchors": {}, "all": True})
    yield "trust/bad-malformed-not-json.json", b"software: all\n"


def manifest_files() -> Iterator[File]:
    """Envelopes to open under the publisher's key in `values/publisher.json`."""
    text = made.MANIFEST.encode()
    name = key_id(made.raw("publisher"))

    def signed(payload: bytes, *, by: str = "publisher", key: str = name, kind: str = PAYLOAD_TYPE) -> bytes:
        return canonical(made.sign(payload, name=by, key=key, kind=kind).to_json())

    def changed(**members: Any) -> bytes:
        value = parse(with_members(text, **members))
        digest = sha256_hex(canonical(value["predicate"]))  # so that nothing else is wrong with it
        return signed(canonical(value | {"subject": [{"name": "calculator", "digest": {"sha256": digest}}]}))

    value = parse(text)
    pins = value["predicate"]["tools"]
    yield "values/publisher.json", pretty({"publicKey": made.raw("publisher").hex(), "payload": text.decode()})
    yield "manifests/good-calculator.json", signed(text)
    yield (
        "manifests/good-bare.json",
        signed(Manifest("calculator", "1.0.0", "executor-attested", {}, {}, {}, None, frozenset()).encode()),
    )
    yield "manifests/bad-key-other.json", signed(text, by="stranger", key=key_id(made.raw("stranger")))
    yield "manifests/bad-signature-by-another.json", signed(text, by="stranger")
    yield "manifests/bad-malformed-receipt-as-manifest.json", signed(made.STATEMENT.encode())
    yield "manifests/bad-malformed-payload-type.json", signed(text, kind=MEDIA_TYPE)
    yield "manifests/bad-malformed-not-canonical.json", signed(json.dumps(value).encode())
    yield "manifests/bad-malformed-member.json", changed(note="hi")
    yield "manifests/bad-malformed-kind.json", changed(kind="hardware")
    yield "manifests/bad-malformed-attester.json", changed(attesters=["me"])
    yield "manifests/bad-malformed-pin.json", changed(tools={"add": {"full": pins["add"]["full"]}})
    wrong_values: dict[str, dict[str, list[str]]] = {"empty": {}, "none": {"rtmr3": []}, "case": {"rtmr3": ["AB"]}}
    for name, values in wrong_values.items():
        yield f"manifests/bad-malformed-reference-{name}.json", changed(referenceValues={"intel-tdx": values})
    yield "manifests/bad-malformed-no-templates.json", changed(templates="absent")
    template = {"sum://{n}": {**pins["add"], "uri": "sum://1"}}
    yield "manifests/bad-malformed-template-pin.json", changed(templates=template)
    wrong = value | {"subject": [{"name": "calculator", "digest": {"sha256": "00" * 32}}]}
    yield "manifests/bad-malformed-subject-digest.json", signed(canonical(wrong))


if __name__ == "__main__":
    main()
