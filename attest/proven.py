"""A proof beside the result of a tool's call: what has to be there, and what it is held against.

A tool names the program that its results are proven under in its own definition, which is pinned and whose digest is in
each receipt. So neither who runs the tool nor who carries the result can put another program in its place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from functools import lru_cache
from typing import Any, cast

from attest import wire
from attest.canonical import canonical, parse
from attest.denylist import DEFAULT, Denylist
from attest.encoding import Fields, b64encode, same, sha256_hex
from attest.errors import AttestError, CanonicalError, EvidenceError
from attest.facts import CallFacts
from attest.groth16.pairing import Pairing
from attest.program import Program
from attest.proof import Proof, ProofResult, check_proof

MAX_DEFINITION = 1 << 20
_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
_CHECKED = object()  # only this module holds it, so only `check_attached` can make a Proven


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which proofs a relying party believes: none that the denylist names, and where `programs` are given (digests of
    registered documents, hex) those alone."""

    denylist: Denylist = DEFAULT
    programs: frozenset[str] | None = None


ANY = Accepted()


@dataclass(frozen=True, slots=True)
class Attached:
    """Unchecked: a proof, and the definition (canonical JSON) of the tool that it is said to be of."""

    definition: bytes
    proof: Proof

    def to_json(self) -> dict[str, Any]:
        """The member `proof` of a bundle."""
        return {"definition": b64encode(self.definition), "proof": self.proof.to_json()}

    @classmethod
    def from_json(cls, value: Any, error: type[AttestError] = EvidenceError) -> "Attached":
        """Read `to_json`'s form; raises `error("malformed")`, or `EvidenceError` for the proof in it."""
        fields = Fields(value, "the proof", error)
        attached = cls(fields.base64("definition", maximum=MAX_DEFINITION), Proof.from_json(fields.take("proof")))
        fields.done()
        return attached


@dataclass(frozen=True, slots=True)
class Proven:
    """Holding one is the proof that `check_attached` accepted a proof for one call."""

    attached: Attached
    result: ProofResult
    _: KW_ONLY
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        if token is not _CHECKED:
            raise TypeError("a Proven comes from check_attached only")

    def summary(self) -> dict[str, Any]:
        """What a gateway's verdict says of it."""
        told = self.result.to_json()
        names = ("scheme", "version", "program", "setup", "bound", "covers", "saysNothingOf", "denylist")
        return {name: told[name] for name in names}


def declared(definition: Mapping[str, Any]) -> bool:
    """Whether a tool names a program."""
    return wire.meta_of(dict(definition), wire.PROGRAM) is not None


def declaration(definition: Mapping[str, Any]) -> bytes | None:
    """The canonical definition of a tool that names a program; None of another. Raises `CanonicalError`."""
    return canonical(dict(definition)) if declared(definition) else None


def program_of(definition: Mapping[str, Any]) -> Program | None:
    """The program that a tool names, linted; None where it names none. Raises `EvidenceError`."""
    try:
        text = declaration(definition)
    except CanonicalError as e:
        raise EvidenceError("malformed", f"the definition: {e.detail}") from e
    return None if text is None else _program(text)


@lru_cache(maxsize=64)
def _program(definition: bytes) -> Program:
    """Cached, since linting a key takes as long as checking a proof."""
    try:
        told: Any = parse(definition)
    except CanonicalError as e:
        raise EvidenceError("malformed", f"the definition: {e.detail}") from e
    named = wire.meta_of(cast(dict[str, Any], told), wire.PROGRAM) if isinstance(told, dict) else None
    if named is None:
        raise EvidenceError("malformed", "the definition names no program")
    return Program.from_json(named)


def needs_proof(result: Mapping[str, Any], *, asks: bool) -> bool:
    """Whether a result of a tool that names a program must be proven: all but questions, where the server `asks` in
    results (2026-07-28), and errors; each with no member beside those that make it one."""
    if asks and wire.outcome_of(dict(result)) == "input-required":
        return not _has_only(result, "resultType", "inputRequests", "requestState")
    return result.get("isError") is not True or not _is_final(result, "content", "isError")


def check_unproven(result: bytes, outcome: str) -> None:
    """Raise `EvidenceError("policy")` unless an answer without a proof needs none: a bare question, a bare error, or a
    JSON-RPC error. It has to be what the receipt's `outcome` says, which alone is its signer's word."""
    try:
        told = parse(result)
    except CanonicalError as e:
        raise EvidenceError("malformed", f"the result: {e.detail}") from e
    match told:
        case {"code": int(), "message": str(), **more} if outcome == "error" and more.keys() <= {"data"}:
            return
        case dict() if outcome != "error":
            answer = cast(dict[str, Any], told)
            if wire.outcome_of(answer) == outcome and not needs_proof(answer, asks=True):
                return
        case _:
            pass
    raise EvidenceError("policy", "the policy names programs, and the result comes without a proof")


def _is_final(result: Mapping[str, Any], *members: str) -> bool:
    return result.get("resultType", "complete") == "complete" and _has_only(result, "resultType", *members)


def _has_only(result: Mapping[str, Any], *members: str) -> bool:
    """Whether a client that reads everything reads nothing else: no task, no member of another version, no `_meta` but
    ours and who the server is."""
    meta = result.get("_meta", {})
    named = cast(dict[str, Any], meta) if isinstance(meta, dict) else {"": meta}
    known = all(name == _SERVER_INFO or name.startswith(wire.PREFIX) for name in named)
    return known and result.keys() <= {*members, "_meta"}


def check_attached(
    attached: Attached,
    *,
    tool: str | None,
    definition: str | None,
    nonce: str,
    params: bytes,
    result: bytes,
    pairing: Pairing,
    now: int,
    accepted: Accepted = ANY,
) -> Proven:
    """Hold a proof against the call of a receipt: its `tool` (None where it is of no tool's call), `definition`,
    `nonce`, and the preimages of its two digests.

    Raises `EvidenceError`: `binding` where the definition is not the receipt's or of another tool, or the result says
    what the proof does not; `policy` where the program is not accepted; else as `Program` and `check_proof`. Whether
    the program's proofs are bound to a call at all, `Proven.result` says. `now` in milliseconds since 1970.
    """
    if definition is None or not same(sha256_hex(attached.definition), definition):
        raise EvidenceError("binding", "the proof comes with another definition than the one in the receipt")
    program = _program(attached.definition)
    called = (_name(attached.definition, "the definition"), _name(params, "the params"))
    if tool is None or called != (tool, tool):
        raise EvidenceError("binding", "the receipt is of another tool than the definition that the proof comes with")
    if accepted.programs is not None and program.digest not in accepted.programs:
        raise EvidenceError("policy", f"program {program.digest[:16]} is not one that the policy accepts")
    if accepted.programs is not None and not program.binds:  # any of its proofs would do, beside whatever is said
        raise EvidenceError("policy", "the policy wants results proven, and this program's proofs are bound to no call")
    facts = CallFacts.of(nonce, params, result)
    if program.binds:
        _says_no_more(program, parse(result), facts.result)
    checked = check_proof(attached.proof, program, facts, denylist=accepted.denylist, pairing=pairing, now=now)
    return Proven(attached, checked, token=_CHECKED)


def _name(data: bytes, what: str) -> Any:
    return Fields.parse(data, what, EvidenceError).optional("name")


def _says_no_more(program: Program, result: Mapping[str, Any], structured: Any) -> None:
    """A model reads the text of a result and every member of its value: neither may hold what nobody proved."""
    if not _is_final(result, "content", "structuredContent", "isError") or result.get("isError", False) is not False:
        raise EvidenceError("binding", "the result has members beside its value, or is none")
    match result.get("content"):
        case []:
            pass
        case [{"type": "text", "text": str(text), **more}] if not more and _same(text, structured):
            pass
        case _:
            raise EvidenceError(
                "binding", "the result's content is not its structured content, which is what is proven"
            )
    if program.journal is None:  # a journal covers all of it
        read = frozenset(path for signal in program.signals for path in signal.reads)
        if (unproven := next(_beyond(structured, "/result", read), None)) is not None:
            raise EvidenceError("binding", f"the result has {unproven[:80]!a}, which is not proven")


def _beyond(value: Any, path: str, read: frozenset[str]) -> Iterator[str]:
    """The places in a value that no public input is computed from."""
    if path in read:
        return
    match value:
        case dict() if value:
            for name, member in cast(dict[str, Any], value).items():
                yield from _beyond(member, f"{path}/{name.replace('~', '~0').replace('/', '~1')}", read)
        case list() if value:
            for place, member in enumerate(cast(list[Any], value)):
                yield from _beyond(member, f"{path}/{place}", read)
        case _:
            yield path


def _same(text: str, structured: Any) -> bool:
    """Whether a text says this value. Numbers have one spelling here: of `9.000001` nobody proved the digits."""
    try:
        return text.encode() == canonical(structured) or _equal(parse(text), structured)
    except CanonicalError:
        return False


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or isinstance(one, float):
        return False
    if isinstance(one, dict):
        told, known = cast(dict[str, Any], one), cast(dict[str, Any], other)
        return told.keys() == known.keys() and all(_equal(told[name], known[name]) for name in told)
    if isinstance(one, list):
        first, second = cast(list[Any], one), cast(list[Any], other)
        return len(first) == len(second) and all(map(_equal, first, second))
    return one == other
