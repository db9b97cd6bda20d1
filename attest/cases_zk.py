"""Judges one case of a manifest of proofs: a JSON document of a known kind, with no more beside it.

A case brings its own key or program identity, which counts as registered here: the verdict is what the proof is worth
to somebody who registered exactly that.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from attest.denylist import DEFAULT, Denied, Denylist
from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import PROOF_SIZE, Points, number, numbers
from attest.groth16.key import VerifyingKey
from attest.groth16.pairing import Pairing
from attest.keccak import keccak256
from attest.poseidon import poseidon
from attest.program import MAX_JOURNAL, Program, ProofScheme
from attest.proof import Proof, ProofResult, check_proof
from attest.signals import Call, Constant, Given, Signal, Value

Verdict = tuple[str, str, str]
_HEX = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2})*)")
_MAX_HEX = 4 * MAX_JOURNAL
_MAX_X = 256
_OUTPUT = 1 << 60
"""Beyond any output of a model in `receipt` cases."""
_SEMAPHORE = ("merkleTreeRoot", "nullifier", "message", "scope")


def judge(kind: str, document: Any, *, pairing: Pairing, denylist: Denylist = DEFAULT, now: int = 0) -> Verdict:
    """Verdict, code and reason of a case. Never raises for what the document holds.

    `VALID` (`VALID (dev setup)` for a `receipt`, whose key one party made); `INVALID`; `UNSUPPORTED`;
    `REJECTED_BY_POLICY(x)` for a proof that is true and refused, where x is the denylist's status or `degenerate vk`.
    """
    read = _KINDS.get(kind)
    if read is None:
        return "UNSUPPORTED", "unsupported", f"no kind {kind[:40]!a} of proofs"
    try:
        result = _checked(read(document), denylist, pairing, now)
    except Denied as e:
        return f"REJECTED_BY_POLICY({e.entry.status})", e.code, e.detail
    except EvidenceError as e:
        verdict = {"unsupported": "UNSUPPORTED", "policy": "REJECTED_BY_POLICY(degenerate vk)"}.get(e.code, "INVALID")
        return verdict, e.code, e.detail
    return "VALID (dev setup)" if kind == "receipt" else "VALID", "", result.meaning


def agrees(expected: str, verdict: str) -> bool:
    """Whether a manifest's `final` allows this verdict; `A if ..., else B` allows both."""
    return verdict in {expected, expected.rpartition("else ")[2]} or expected.partition(" if ")[0] == verdict


_Case = tuple[Proof, Program, CallFacts | None]


def _checked(case: _Case, denylist: Denylist, pairing: Pairing, now: int) -> ProofResult:
    proof, program, call = case
    return check_proof(proof, program, call, denylist=denylist, pairing=pairing, now=now)


def _risc0(document: Any) -> _Case:
    return _zkvm("risc0", document, "image_id", "seal", "journal")


def _sp1(document: Any) -> _Case:
    return _zkvm("sp1", document, "vkey", "proof", "publicValues")


def _zkvm(scheme: ProofScheme, document: Any, identity: str, proof: str, journal: str) -> _Case:
    members = _object(document)
    program = Program(scheme, _hex(members, identity).hex(), "ceremony")
    return Proof(scheme, _hex(members, proof), _hex(members, journal)), program, None


def _snarkjs(document: Any) -> _Case:
    members = _object(document)
    key = VerifyingKey.from_snarkjs(members.get("vk"))
    return _given(key, Points.from_snarkjs(members.get("proof")), numbers(members.get("public"), key.inputs))


def _semaphore(document: Any) -> _Case:
    """Version 4: the proof's own fields, of which the last two are hashed, and its points in EVM order."""
    members = _object(document)
    key, proof = VerifyingKey.from_snarkjs(members.get("vk")), _object(members.get("proof"))
    root, nullifier, message, scope = (number(proof.get(name)) for name in _SEMAPHORE)
    words = numbers(proof.get("points"), PROOF_SIZE // 32)
    return _given(key, Points.from_words(words), [root, nullifier, _hashed(message), _hashed(scope)])


def _given(key: VerifyingKey, points: Points, public: list[int]) -> _Case:
    signals = tuple(Given(f"input {place}") for place in range(key.inputs))
    program = Program("groth16-bn254", key.digest, "unstated", key, signals)
    return Proof(program.scheme, points.to_evm(), inputs=tuple(public)), program, None


def _receipt(document: Any) -> _Case:
    """A model's result: the commitment to the model counts as registered, all else is computed from the receipt."""
    members = _object(document)
    told, public = _object(members.get("receipt")), members.get("public")
    arguments, result = _object(told.get("args")), told.get("result")
    key = VerifyingKey.from_snarkjs(members.get("vk"))
    stated = numbers(public, key.inputs)
    signals: tuple[Signal, ...] = (
        Constant(stated[0] if stated else 0),
        _Sponge(),
        Value("/result/y", -_OUTPUT, _OUTPUT, count=max(key.inputs - 3, 1)),
        Call(),
    )
    program = Program("groth16-bn254", key.digest, "single-party (development)", key, signals)
    facts = CallFacts(_hex(told, "call"), arguments, result)
    if stated != [value for signal in signals for value in signal.values(facts, iter(()))]:
        raise EvidenceError("binding", "the public inputs in the file are not those of its receipt")
    return Proof(program.scheme, _hex(told, "proof")), program, facts


@dataclass(frozen=True, slots=True)
class _Sponge:
    """That circuit's own commitment to its inputs: 15 of 16 bits an element, 11 elements and the chain a hash."""

    size: int = 1
    covers: tuple[str, ...] = ("/arguments/x",)
    reads: tuple[str, ...] = ("/arguments/x", "/arguments/salt")

    def values(self, facts: CallFacts | None, given: Iterator[int]) -> list[int]:  # noqa: ARG002
        arguments = _object(facts and facts.arguments)
        x, salt = arguments.get("x"), number(arguments.get("salt"))
        told = cast(list[Any], x) if isinstance(x, list) else []
        if not 0 < len(told) <= _MAX_X or not all(type(value) is int and -0x8000 <= value < 0x8000 for value in told):
            raise EvidenceError("malformed", f"x is no list of 1 to {_MAX_X} integers of 16 bits")
        if salt >= 1 << 128:
            raise EvidenceError("malformed", "the salt is longer than 128 bits")
        codes = [value + 0x8000 for value in told]
        packed = [sum(code << 16 * place for place, code in enumerate(part)) for part in _blocks(codes, 15)]
        chained = salt * 0x10000 + len(packed)
        for block in _blocks(packed, 11):
            chained = poseidon([*block, *([0] * (11 - len(block))), chained])
        return [chained]

    def to_json(self) -> dict[str, Any]:
        return {"commitment": "/arguments/x", "salt": "/arguments/salt"}


def _blocks(values: Sequence[int], size: int) -> list[Sequence[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _hashed(value: int) -> int:
    if value >= 1 << 256:
        raise EvidenceError("malformed", "a Semaphore message or scope is longer than 32 bytes")
    return int.from_bytes(keccak256(value.to_bytes(32, "big")), "big") >> 8


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise EvidenceError("malformed", "the case, or a part of it, is no object")
    return cast(dict[str, Any], value)


def _hex(members: Mapping[str, Any], name: str) -> bytes:
    value = members.get(name)
    if not isinstance(value, str) or len(value) > _MAX_HEX or (match := _HEX.fullmatch(value)) is None:
        raise EvidenceError("malformed", f"the case needs bytes in hex as {name!r}")
    return bytes.fromhex(match[1])


_KINDS: Mapping[str, Callable[[Any], _Case]] = {
    "risc0": _risc0,
    "sp1": _sp1,
    "sp1-plonk": _sp1,
    "groth16-snarkjs": _snarkjs,
    "semaphore": _semaphore,
    "receipt": _receipt,
}
