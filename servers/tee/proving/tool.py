"""The tool `score`: what clients see of it, and one call of it."""

import re
import secrets
from typing import Any

from mcp_types import CallToolResult, TextContent, Tool, ToolAnnotations

from attest import wire
from attest.canonical import canonical
from servers.attested import call_nonce, report
from servers.flat import one_line
from servers.tee.library.schema import Schema
from servers.tee.proving import ProvingError
from servers.tee.proving.prover import Prover
from servers.tee.proving.score import INPUT_BITS, INPUTS, OUTPUTS, SALT_BITS

NAME, VERSION = "score", "1.0.0"
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
