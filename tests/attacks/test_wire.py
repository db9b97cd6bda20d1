"""A process between the gateway and the server changes one thing at a time, on a pipe or over HTTP, plain or sealed.

Each change is refused with its own code; nothing that was changed, planted or secret reaches the client, the gateway's
log or its files; and the call that nobody touches passes before and after.
"""

import pytest

from tests.attacks.stage import HONEST, Stage, code_of, token

# What the man in the middle does (`actors/attacks.py`), and the code with which it is refused.
PLAIN = {
    "result-byte": "result",
    "result-text": "result",
    "result-added": "result",
    "result-meta": "result",
    "result-state": "result",
    "result-salt": "result",
    "result-type": "result",
    "error-beside-receipt": "result",
    "params": "params",
    "added-param": "params",
    "header-paramsSalt": "params",
    "header-nonce": "nonce",
    "header-stream": "nonce",
    "header-clientNonce": "nonce",
    "header-previous": "round",
    "header-issuedAt": "stale",
    "header-keyId": "unknown-key",
    "header-unknown-member": "malformed",
    "tool": "target",
    "signature": "signature",
    "statement": "signature",
    "key-name": "key",
    "receipt-of-another": "key",
    "receipt-of-another-renamed": "signature",
    "forged": "key",
    "forged-renamed": "signature",
    "replayed": "replayed",
    "earlier-answer": "nonce",
    "forget": "unknown-key",
    "forget-after-executing": "replayed",
    "receipt-field": "malformed",
    "receipt-text": "malformed",
    "refused": "malformed",
    "not-an-object": "malformed",
    "stripped": "missing-receipt",
    "error-instead": "missing-receipt",
    "sent-without-header": "missing-receipt",
    "redirected": "root",
}
SEALED = {
    "sealed-byte": "seal",
    "sealed-text": "malformed",
    "sealed-request": "seal",
    "resealed": "seal",
    "header-nonce": "seal",
    "header-stream": "seal",
    "header-clientNonce": "seal",
    "header-previous": "seal",
    "header-issuedAt": "seal",
    "header-keyId": "unknown-key",
    "header-unknown-member": "malformed",
    "earlier-answer": "seal",
    "replayed": "replayed",
    "forget": "unknown-key",
    "forget-after-executing": "replayed",
    "refused": "malformed",
    "seal-stripped": "unsealed",
    "sent-in-clear": "unsealed",
    "sent-without-header": "unsealed",
    "error-instead": "unsealed",
    "not-an-object": "unsealed",
    "forged": "unsealed",
    "redirected": "root",
}
# While the gateway appraises anew; the same for both.
EVIDENCE = {
    "evidence-of-another": "root",
    "evidence-of-nobody": "root",
    "evidence-earlier": "nonce",
    "evidence-rebound": "binding",
    "evidence-media": "unsupported",
    "evidence-missing": "malformed",
}
CASES = [
    *((alias, mode, code) for alias in ("pp", "hp") for mode, code in (PLAIN | EVIDENCE).items()),
    *((alias, mode, code) for alias in ("ps", "hs") for mode, code in (SEALED | EVIDENCE).items()),
]
ALIASES = ["pp", "ps", "hp", "hs"]


@pytest.mark.parametrize(("alias", "mode", "code"), CASES)
def test_a_change_on_the_wire_is_refused_by_its_own_code_and_leaks_nothing(
    stage: Stage, alias: str, mode: str, code: str
) -> None:
    stage.control(alias)
    secret, plant = token(), token()
    stage.order(alias, mode, plant=plant)
    refused = stage.call(alias, "echo", secret)
    assert code_of(refused) == code
    assert stage.found([secret, plant], refused.raw) == []
    if alias in ("ps", "hs"):
        assert secret.encode() not in stage.middles[alias].seen.read_bytes()
    stage.control(alias)


@pytest.mark.parametrize("alias", ["pp", "hp"])
def test_the_man_in_the_middle_does_read_a_plain_call(stage: Stage, alias: str) -> None:
    secret = token()
    stage.order(alias, HONEST)
    stage.call(alias, "echo", secret)
    assert secret.encode() in stage.middles[alias].seen.read_bytes()


@pytest.mark.parametrize("alias", ALIASES)
def test_a_call_that_is_sent_twice_is_executed_once(stage: Stage, alias: str) -> None:
    for mode in ("replayed", "forget-after-executing"):
        before = executed(stage, alias)
        stage.order(alias, mode, plant=token())
        assert code_of(stage.call(alias, "echo", token())) == "replayed"
        assert executed(stage, alias) == before + 1


def executed(stage: Stage, alias: str) -> int:
    stage.order(alias, HONEST)
    return int(stage.call(alias, "count", "").result["content"][0]["text"])


@pytest.mark.parametrize("alias", ALIASES)
def test_a_call_of_somebody_else_in_our_stream_shows_as_a_skipped_number(stage: Stage, alias: str) -> None:
    stage.order(alias, "forget-once", plant=token())  # a fresh appraisal begins a stream without calls left open
    assert stage.call(alias, "echo", "").verification["verdict"] == "verified"
    secret, plant = token(), token()
    stage.order(alias, "extra-call", plant=plant)
    refused = stage.call(alias, "echo", secret)
    assert code_of(refused) == "sequence"
    assert stage.found([secret, plant], refused.raw) == []
    stage.control(alias)


@pytest.mark.parametrize("alias", ["ps", "hs"])
def test_the_name_outside_a_sealed_call_moves_nothing(stage: Stage, alias: str) -> None:
    secret, plant = token(), token()
    stage.order(alias, "outer-name", plant=plant)
    reply = stage.call(alias, "echo", secret)
    assert reply.verification["verdict"] == "verified"
    assert reply.result["content"][0]["text"] == secret
    assert plant.encode() not in reply.raw


@pytest.mark.parametrize("alias", ALIASES)
def test_a_verdict_that_the_upstream_claims_is_replaced_by_ours(stage: Stage, alias: str) -> None:
    plant = token()
    stage.order(alias, "spoofed", plant=plant)
    reply = stage.call(alias, "echo", "hello")
    assert (reply.verification["assurance"], reply.verification["server"]) == ("software", alias)
    assert plant.encode() not in reply.raw
    ours = {name for name in reply.result["_meta"] if name.startswith("com.etmcp/")}
    assert ours == {"com.etmcp/receipt", "com.etmcp/verification"}


@pytest.mark.parametrize("alias", ALIASES)
def test_ambiguous_json_is_refused_by_name_without_a_word_of_it(stage: Stage, alias: str) -> None:
    secret, plant = token(), token()
    stage.order(alias, "twice-keyed", plant=plant)
    refused = stage.call(alias, "echo", secret)
    assert refused.result["isError"] is True
    assert "duplicate-key" in refused.result["content"][0]["text"]
    assert stage.found([secret, plant], refused.raw) == []
    stage.control(alias)


@pytest.mark.parametrize("alias", ["pp", "hp"])
def test_before_the_receipt_is_checked_only_numbers_pass(stage: Stage, alias: str) -> None:
    secret, plant = token(), token()
    meta = {"progressToken": "mine", "io.modelcontextprotocol/logLevel": "debug"}
    for mode in (HONEST, "chatter"):
        stage.order(alias, mode, plant=plant)
        reply = stage.call(alias, "loud", secret, _meta=meta)
        assert reply.result["content"][0]["text"] == "done"
        assert {note["method"] for note in reply.notifications} == {"notifications/progress"}
        told = [note["params"] for note in reply.notifications]
        assert told[-2:] == [
            {"progressToken": "mine", "progress": 1.0, "total": 2.0},
            {"progressToken": "mine", "progress": 2.0, "total": 2.0},
        ]
        assert {member for params in told for member in params} <= {"progressToken", "progress", "total"}
        assert secret.encode() not in reply.raw
        assert stage.found([plant], reply.raw) == []


@pytest.mark.parametrize("alias", ["ps", "hs"])
def test_of_a_sealed_call_passes_what_was_sealed_and_none_of_the_chatter(stage: Stage, alias: str) -> None:
    secret, plant = token(), token()
    meta = {"progressToken": "mine", "io.modelcontextprotocol/logLevel": "debug"}
    for mode in (HONEST, "chatter"):
        stage.order(alias, mode, plant=plant)
        reply = stage.call(alias, "loud", secret, _meta=meta)
        told = [(note["method"], note["params"]) for note in reply.notifications]
        assert told == [
            ("notifications/progress", {"progressToken": "mine", "progress": 1, "total": 2, "message": secret}),
            ("notifications/progress", {"progressToken": "mine", "progress": 2, "total": 2}),
        ]
        assert stage.found([plant], reply.raw) == []


@pytest.mark.parametrize("alias", ALIASES)
def test_a_failure_of_the_tool_itself_is_signed_and_passes(stage: Stage, alias: str) -> None:
    stage.order(alias, HONEST)
    failed = stage.call(alias, "fail", token())
    assert "error" in failed.response or failed.verification["verdict"] == "verified"
    plant = token()
    stage.order(alias, "error-instead", plant=plant)
    refused = stage.call(alias, "fail", token())
    assert code_of(refused) == ("missing-receipt" if alias in ("pp", "hp") else "unsealed")
    assert stage.found([plant], refused.raw) == []
