"""What a publisher registers about a program whose results are proven; a `Program` that exists passed its lint.

{"format": "https://etmcp.com/zk-program/v1", "scheme": "risc0" | "sp1", "identity": "<image id or vkey, hex>",
 "setup": "ceremony", "journal": {"call": 0, "arguments": 32, "result": 64} | null}
{"format": "https://etmcp.com/zk-program/v1", "scheme": "groth16-bn254", "identity": "<digest of the key, hex>",
 "setup": "single-party (development)", "verifyingKey": {...snarkjs...}, "publicInputs": [...attest.signals...]}
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, cast, get_args

from attest.canonical import canonical, parse
from attest.encoding import Fields, sha256_hex
from attest.errors import CanonicalError, EvidenceError
from attest.facts import CallFacts
from attest.groth16.field import R
from attest.groth16.key import VerifyingKey
from attest.signals import Signal, load_signals

FORMAT = "https://etmcp.com/zk-program/v1"
MAX_BYTES = 32 << 10
MAX_PROGRAMS = 16
"""Of one server: linting a key takes as long as checking a proof."""
MAX_JOURNAL = 64 << 10
MAX_DEPTH = 8
_DIGEST = 32

ProofScheme = Literal["risc0", "sp1", "groth16-bn254"]
Setup = Literal["ceremony", "single-party (development)", "unstated"]


@dataclass(frozen=True, slots=True)
class Journal:
    """Where a zkVM program's journal names its call: offsets of 32 bytes each (`CallFacts.binding`, `.digest`).

    Raises `EvidenceError("malformed")` where they overlap or lie beyond 64 KiB.
    """

    call: int
    arguments: int
    result: int

    def __post_init__(self) -> None:
        offsets = sorted((self.call, self.arguments, self.result))
        if any(second - first < _DIGEST for first, second in pairwise([-_DIGEST, *offsets, MAX_JOURNAL])):
            raise EvidenceError("malformed", "the journal's fields overlap or lie outside of it")

    def check(self, journal: bytes, facts: CallFacts) -> None:
        """Raise `EvidenceError("binding")` unless it names this call, its arguments and its result."""
        for name, offset, expected in (
            ("call", self.call, facts.binding()),
            ("arguments", self.arguments, facts.digest("arguments")),
            ("result", self.result, facts.digest("result")),
        ):
            if journal[offset : offset + _DIGEST] != expected:
                raise EvidenceError("binding", f"the journal does not name this call's {name}")


@dataclass(frozen=True)
class Program:
    """`identity` is an image id (risc0), a vkey (sp1) or the digest of `key` (groth16-bn254), hex.

    Raises `EvidenceError`: `malformed`, `unsupported`. `key` was linted when it was made (`VerifyingKey`).
    """

    scheme: ProofScheme
    identity: str
    setup: Setup
    key: VerifyingKey | None = None
    signals: tuple[Signal, ...] = ()
    journal: Journal | None = None

    def __post_init__(self) -> None:
        Fields({"identity": self.identity}, "the program", EvidenceError).digest("identity")
        if self.scheme not in get_args(ProofScheme):
            raise EvidenceError("unsupported", f"no scheme {str(self.scheme)[:40]!a} of proofs")
        if self.setup not in get_args(Setup):
            raise EvidenceError("malformed", f"the program's setup is none of {', '.join(get_args(Setup))}")
        if (self.scheme == "groth16-bn254") != (self.key is not None) or (self.key and self.journal):
            raise EvidenceError("malformed", f"a program of {self.scheme} has another form")
        if self.scheme == "sp1" and int(self.identity, 16) >= R:
            raise EvidenceError("malformed", "the vkey is not canonical (>= r)")
        if self.key is not None and self.key.digest != self.identity:
            raise EvidenceError("malformed", "the verifying key is not the one whose digest is registered")
        if sum(signal.size for signal in self.signals) != (self.key.inputs if self.key else 0):
            raise EvidenceError("malformed", "the program does not say what each public input of its key is")

    @property
    def covers(self) -> tuple[str, ...]:
        """What of a call its proofs bind: "call", and JSON pointers into its arguments and result."""
        if self.journal is not None:
            return ("call", "/arguments", "/result")
        return tuple(dict.fromkeys(covered for signal in self.signals for covered in signal.covers))

    @property
    def binds(self) -> bool:
        """Whether a proof can be tied to one call, its arguments and its result."""
        return "call" in self.covers and all(
            any(covered.startswith(part) for covered in self.covers) for part in ("/arguments", "/result")
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `encode`, hex: names the program with its constants, not only its key."""
        return sha256_hex(self.encode())

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The document above."""
        told: dict[str, Any] = {
            "format": FORMAT,
            "scheme": self.scheme,
            "identity": self.identity,
            "setup": self.setup,
        }
        if self.key is not None:
            inputs = [signal.to_json() for signal in self.signals]
            return told | {"verifyingKey": self.key.to_snarkjs(), "publicInputs": inputs}
        journal = self.journal
        offsets = journal and {"call": journal.call, "arguments": journal.arguments, "result": journal.result}
        return told | {"journal": offsets}

    @classmethod
    def from_json(cls, value: Any) -> "Program":
        """Read the document. Raises `EvidenceError`: `malformed`, `unsupported`, `policy` (a degenerate key)."""
        fields = Fields(value, "the program", EvidenceError)
        fields.constant("format", FORMAT)
        scheme, setup = cast(ProofScheme, fields.text("scheme", maximum=40)), cast(Setup, fields.text("setup"))
        identity = fields.digest("identity")
        key, signals, journal = None, (), None
        if scheme == "groth16-bn254":
            key = VerifyingKey.from_snarkjs(fields.take("verifyingKey"))
            signals = load_signals(fields.list("publicInputs"))
        elif (offsets := fields.take("journal")) is not None:
            inner = Fields(offsets, "the journal", EvidenceError)
            journal = Journal(inner.integer("call"), inner.integer("arguments"), inner.integer("result"))
            inner.done()
        fields.done()
        return cls(scheme, identity, setup, key, signals, journal)

    @classmethod
    def decode(cls, data: bytes) -> "Program":
        """Read `encode`'s form, or any other spelling of it. Raises as `from_json`."""
        if len(data) > MAX_BYTES:
            raise EvidenceError("malformed", f"the program is longer than {MAX_BYTES} bytes")
        try:
            return cls.from_json(parse(data, max_depth=MAX_DEPTH))
        except CanonicalError as e:
            raise EvidenceError("malformed", f"the program: {e.detail}") from e
