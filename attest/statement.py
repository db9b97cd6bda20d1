"""What a receipt says: one MCP exchange as an in-toto Statement v1 (github.com/in-toto/attestation, spec v1.0)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from attest.canonical import canonical
from attest.encoding import Fields
from attest.errors import ReceiptError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://etmcp.com/receipt/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

Kind = Literal["executor-attested", "observer-attested"]
Outcome = Literal["result", "error", "input-required"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One exchange. Payload digests are salted SHA-256; times are milliseconds since 1970 by the signer's clock.

    `target` names the tool or prompt; it is None for methods whose only name is a URI (that is in the params digest).
    `definition` is the digest of the target as the server lists it. `stream` is the caller's random 16 bytes in hex
    and `sequence` counts this key's receipts within that stream from 1. `previous` is the receipt id of the round
    before in a multi-round-trip. `environment`, `usage`: how it ran. `launch`: what an observer started or called.
    """

    kind: Kind
    server: Mapping[str, str]
    method: str
    target: str | None
    definition: str | None
    params_digest: str
    result_digest: str
    outcome: Outcome
    nonce: str
    client_nonce: str | None
    stream: str
    sequence: int
    previous: str | None
    policy_digest: str
    received_at: int
    finished_at: int
    environment: Mapping[str, Any]
    usage: Mapping[str, Any]
    launch: Mapping[str, Any] | None = None

    def encode(self) -> bytes:
        """The payload that is signed: canonical JSON."""
        return canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": "params", "digest": {"sha256": self.params_digest}},
                    {"name": "result", "digest": {"sha256": self.result_digest}},
                ],
                "predicateType": PREDICATE_TYPE,
                "predicate": {
                    "kind": self.kind,
                    "server": dict(self.server),
                    "method": self.method,
                    "target": self.target,
                    "definition": self.definition,
                    "outcome": self.outcome,
                    "nonce": self.nonce,
                    "clientNonce": self.client_nonce,
                    "stream": self.stream,
                    "sequence": self.sequence,
                    "previous": self.previous,
                    "policy": self.policy_digest,
                    "receivedAt": self.received_at,
                    "finishedAt": self.finished_at,
                    "environment": dict(self.environment),
                    "usage": dict(self.usage),
                    "launch": None if self.launch is None else dict(self.launch),
                },
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> "Statement":
        """Read `encode`'s form strictly, canonical bytes only; raises `ReceiptError("malformed")`."""
        outer = Fields.parse(payload, "the statement", ReceiptError)
        outer.constant("_type", STATEMENT_TYPE)
        outer.constant("predicateType", PREDICATE_TYPE)
        params_digest, result_digest = _subjects(outer.list("subject"))
        fields = Fields(outer.take("predicate"), "the predicate", ReceiptError)
        outer.done()
        server = Fields(fields.take("server"), "the server", ReceiptError)
        statement = cls(
            kind=_one_of(fields, "kind", get_args(Kind)),
            server={"name": server.text("name", maximum=200), "version": server.text("version", maximum=200)},
            method=fields.text("method", maximum=200),
            target=_nullable(fields, "target"),
            definition=_nullable(fields, "definition"),
            params_digest=params_digest,
            result_digest=result_digest,
            outcome=_one_of(fields, "outcome", get_args(Outcome)),
            nonce=fields.hex("nonce", 32).hex(),
            client_nonce=_nullable(fields, "clientNonce"),
            stream=fields.hex("stream", 16).hex(),
            sequence=fields.integer("sequence"),
            previous=_nullable(fields, "previous"),
            policy_digest=fields.digest("policy"),
            received_at=fields.integer("receivedAt"),
            finished_at=fields.integer("finishedAt"),
            environment=fields.mapping("environment"),
            usage=fields.mapping("usage"),
            launch=_nullable_mapping(fields, "launch"),
        )
        server.done()
        fields.done()
        if statement.encode() != payload:
            raise ReceiptError("malformed", "the statement is not in canonical form")
        return statement


def _subjects(subjects: list[Any]) -> tuple[str, str]:
    if len(subjects) != 2:
        raise ReceiptError("malformed", "the statement needs the subjects params and result")
    digests: list[str] = []
    for name, value in zip(("params", "result"), subjects, strict=True):
        subject = Fields(value, "the subject", ReceiptError)
        subject.constant("name", name)
        digest = Fields(subject.take("digest"), "the digest", ReceiptError)
        digests.append(digest.digest("sha256"))
        digest.done()
        subject.done()
    return digests[0], digests[1]


def _one_of(fields: Fields, name: str, values: tuple[str, ...]) -> Any:
    value = fields.text(name, maximum=40)
    if value not in values:
        raise ReceiptError("malformed", f"{name} is {value!r}, not one of {', '.join(values)}")
    return value


def _nullable(fields: Fields, name: str) -> str | None:
    value = fields.take(name)
    if value is not None and not (isinstance(value, str) and len(value) <= 4096):
        raise ReceiptError("malformed", f"{name} is neither null nor a string")
    return value


def _nullable_mapping(fields: Fields, name: str) -> dict[str, Any] | None:
    value = fields.take(name)
    if value is not None and not isinstance(value, dict):
        raise ReceiptError("malformed", f"{name} is neither null nor an object")
    return cast(dict[str, Any] | None, value)
