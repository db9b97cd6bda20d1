"""The tool `score`: what clients see of it, and one call of it."""

import re
import secrets
from typing import Any

from mcp_types import CallToolResult, TextContent, Tool, ToolAnnotations

from attest import wire
from attest.canonical import canonical
from attest.facts import CallFacts
from attest.proof import Proof
from servers.attested import call_nonce, report
from servers.flat import one_line
from servers.tee.library.library import RESERVED
from servers.tee.library.schema import Schema
from servers.tee.proving import ProvingError
from servers.tee.proving.prover import Prover
from servers.tee.proving.score import INPUT_BITS, INPUTS, OUTPUTS, SALT_BITS

NAME, VERSION, TITLE = RESERVED, "1.0.0", "Score with a private model, proven"
_HALF = 1 << INPUT_BITS - 1
_SALT = re.compile(rf"[0-9a-f]{{{SALT_BITS // 4}}}")
DESCRIPTION = f"""Score {INPUTS} features with this server's private model ({INPUTS} inputs, 16 hidden units, \
{OUTPUTS} outputs, integers). Each result carries a zero-knowledge proof that the registered model gave it for these \
inputs in this call; the weights stay secret. It does not say that the inputs are true or the model is good."""
INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["x"],
    "properties": {
        "x": {
            "type": "array",
            "description": "The features",
            "minItems": INPUTS,
            "maxItems": INPUTS,
            "items": {"type": "integer", "minimum": -_HALF, "maximum": _HALF - 1},
        },
        "salt": {
            "type": "string",
            "description": "32 hex digits that hide the inputs in their public commitment; random without",
            "minLength": SALT_BITS // 4,
            "maxLength": SALT_BITS // 4,
        },
    },
}
OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": ["y", "salt"],
    "properties": {
        "y": {"type": "array", "description": "The outputs", "items": {"type": "integer"}},
        "salt": {"type": "string", "description": "Of the commitment to the inputs"},
    },
}
SCHEMA = Schema(INPUT, NAME, arguments=True)


class Score:
    """The tool over one prover."""

    def __init__(self, prover: Prover) -> None:
        self._prover, self._program = prover, prover.keys.program

    def definition(self) -> Tool:
        """The tool as it is listed; the program is a part of it, and so of its pin."""
        return Tool(
            name=NAME,
            title=TITLE,
            description=DESCRIPTION,
            input_schema=SCHEMA.document,
            output_schema=OUTPUT,
            annotations=ToolAnnotations(
                read_only_hint=True, destructive_hint=False, idempotent_hint=False, open_world_hint=False
            ),
            _meta={wire.PROGRAM: self._program.to_json()},
        )

    async def call(self, arguments: dict[str, Any]) -> CallToolResult:
        """The outputs with their proof beside them; whatever goes wrong is a tool error, without a result."""
        if (problem := SCHEMA.problem(arguments)) is not None:
            return _failed(problem)
        salt: str = arguments.get("salt") or secrets.token_hex(SALT_BITS // 8)
        if not _SALT.fullmatch(salt):
            return _failed("salt: it must be 32 hex digits in lower case")
        if (nonce := call_nonce()) is None:
            return _failed("a proof is bound to one call with a receipt; call it through a gateway that asks for them")
        call = CallFacts(bytes.fromhex(nonce), arguments, None).field_element()
        try:
            proven = await self._prover.prove([int(x) for x in arguments["x"]], int(salt, 16), call)
        except ProvingError as e:
            return _failed(str(e))
        function = {"name": NAME, "version": VERSION}
        program = {"program": self._program.digest, "setup": self._program.setup}
        environment = {"tier": "proof", "function": function, **program}
        report(environment=environment, usage={"status": "ok"})
        proof = Proof("groth16-bn254", proven.proof)
        told = {"y": list(proven.y), "salt": salt}
        text = TextContent(type="text", text=canonical(told).decode())
        return CallToolResult(
            content=[text], structured_content=told, is_error=False, _meta={wire.PROOF: proof.to_json()}
        )


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=one_line(f"{NAME}: {message}"))], is_error=True)
