"""A bundle: one receipt with all it needs to be checked again offline, years later. Trust is never inside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from attest.canonical import canonical
from attest.encoding import Fields, b64encode
from attest.errors import EvidenceError, ReceiptError
from attest.evidence import Binding, Evidence
from attest.proven import Attached
from attest.receipt import Receipt

FORMAT = "https://etmcp.com/bundle/v1"
MAX_PREIMAGE = 64 << 20
MAX_DOCUMENTS, MAX_DOCUMENT = 16, 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """`params` and `result` are the canonical preimages.

    `speaker` presents the key that signed: evidence and what it binds (executor), or a raw Ed25519 key (observer);
    `proof` is there where the result is proven; `endorsements` are the documents that the evidence was appraised with.
    """

    receipt: Receipt
    params_salt: bytes
    params: bytes
    result: bytes
    speaker: tuple[Evidence, Binding] | bytes
    proof: Attached | None = None
    endorsements: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def encode(self) -> bytes:
        """The file: canonical JSON on one line."""
        if isinstance(self.speaker, bytes):
            evidence, observer = None, self.speaker.hex()
        else:
            evidence = {"cmw": self.speaker[0].to_cmw(), "binding": self.speaker[1].to_json()}
            observer = None
        return canonical(
            {
                "format": FORMAT,
                "receipt": self.receipt.to_json(),
                "paramsSalt": self.params_salt.hex(),
                "params": b64encode(self.params),
                "result": b64encode(self.result),
                "evidence": evidence,
                "observer": observer,
                **({} if self.proof is None else {"proof": self.proof.to_json()}),
                **({"endorsements": dump_documents(self.endorsements)} if self.endorsements else {}),
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "Bundle":
        """Read `encode`'s form, canonical bytes only; raises `ReceiptError` or `EvidenceError` (`malformed`)."""
        fields = Fields.parse(data, "the bundle", ReceiptError)
        fields.constant("format", FORMAT)
        receipt = Receipt.from_json(fields.take("receipt"))
        salt = fields.hex("paramsSalt", 32)
        params = fields.base64("params", maximum=MAX_PREIMAGE)
        result = fields.base64("result", maximum=MAX_PREIMAGE)
        evidence, observer = fields.optional("evidence"), fields.optional("observer")
        told, documents = fields.optional("proof"), fields.optional("endorsements")
        fields.done()
        if evidence is None:
            speaker: tuple[Evidence, Binding] | bytes = Fields({"key": observer}, "observer", ReceiptError).hex(
                "key", 32
            )
        else:
            inner = Fields(evidence, "the evidence", EvidenceError)
            speaker = (Evidence.from_cmw(inner.take("cmw")), Binding.from_json(inner.take("binding")))
            inner.done()
        proof = None if told is None else Attached.from_json(told, ReceiptError)
        endorsements = {} if documents is None else load_documents(documents)
        bundle = cls(receipt, salt, params, result, speaker, proof, endorsements)
        if bundle.encode() != data:  # also refuses a bundle with both speakers
            raise ReceiptError("malformed", "the bundle is not in its one canonical form")
        return bundle


def dump_documents(documents: Mapping[str, bytes]) -> dict[str, str]:
    """Endorsement documents by name, in base64."""
    return {name: b64encode(data) for name, data in documents.items()}


def load_documents(value: Any) -> dict[str, bytes]:
    """Read `dump_documents`'s form, at most 16 of at most 1 MiB; raises `EvidenceError("malformed")`."""
    fields = Fields(value, "the endorsements", EvidenceError)
    names = list(cast(dict[str, Any], value))
    if len(names) > MAX_DOCUMENTS:
        raise EvidenceError("malformed", f"there are more than {MAX_DOCUMENTS} endorsements")
    return {name: fields.base64(name, maximum=MAX_DOCUMENT) for name in names}
