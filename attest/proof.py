"""A zero-knowledge proof that a registered program ran, and the check of one against a call.

For `groth16-bn254` every public input but a `given` one is computed by the verifier from program and call
(`attest.signals`); for a zkVM the journal is in the proof, and `Program.journal` says where it names the call.

    {"scheme": "risc0" | "sp1", "proof": "<base64: seal or proof bytes, selector first>", "journal": "<base64>"}
    {"scheme": "groth16-bn254", "proof": "<base64: 256 bytes in EVM order>", "inputs": ["<decimal>", ...]}
"""

from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

from attest.canonical import canonical, parse
from attest.denylist import Denylist
from attest.encoding import Fields, b64encode
from attest.errors import CanonicalError, EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import number
from attest.groth16.key import MAX_INPUTS
from attest.groth16.pairing import Pairing, verify
from attest.program import MAX_JOURNAL, Program, ProofScheme, Setup
from attest.schemes import zk_groth16, zk_risc0, zk_sp1
from attest.schemes.zk_claim import Claim

MEDIA_TYPE = "application/vnd.etmcp.zk-proof+json"
MAX_PROOF = 4096
MAX_BYTES = 96 << 10
MAX_DEPTH = 4
NOT_SAID = ("that the inputs are true", "that the program is any good", "that nothing else was called")
SINGLE_PARTY = "anything against whoever ran the setup"
_CHECKED = object()  # only this module holds it, so only `check_proof` can make a ProofResult


@dataclass(frozen=True, slots=True)
class Proof:
    """Unchecked. `journal` is a zkVM's, `inputs` are the values of a Groth16 program's `given` public inputs."""

    scheme: ProofScheme
    proof: bytes
    journal: bytes = b""
    inputs: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The document above."""
        told: dict[str, Any] = {"scheme": self.scheme, "proof": b64encode(self.proof)}
        if self.scheme == "groth16-bn254":
            return told | {"inputs": [str(value) for value in self.inputs]}
        return told | {"journal": b64encode(self.journal)}

    @classmethod
    def from_json(cls, value: Any) -> "Proof":
        """Read the document; raises `EvidenceError`: `malformed`, `unsupported`."""
        fields = Fields(value, "the proof", EvidenceError)
        scheme, proof = fields.text("scheme", maximum=40), fields.base64("proof", maximum=MAX_PROOF)
        journal, inputs = b"", list[Any]()
        if scheme == "groth16-bn254":
            inputs = fields.list("inputs")
        elif scheme in ("risc0", "sp1"):
            journal = fields.base64("journal", maximum=MAX_JOURNAL)
        else:
            raise EvidenceError("unsupported", f"no scheme {scheme!a} of proofs")
        fields.done()
        if len(inputs) > MAX_INPUTS:
            raise EvidenceError("malformed", f"a proof has at most {MAX_INPUTS} public inputs")
        return cls(scheme, proof, journal, tuple(map(number, inputs)))

    @classmethod
    def decode(cls, data: bytes) -> "Proof":
        """Read `encode`'s form, these bytes only; raises `EvidenceError`: `malformed`, `unsupported`."""
        if len(data) > MAX_BYTES:
            raise EvidenceError("malformed", f"the proof is longer than {MAX_BYTES} bytes")
        try:
            proof = cls.from_json(parse(data, max_depth=MAX_DEPTH))
        except CanonicalError as e:
            raise EvidenceError("malformed", f"the proof: {e.detail}") from e
        if proof.encode() != data:
            raise EvidenceError("malformed", "the proof is not in its one canonical form")
        return proof


@dataclass(frozen=True, slots=True)
class ProofResult:
    """Holding one is the proof that `check_proof` accepted a proof of this program.

    `program` is the registered document's digest; `statement` names what was proven (never the proof's bytes);
    `bound` says whether it is about the call that was named, and `covers` what of it ("call", JSON pointers);
    `denylist` is the number of the list that let it pass. `checked_at` in milliseconds since 1970.
    """

    scheme: ProofScheme
    version: str
    program: str
    identity: str
    setup: Setup
    statement: str
    bound: bool
    covers: tuple[str, ...]
    denylist: int
    checked_at: int
    _: KW_ONLY
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        if token is not _CHECKED:
            raise TypeError("a ProofResult comes from check_proof only")

    @property
    def meaning(self) -> str:
        """One line for people."""
        proven = f"proven for this call ({', '.join(self.covers)})"
        if not self.bound:
            proven = "program output authentic, not bound to this call"
        return f"{proven}; {self.scheme} {self.version}, setup: {self.setup}"

    def to_json(self) -> dict[str, Any]:
        """For verdicts; `saysNothingOf` is what no such proof shows."""
        silent = [*NOT_SAID, *([SINGLE_PARTY] if self.setup != "ceremony" else [])]
        return {
            "scheme": self.scheme,
            "version": self.version,
            "program": self.program,
            "identity": self.identity,
            "setup": self.setup,
            "statement": self.statement,
            "bound": self.bound,
            "covers": list(self.covers),
            "meaning": self.meaning,
            "saysNothingOf": silent,
            "denylist": self.denylist,
            "checkedAt": self.checked_at,
        }


def check_proof(
    proof: Proof, program: Program, call: CallFacts | None, *, denylist: Denylist, pairing: Pairing, now: int
) -> ProofResult:
    """Return what a proof shows of a call, or raise `EvidenceError` (`Denied`, where the denylist refuses).

    `program` comes from the registry and never from beside the proof. Without `call` nothing is said of one. `now` in
    milliseconds since 1970.

    1. `unsupported`  the proof is of the program's scheme,
    2. `revoked`      which is not stopped;
    3. `unsupported`  its selector names a verifier of our table;
       `malformed`, `root`  its points, journal and constants are what that verifier takes;
       `binding`      the call gives the public inputs;
    4. `signature`    the pairing holds for exactly these public inputs under exactly that key;
    5. `revoked`      neither version, selector, key nor program is withdrawn (`policy`: is a prerelease);
    6. `binding`      the journal, where the program has a schema for it, names this call.
    """
    if proof.scheme != program.scheme:  # 1
        raise EvidenceError("unsupported", f"a {proof.scheme} proof of a program registered for {program.scheme}")
    denylist.check(program.scheme)  # 2
    claim = _read(proof, program, call)  # 3
    verify(pairing, claim.key, claim.points, claim.inputs)  # 4
    denylist.check(  # 5
        program.scheme,
        version=claim.version,
        selector=claim.selector,
        key=claim.key.digest,
        program=program.identity,
    )
    denylist.check(program.scheme, program=program.digest)
    if call is not None and program.journal is not None:  # 6
        program.journal.check(proof.journal, call)
    bound = call is not None and program.binds
    return ProofResult(
        program.scheme,
        claim.version,
        program.digest,
        program.identity,
        program.setup,
        claim.statement,
        bound,
        program.covers if bound else (),
        denylist.number,
        now,
        token=_CHECKED,
    )


def _read(proof: Proof, program: Program, call: CallFacts | None) -> Claim:
    if program.key is not None:
        return zk_groth16.read(proof.proof, proof.inputs, program.key, program.signals, call)
    if len(proof.journal) > MAX_JOURNAL:
        raise EvidenceError("malformed", f"the journal is longer than {MAX_JOURNAL} bytes")
    read = zk_risc0.read if program.scheme == "risc0" else zk_sp1.read
    return read(proof.proof, proof.journal, bytes.fromhex(program.identity))
