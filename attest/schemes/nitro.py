"""AWS Nitro Enclaves: the attestation document that the Nitro Security Module (NSM) signs for its enclave.

A COSE_Sign1 (RFC 9052) with its certificates inside; the NSM puts no tag before it. Our attester puts the 64 bytes of
report_data into `user_data`, which the hypervisor passes on as it is. The document has a date and its key lives three
hours, so the chain has to hold at that date and again at the time of the check: for a receipt, the time at which it was
signed.
Source: github.com/aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import cbor2
from cryptography import x509

from attest.claims import Claims, Endorsements
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.x509 import check_chain, check_p384, check_validity, expiry, fingerprint, load_certificate

MEDIA_TYPE = "application/vnd.etmcp.nitro"
SCHEME = "aws-nitro"
VENDOR = "aws"
MAX_SIZE = 32 << 10
MAX_DEPTH = 4
MAX_BUNDLE = 8
SKEW_MS = 60_000

PROTECTED = b"\xa1\x01\x38\x22"
"""{1: -35}: the algorithm is ES384 (RFC 9053 section 2.1)."""
TAG = b"\xd2"
"""18, COSE_Sign1 (RFC 9052 section 2). It is not signed, and tools put it on or take it off."""
HALF = 48
OPTIONAL = {"public_key": 1024, "user_data": 512, "nonce": 512}
"""The longest that AWS lets an enclave put there."""
REQUIRED = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}
IMAGE = (0, 1, 2)
"""The registers of the enclave's image, zero in debug mode."""

_TAGS = (*range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


@dataclass(frozen=True, slots=True)
class _Document:
    """A document whose every member has the type and size that AWS gives it; not authentic yet."""

    signed: bytes
    signature: bytes
    module: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    chain: Sequence[x509.Certificate]
    told: Mapping[str, bytes]


class NitroScheme:
    """Opens attestation documents of Nitro Enclaves.

    `late_ms`: how late our clock may be where a certificate has just begun.
    """

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def __init__(self, *, late_ms: int = SKEW_MS) -> None:
        self._late_ms = late_ms

    def wants(self, evidence: Evidence) -> Sequence[str]:  # noqa: ARG002
        """Nothing: a document brings its certificates along, and the root is an anchor."""
        return ()

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`. Codes: `malformed`, `chain`, `signature`, `expired`, `not_yet_valid`."""
        document = _read(evidence.body)
        if document.timestamp > now + SKEW_MS:
            raise EvidenceError("not_yet_valid", "the Nitro document is dated in the future; compare the two clocks")
        check_chain(document.chain)
        check_validity(document.chain, document.timestamp)
        check_validity(document.chain, max(now, min(document.timestamp, now + self._late_ms)))
        r, s = (int.from_bytes(half, "big") for half in (document.signature[:HALF], document.signature[HALF:]))
        check_p384(document.chain[0], r, s, document.signed, "the Nitro document")
        root = fingerprint(document.chain[-1])
        told = {"publicKey": "public_key", "nonce": "nonce"}
        return Claims(
            scheme=SCHEME,
            assurance="hardware",
            anchor=root,
            standing=endorsements.standing(VENDOR, root),
            report_data=document.told.get("user_data", b""),
            debug=not any(any(document.pcrs[index]) for index in IMAGE),
            issued_at=document.timestamp,
            expires_at=expiry(document.chain),
            measurement={f"pcr{index}": value.hex() for index, value in sorted(document.pcrs.items())},
            launch=frozenset({"pcr0"}),
            details={"moduleId": document.module}
            | {name: document.told[member].hex() for name, member in told.items() if member in document.told},
            instance=f"ec2:{document.module.partition('-enc')[0]}",
        )


def _read(body: bytes) -> _Document:
    if len(body) > MAX_SIZE:
        raise EvidenceError("malformed", f"a Nitro document has at most {MAX_SIZE} bytes")
    untagged = body.removeprefix(TAG)
    match _decode(untagged, "the Nitro document"):
        case [bytes(protected), unprotected, bytes(payload), bytes(signature)]:
            pass
        case _:
            raise EvidenceError("malformed", "the Nitro document is not a COSE_Sign1")
    # Protected headers by their one encoding, none unprotected: nothing is left that could name another algorithm.
    if protected != PROTECTED or unprotected != {} or len(signature) != 2 * HALF:
        raise EvidenceError("malformed", "the Nitro document is not signed with ES384, or has other headers")
    if cbor2.dumps((protected, unprotected, payload, signature)) != untagged:
        raise EvidenceError("malformed", "the Nitro document has more than its one encoding")
    decoded = _decode(payload, "the Nitro payload")
    members: dict[Any, Any] = cast(dict[Any, Any], decoded) if isinstance(decoded, dict) else {}
    if {name for name in members if name not in OPTIONAL} != REQUIRED:
        raise EvidenceError("malformed", "the Nitro payload has other members than AWS's")
    return _checked(members, cbor2.dumps(["Signature1", protected, b"", payload]), signature)


def _checked(members: Mapping[str, Any], signed: bytes, signature: bytes) -> _Document:
    match members:
        case {"module_id": str(module), "digest": "SHA384", "timestamp": int(timestamp)} if (
            type(timestamp) is int and 0 < timestamp < 2**53 and 0 < len(module) <= 200 and module.isascii()
        ):
            pass
        case _:
            raise EvidenceError("malformed", "the Nitro payload has a wrong module_id, digest or timestamp")
    told: dict[str, bytes] = {}
    for name, longest in OPTIONAL.items():
        value = members.get(name)
        if value is not None and not (type(value) is bytes and len(value) <= longest):
            raise EvidenceError("malformed", f"the Nitro payload needs at most {longest} bytes as {name}")
        if value is not None:
            told[name] = value
    bundle = cast(list[Any], members["cabundle"]) if isinstance(members["cabundle"], list) else []
    if not 0 < len(bundle) <= MAX_BUNDLE:
        raise EvidenceError("malformed", f"the Nitro payload needs 1 to {MAX_BUNDLE} certificates as cabundle")
    # The bundle begins with the root.
    chain = [_certificate(der) for der in (members["certificate"], *reversed(bundle))]
    return _Document(signed, signature, module, timestamp, _registers(members["pcrs"]), chain, told)


def _registers(value: Any) -> Mapping[int, bytes]:
    if not isinstance(value, dict):
        raise EvidenceError("malformed", "the Nitro payload needs a map as pcrs")
    registers = cast(dict[Any, Any], value)
    for index, register in registers.items():
        if type(index) is not int or not 0 <= index < 32 or type(register) is not bytes or len(register) != HALF:
            raise EvidenceError("malformed", f"a Nitro register has a number below 32 and {HALF} bytes")
    if not registers.keys() >= set(IMAGE):
        raise EvidenceError("malformed", "the Nitro payload lacks a register of the image")
    return registers


def _certificate(value: Any) -> x509.Certificate:
    if type(value) is not bytes or not value.startswith(b"\x30"):
        raise EvidenceError("malformed", "a certificate in the Nitro payload is not DER")
    return load_certificate(value, "the Nitro payload")


def _decode(data: bytes, what: str) -> Any:
    """One CBOR item without tags or duplicate keys (RFC 8949), and nothing behind it."""

    def load(encoded: bytes) -> Any:
        return cbor2.loads(
            encoded,
            max_depth=MAX_DEPTH,
            allow_duplicate_keys=False,
            semantic_decoders=dict.fromkeys(_TAGS, _refuse),
            tag_hook=_refuse,
        )

    try:
        value = load(data)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError) as e:
        raise EvidenceError("malformed", f"{what} is not CBOR as we read it: {type(e).__name__}") from e
    try:
        load(data[:-1])
    except cbor2.CBORDecodeEOF:
        return value
    # An item that is whole without the last byte does not need it: CBOR is free of prefixes, and `loads` stops early.
    raise EvidenceError("malformed", f"{what} has bytes behind its end")


def _refuse(*_: object) -> NoReturn:
    raise ValueError("a tag")
