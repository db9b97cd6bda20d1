"""Names and shapes of the MCP extension `com.etmcp/receipts` (SEP-2133), shared so that neither side imports the other.

The prose is WIRE.md; a JSON-RPC result or params object is a dict here, never a model.
"""

from typing import Any, Literal, cast

from attest.canonical import canonical
from attest.encoding import Fields
from attest.errors import EvidenceError
from attest.evidence import Binding, Evidence

PREFIX = "com.etmcp/"
EXTENSION = "com.etmcp/receipts"
CALL = "com.etmcp/call"
RECEIPT = "com.etmcp/receipt"
SEALED = "com.etmcp/sealed"
REFUSAL = "com.etmcp/refusal"
VERIFICATION = "com.etmcp/verification"
PROGRAM = "com.etmcp/program"
PROOF = "com.etmcp/proof"
EVIDENCE_URI = "attest://evidence/"
EVIDENCE_TEMPLATE = "attest://evidence/{nonce}"

# The params member that names what is asked for, by method: results of these are kept with their receipts.
NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
# What stands in that member of a sealed request, where the name itself is inside the ciphertext.
SEALED_NAME = "sealed"
# The empty result that carries a sealed reply, so that whoever validates results by method lets it pass.
SEALED_RESULT: dict[str, dict[str, Any]] = {
    "tools/call": {"content": []},
    "prompts/get": {"messages": []},
    "resources/read": {"contents": []},
}
# Why an executor refuses a call before doing anything. Unsigned: a gateway acts on no more than the code.
REFUSALS = frozenset({"malformed", "unknown-key", "replayed", "stale", "seal", "unsealed", "busy"})

Json = dict[str, Any]


def target_of(method: str, params: Json) -> str | None:
    """The tool or prompt that a request names; None for a URI, which only the params digest covers."""
    name = params.get("name") if NAMED_BY.get(method) == "name" else None
    return name if isinstance(name, str) else None


def covered_params(params: Json) -> bytes:
    """The preimage of the params digest: canonical JSON of all params but `_meta`."""
    return canonical({name: value for name, value in params.items() if name != "_meta"})


def covered_result(result: Json) -> bytes:
    """The preimage of the result digest: canonical JSON of the result without our own `_meta` keys."""
    return canonical(without_ours(result))


def without_ours(message: Json) -> Json:
    """The object without `com.etmcp/*` in its `_meta`; an empty `_meta` is dropped."""
    meta = message.get("_meta")
    if not isinstance(meta, dict):
        return message
    kept = {name: value for name, value in cast(Json, meta).items() if not name.startswith(PREFIX)}
    rest = {name: value for name, value in message.items() if name != "_meta"}
    return rest | {"_meta": kept} if kept else rest


def with_meta(message: Json, name: str, value: Any) -> Json:
    """The object with one more `_meta` member."""
    meta = message.get("_meta")
    return {**message, "_meta": {**(cast(Json, meta) if isinstance(meta, dict) else {}), name: value}}


def meta_of(message: Json, name: str) -> Any:
    """One `_meta` member, or None."""
    meta = message.get("_meta")
    return cast(Json, meta).get(name) if isinstance(meta, dict) else None


def error_with_receipt(error: Json, receipt: Json) -> Json:
    """A JSON-RPC error that carries its receipt in `data`, with the original data beside it."""
    original = {"data": error["data"]} if "data" in error else {}
    return {"code": error["code"], "message": error["message"], "data": {RECEIPT: receipt, **original}}


def error_without_receipt(error: Json) -> tuple[Json, Any]:
    """The error as the handler made it, and the unchecked receipt or None."""
    data = error.get("data")
    if not isinstance(data, dict) or RECEIPT not in data:
        return error, None
    wrapped = cast(Json, data)
    rest = {name: value for name, value in error.items() if name != "data"}
    return (rest | {"data": wrapped["data"]} if "data" in wrapped else rest), wrapped[RECEIPT]


def outcome_of(result: Json) -> Literal["result", "input-required"]:
    """`input-required` for an interim round of a multi-round-trip (2026-07-28), else `result`."""
    return "input-required" if result.get("resultType") == "input_required" else "result"


def dump_evidence(evidence: Evidence, binding: Binding) -> str:
    """The text of the evidence resource: a CMW beside what it binds."""
    return canonical({"cmw": evidence.to_cmw(), "binding": binding.to_json()}).decode()


def load_evidence(text: str) -> tuple[Evidence, Binding]:
    """Read the evidence resource; raises `EvidenceError("malformed")`."""
    fields = Fields.parse(text, "the evidence resource", EvidenceError)
    evidence, binding = Evidence.from_cmw(fields.take("cmw")), Binding.from_json(fields.take("binding"))
    fields.done()
    return evidence, binding
