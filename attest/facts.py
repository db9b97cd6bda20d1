"""What a verifier knows of one call by itself, for holding a proof against it."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, cast

from attest.canonical import canonical
from attest.encoding import Fields
from attest.errors import CanonicalError, EvidenceError

_TAG = b"etmcp-call\0"
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class CallFacts:
    """One call of a tool: `call_id` is the receipt's nonce; `arguments` and `result` (structured) are JSON values."""

    call_id: bytes
    arguments: Any
    result: Any

    @classmethod
    def of(cls, nonce: str, params: bytes, result: bytes) -> "CallFacts":
        """From a receipt's nonce (hex) and the preimages of its two digests.

        Raises `EvidenceError("malformed")` unless they are of a tool's call with a structured result.
        """
        asked = Fields.parse(params, "the params", EvidenceError)
        answered = Fields.parse(result, "the result", EvidenceError)
        call_id = Fields({"nonce": nonce}, "the receipt", EvidenceError).hex("nonce", 32)
        arguments = asked.optional("arguments")
        if arguments is not None and not isinstance(arguments, dict):
            raise EvidenceError("malformed", "the params: arguments are no object")
        return cls(call_id, cast(Any, arguments or {}), answered.take("structuredContent"))

    def binding(self) -> bytes:
        """SHA-256("etmcp-call" 0x00 call_id): the 32 bytes by which a program's journal names the call."""
        return hashlib.sha256(_TAG + self.call_id).digest()

    def field_element(self) -> int:
        """`binding` without its last 8 bits: the same as a public input."""
        return int.from_bytes(self.binding(), "big") >> 8

    def digest(self, part: str) -> bytes:
        """SHA-256 over the canonical JSON of `arguments` or `result`. Raises `EvidenceError("malformed")`."""
        try:
            return hashlib.sha256(canonical(self.arguments if part == "arguments" else self.result)).digest()
        except CanonicalError as e:
            raise EvidenceError("malformed", f"the {part}: {e.detail}") from e

    def at(self, path: str) -> Any:
        """The value at a JSON pointer (RFC 6901) into `{"arguments": ..., "result": ...}`.

        Raises `EvidenceError("binding")` where there is none.
        """
        value: Any = {"arguments": self.arguments, "result": self.result}
        for step in path.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - in this order, by the RFC
            if isinstance(value, dict) and step in value:
                value = cast(dict[str, Any], value)[step]
            elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(cast(list[Any], value)):
                value = cast(list[Any], value)[int(step)]
            else:
                raise EvidenceError("binding", f"the call has no {path[:80]!a}, which the program proves")
        return value
