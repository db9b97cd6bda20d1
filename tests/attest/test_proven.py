"""What a proof beside a result has to be, and what a tool says of it in its definition."""

from dataclasses import replace
from typing import Any

import pytest

from attest import wire
from attest.canonical import canonical, parse
from attest.encoding import salted, sha256_hex
from attest.errors import EvidenceError, ManifestError, ReceiptError
from attest.facts import CallFacts
from attest.groth16.pairing import fastest
from attest.manifest import Manifest, Pin
from attest.program import Program
from attest.proof import Proof
from attest.proven import (
    ANY,
    Accepted,
    Attached,
    Proven,
    check_attached,
    check_unproven,
    declared,
    needs_proof,
    program_of,
)
from attest.signals import Call, Commitment, Constant, Value
from attest.statement import Outcome
from attest.verdict import Verdict
from tests.attest.made import MANIFEST, PARAMS_SALT, RESULT_SALT, STATEMENT, bundle, failure, verify
from tests.attest.made import refusal as refused_as
from tests.attest.zk import minted

Json = dict[str, Any]
NONCE = "5a" * 32
_INFO = "io.modelcontextprotocol/serverInfo"
ARGUMENTS: Json = {"x": [1, -2, 3]}
VALUE: Json = {"y": [-7, 9], "salt": "00112233445566778899aabbccddeeff"}
SIGNALS = (
    Constant(1234),
    Commitment("/arguments/x", 3, 15, "/result/salt", 2),
    Value("/result/y", -100, 100, count=2),
    Call(),
)
PARAMS = canonical({"name": "score", "arguments": ARGUMENTS})


def tool(program: Program | None = None) -> Json:
    named = (program or minted.program(SIGNALS)).to_json()
    return {"name": "score", "inputSchema": {"type": "object"}, "_meta": {wire.PROGRAM: named, "vendor": 1}}


def result(value: Json = VALUE, **members: Any) -> bytes:
    text = canonical(value).decode()
    return canonical({"content": [{"type": "text", "text": text}], "structuredContent": value} | members)


def proof(value: Json = VALUE, nonce: str = NONCE) -> Proof:
    facts = CallFacts(bytes.fromhex(nonce), ARGUMENTS, value)
    return Proof("groth16-bn254", minted.SETUP.simulate(minted.public(facts, SIGNALS)).to_evm())


def check(attached: Attached | None = None, said: bytes = result(), accepted: Accepted = ANY, **changes: Any) -> Proven:
    definition = canonical(tool())
    call: Json = {
        "tool": "score",
        "definition": sha256_hex(definition),
        "nonce": NONCE,
        "params": PARAMS,
        "result": said,
    } | changes
    return check_attached(
        attached or Attached(definition, proof()), **call, pairing=fastest(), now=1, accepted=accepted
    )


def code(*arguments: Any, **named: Any) -> str:
    with pytest.raises(EvidenceError) as refused:
        check(*arguments, **named)
    return refused.value.code


def test_a_proof_of_this_call_is_accepted_and_says_what_of_it_is_proven() -> None:
    told = check().summary()
    assert told["bound"] is True
    assert told["covers"] == ["/arguments/x", "/result/y", "call"]
    assert told["setup"] == "single-party (development)"
    assert told["program"] == minted.program(SIGNALS).digest


def test_what_means_proven_cannot_be_made_without_the_check() -> None:
    done = check()
    with pytest.raises(TypeError):
        Proven(done.attached, done.result, token=object())


def test_each_part_of_another_call_is_refused() -> None:
    assert code(nonce="5b" * 32) == "signature"
    assert code(params=canonical({"name": "score", "arguments": {"x": [1, -2, 4]}})) == "signature"
    assert code(params=canonical({"name": "score"})) == "binding"
    for other in (list[Any](), 0, False, ""):
        assert code(params=canonical({"name": "score", "arguments": other})) == "malformed"
    assert code(said=result(VALUE | {"y": [-7, 10]})) == "signature"
    assert code(said=result(VALUE | {"y": [-7, 9 + minted.R]})) == "binding"
    assert code(said=result(VALUE | {"salt": "00" * 16})) == "signature"
    assert code(said=canonical({"content": []})) == "malformed"


def test_the_program_is_that_of_the_definition_in_the_receipt() -> None:
    other = canonical(tool(minted.program((Constant(1235), *SIGNALS[1:]))))
    assert code(definition=None) == "binding"
    assert code(definition=sha256_hex(other)) == "binding"
    assert code(Attached(other, proof())) == "binding"
    assert code(Attached(other, proof()), definition=sha256_hex(other)) == "signature"
    bare = canonical({"name": "score"})
    assert code(Attached(bare, proof()), definition=sha256_hex(bare)) == "malformed"


def test_a_proof_of_one_tool_is_none_of_another() -> None:
    """Both may be registered: one for a toy, one for what a bank decides by."""
    assert code(tool="credit") == "binding"
    assert code(tool=None) == "binding"
    assert code(params=canonical({"name": "credit", "arguments": ARGUMENTS})) == "binding"
    assert code(tool="credit", params=canonical({"name": "credit", "arguments": ARGUMENTS})) == "binding"
    assert code(params=canonical({"arguments": ARGUMENTS})) == "binding"


def bundled(
    said: bytes = result(), params: bytes = PARAMS, attached: Attached | None = None, **changes: Any
) -> Verdict:
    """The verdict on a bundle whose executor signs what it likes, under a policy that names the program."""
    digests: Json = {
        "params_digest": salted(PARAMS_SALT, params),
        "result_digest": salted(RESULT_SALT, said),
        "definition": sha256_hex(canonical(tool())),
        "target": "score",
    }
    signed = bundle(replace(STATEMENT, **digests | changes), result=said, params=params, proof=attached)
    return verify(signed.encode(), proofs=Accepted(programs=frozenset({minted.program(SIGNALS).digest})))


def test_a_bundle_is_held_to_a_policys_programs_whatever_its_executor_calls_the_result() -> None:
    attached = Attached(canonical(tool()), proof(nonce=STATEMENT.nonce))
    proven = bundled(attached=attached)
    assert (proven.outcome, proven.proof is not None) == ("verified", True)
    for outcome in ("result", "error", "input-required"):
        assert failure(bundled(outcome=outcome)) == ("proof", "policy")
    other = canonical({"name": "credit", "arguments": ARGUMENTS})
    others: list[Json] = [{"target": "credit"}, {"target": "credit", "params": other}, {"method": "prompts/get"}]
    for changes in others:
        assert failure(bundled(attached=attached, **changes)) == ("proof", "binding")


def test_a_policys_programs_are_named_with_their_constants() -> None:
    program = minted.program(SIGNALS)
    assert check(accepted=Accepted(programs=frozenset({program.digest}))).result.program == program.digest
    assert code(accepted=Accepted(programs=frozenset({program.identity}))) == "policy"
    assert code(accepted=Accepted(programs=frozenset())) == "policy"


def test_a_program_that_is_bound_to_no_call_proves_no_result_to_a_policy() -> None:
    """Without such a policy its proof is shown for what it is, an old one beside any result."""
    loose = minted.program(minted.PLAIN_SIGNALS, minted.PLAIN)
    definition, said = canonical(tool(loose)), result({"y": "Grant it."})
    attached, digest = Attached(definition, minted.plain_proof()), sha256_hex(definition)
    assert check(attached, said, definition=digest).summary()["bound"] is False
    assert code(attached, said, Accepted(programs=frozenset({loose.digest})), definition=digest) == "policy"


@pytest.mark.parametrize(
    "said",
    [
        result(VALUE | {"advice": "Grant it."}),
        result(VALUE | {"advice": {}}),
        result(VALUE | {"advice": []}),
        result(content=[{"type": "text", "text": "It is excellent."}]),
        result(content=[{"type": "text", "text": f'{{"salt":"{VALUE["salt"]}","y":[-7,9.0]}}'}]),
        result(content=[{"type": "text", "text": f'{{"salt":"{VALUE["salt"]}","y":[-7,9.{"0" * 20}1]}}'}]),
    ],
)
def test_nothing_that_is_not_proven_may_stand_beside_what_is(said: bytes) -> None:
    assert code(said=said) == "binding"


def test_the_same_value_may_be_spelt_otherwise_or_not_repeated() -> None:
    spaced = '{ "y": [-7, 9], "salt": "00112233445566778899aabbccddeeff" }'
    assert check(said=result(content=[{"type": "text", "text": spaced}]))
    assert check(said=result(content=[]))
    assert check(said=result(isError=False, resultType="complete", _meta={_INFO: {"name": "s"}}))


EMPTY: Json = {}
_QUESTION: Json = {"resultType": "input_required", "inputRequests": EMPTY, "requestState": "s"}
_ERROR: Json = {"content": list[Any](), "isError": True}


@pytest.mark.parametrize(
    ("answer", "asks", "needed"),
    [
        ({"content": list[Any]()}, True, True),
        (_ERROR | {"structuredContent": EMPTY, "isError": False}, True, True),
        (_ERROR | {"isError": False}, True, True),
        (_ERROR | {"isError": 1}, True, True),
        (_ERROR, True, False),
        (_ERROR, False, False),
        (_ERROR | {"resultType": "complete", "_meta": {_INFO: {"name": "s"}, "com.etmcp/receipt": EMPTY}}, True, False),
        (_ERROR | {"structuredContent": EMPTY}, True, True),
        (_ERROR | {"resultType": "task", "taskId": "t1", "task": EMPTY}, True, True),
        (_ERROR | {"resultType": "input_required"}, False, True),
        (_ERROR | {"toolResult": {"y": [1]}}, True, True),
        (_ERROR | {"_meta": {"vendor/say": "y is 1"}}, True, True),
        (_QUESTION, True, False),
        (_QUESTION, False, True),
        (_QUESTION | {"content": [{"type": "text", "text": "y is 1"}]}, True, True),
        (_QUESTION | {"structuredContent": {"y": [1]}}, True, True),
        (_QUESTION | {"task": EMPTY}, True, True),
    ],
)
def test_a_result_needs_a_proof_unless_it_is_a_bare_question_or_a_bare_error(
    answer: Json, asks: bool, needed: bool
) -> None:
    assert needs_proof(answer, asks=asks) is needed


_FAILED: Json = {"code": -32603, "message": "no"}


@pytest.mark.parametrize(
    ("said", "outcome", "refusal"),
    [
        (canonical({"content": list[Any]()}), "result", "policy"),
        (result(), "result", "policy"),
        (canonical(_QUESTION | {"content": list[Any]()}), "result", "policy"),
        (canonical(_QUESTION), "result", "policy"),
        (b"[]", "result", "policy"),
        (b"{", "result", "malformed"),
        # What a receipt says of an answer is its signer's word, and no way around a proof.
        (result(), "error", "policy"),
        (canonical(_ERROR), "error", "policy"),
        (canonical(_FAILED | {"structuredContent": VALUE}), "error", "policy"),
        (canonical(_FAILED | {"code": "1"}), "error", "policy"),
        (b"[]", "error", "policy"),
        (result(), "input-required", "policy"),
        (result(resultType="input_required"), "input-required", "policy"),
        (canonical(_ERROR), "input-required", "policy"),
        (canonical(_FAILED), "result", "policy"),
        (canonical(_ERROR), "result", ""),
        (canonical(_QUESTION), "input-required", ""),
        (canonical(_FAILED), "error", ""),
        (canonical(_FAILED | {"data": VALUE}), "error", ""),
    ],
)
def test_under_a_policy_that_names_programs_only_an_error_or_question_comes_without_a_proof(
    said: bytes, outcome: Outcome, refusal: str
) -> None:
    assert refused_as(check_unproven, said, outcome) == refusal
    said_of_it = replace(STATEMENT, outcome=outcome, result_digest=salted(RESULT_SALT, said))
    proofs = Accepted(programs=frozenset({"ab" * 32}))
    verdict = verify(bundle(said_of_it, result=said).encode(), proofs=proofs)
    assert failure(verdict) == (("proof", refusal) if refusal else ("", ""))


def test_a_tool_without_a_program_needs_none() -> None:
    assert not declared({"name": "add"})
    assert not declared({"name": "add", "_meta": {"vendor": 1}})
    assert program_of({"name": "add"}) is None
    assert program_of(tool()) == minted.program(SIGNALS)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (minted.degenerate(minted.program(SIGNALS).to_json()), "policy"),
        ({}, "malformed"),
        ([], "malformed"),
        ("score", "malformed"),
        (0, "malformed"),
    ],
)
def test_a_program_that_proves_nothing_is_refused_where_it_is_named(named: Any, expected: str) -> None:
    with pytest.raises(EvidenceError) as refused:
        program_of(tool() | {"_meta": {wire.PROGRAM: named}})
    assert refused.value.code == expected
    manifest = parse(registered().encode())
    manifest["predicate"]["programs"]["add"] = named
    with pytest.raises(ManifestError) as barred:
        Manifest.decode(canonical(manifest))
    assert barred.value.code == "program"


def registered() -> Manifest:
    return replace(MANIFEST, programs={"add": minted.program(SIGNALS)})


def test_a_manifest_names_programs_of_its_own_tools_alone() -> None:
    assert Manifest.decode(registered().encode()) == registered()
    stray = replace(MANIFEST, tools={"other": Pin("00" * 32, "00" * 32)}, programs={"add": minted.program(SIGNALS)})
    with pytest.raises(ManifestError, match="has not"):
        Manifest.decode(stray.encode())


def test_what_a_bundle_carries_reads_back_and_nothing_else_does() -> None:
    attached = Attached(canonical(tool()), proof())
    assert Attached.from_json(attached.to_json()) == attached
    others: list[Any] = [{}, [], None, attached.to_json() | {"more": 1}, attached.to_json() | {"definition": "e30"}]
    for value in others:
        with pytest.raises(ReceiptError, match="malformed"):
            Attached.from_json(value, ReceiptError)
