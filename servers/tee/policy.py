"""The execution policy of the engine: what a call may use. Its digest is in every receipt and in the evidence."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from attest.canonical import canonical
from attest.encoding import sha256_hex
from servers.tee.sandbox import Limits


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """The least tier and the bounds of all. No network, no host files, no host calls."""

    tier: Literal["wasm", "process"] = "process"
    """The weakest tier that programs may run in."""
    limits: Limits = field(default_factory=Limits)

    def document(self) -> dict[str, Any]:
        """The policy as JSON."""
        return {
            "version": 1,
            "tier": self.tier,
            "network": "none",
            "files": "those passed with the call",
            "determinism": "seed and clock from the receipt",
            "limits": asdict(self.limits),
        }

    def digest(self) -> str:
        """SHA-256 of the document, hex."""
        return sha256_hex(canonical(self.document()))
