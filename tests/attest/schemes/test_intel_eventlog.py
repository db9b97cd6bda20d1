"""TDX quotes with their event log: what it replays to, what becomes a measurement, and what is tried on it."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.claims import Claims
from attest.errors import AttestError, EvidenceError
from attest.evidence import Evidence
from attest.policy import AllOf, Measurement, MinAssurance, Policy
from attest.schemes.intel_eventlog import MAX_BODY, MEDIA_TYPE, TdxEventLogScheme
from attest.verifier import Verifier
from tests.attest.made import BINDING
from tests.attest.schemes.groups import grouped
from tests.attest.schemes.quotes import ENCLAVES, INTEL, NOW, opened, trusting
from tests.pki.intel import octets
from tests.pki.intel_log import BOOT, LOG, RUNTIME, boot_event, evidence_body, registers, runtime_event

Log = Sequence[dict[str, Any]]
SCHEME = TdxEventLogScheme()
QUOTE = INTEL.quote(rtmrs=registers(LOG), report_data=BINDING.report_data())
COMPOSE, INSTANCE = 7, 8
"""Places in the log."""
ONLY_BOOT = [entry for entry in LOG if entry["imr"] != 3]


def claims(log: Log, quote: bytes = QUOTE) -> Claims:
    return SCHEME.open(Evidence(MEDIA_TYPE, evidence_body(quote, log)), trusting(), NOW)


def code(body: bytes) -> str:
    try:
        SCHEME.open(Evidence(MEDIA_TYPE, body), trusting(), NOW)
    except EvidenceError as e:
        return e.code
    return ""


def measured(log: Log) -> str:
    """The code for a log whose quote was made for it: only what the log says can be refused."""
    return code(evidence_body(INTEL.quote(rtmrs=registers(log)), log))


def test_a_log_that_replays_adds_its_events_to_the_quotes_claims() -> None:
    found, plain = claims(LOG), opened(QUOTE)
    events = {name: value for name, value in found.measurement.items() if name.startswith("event:")}
    assert {name: found.measurement[name] for name in plain.measurement} == plain.measurement
    assert events == {f"event:{entry['event']}": entry["event_payload"] for entry in LOG if entry["imr"] == 3}
    assert found.report_data == plain.report_data
    assert (found.scheme, found.anchor, found.tcb) == (plain.scheme, plain.anchor, plain.tcb)


def test_events_stand_for_register_3_but_those_that_say_nothing_of_what_runs() -> None:
    events = {"event:app-id", "event:compose-hash", "event:key-provider"}
    assert claims(LOG).launch == {"mrtd", "rtmr1", "rtmr2"} | events


def test_a_runtime_event_may_leave_its_digest_to_be_computed() -> None:
    assert claims([entry | {"digest": ""} if entry["imr"] == 3 else entry for entry in LOG]) == claims(LOG)


@pytest.mark.parametrize("log", [ONLY_BOOT, [*ONLY_BOOT, LOG[INSTANCE]]], ids=["none", "instance-id"])
def test_a_log_that_names_no_program_leaves_register_3_to_be_covered(log: Log) -> None:
    found = claims(log, INTEL.quote(rtmrs=registers(log)))
    assert found.launch == {"mrtd", "rtmr1", "rtmr2", "rtmr3"}


@grouped(
    ("g24-right", LOG, ""),
    ("g24-added", [*LOG, runtime_event("more", b"1")], "measurement"),
    ("g24-added-before", [boot_event(1, b"other kernel"), *LOG], "measurement"),
    ("g24-dropped", LOG[:COMPOSE] + LOG[COMPOSE + 1 :], "measurement"),
    ("g24-dropped-last", LOG[:-1], "measurement"),
    ("g24-dropped-boot-event", LOG[1:], "measurement"),
    ("g24-reordered", (*LOG[:COMPOSE], LOG[COMPOSE + 1], LOG[COMPOSE], *LOG[COMPOSE + 2 :]), "measurement"),
    ("g24-reordered-boot-events", (LOG[1], LOG[0], *LOG[2:]), "measurement"),
    ("g24-empty", (), "measurement"),
    ("g24-twice", (*LOG, LOG[-1]), "measurement"),
    ("g24-interleaved-otherwise", (*LOG[5:], *LOG[:5]), ""),
)
def test_g24_a_log_of_other_registers_is_refused(tried: Log, expected: str) -> None:
    assert code(evidence_body(QUOTE, tried)) == expected


@grouped(
    ("g24-renamed", {"event": "app-hash"}, "measurement"),
    ("g24-other-payload", {"event_payload": octets("other", 32).hex()}, "measurement"),
    ("g24-payload-without-its-end", {"event_payload": LOG[COMPOSE]["event_payload"][:-2]}, "measurement"),
    ("g24-other-payload-without-digest", {"event_payload": octets("other", 32).hex(), "digest": ""}, "measurement"),
    ("g24-renamed-without-digest", {"event": "app-hash", "digest": ""}, "measurement"),
    ("g24-of-another-type-without-digest", {"event_type": BOOT, "digest": ""}, "malformed"),
    ("g24-of-another-register-without-digest", {"imr": 2, "digest": ""}, "malformed"),
    ("g24-digest-in-capitals", {"digest": LOG[COMPOSE]["digest"].upper()}, "malformed"),
    ("g24-other-digest", {"digest": octets("other", 48).hex()}, "measurement"),
    ("g24-name-and-payload-of-another", {"event": "app-id", "event_payload": LOG[6]["event_payload"]}, "measurement"),
    ("g24-passed-off-as-a-digest", {"event_type": BOOT, "event": "x", "event_payload": ""}, "measurement"),
    ("g24-other-register", {"imr": 2}, "measurement"),
    ("g24-no-register", {"imr": 4}, "malformed"),
)
def test_g24_a_changed_event_is_refused_with_the_right_quote(tried: dict[str, Any], expected: str) -> None:
    log = [*LOG[:COMPOSE], LOG[COMPOSE] | tried, *LOG[COMPOSE + 1 :]]
    assert code(evidence_body(QUOTE, log)) == expected


@grouped(
    ("g24-one-name-twice", [*LOG, runtime_event("compose-hash", b"other")], "measurement"),
    ("g24-one-event-twice", [*LOG, LOG[COMPOSE]], "measurement"),
    ("g24-digest-only", [*LOG, runtime_event("more", b"1", event_type=BOOT)], "measurement"),
    ("g24-runtime-event-elsewhere", [*LOG, runtime_event("more", b"1", imr=1)], "measurement"),
    ("g24-digest-of-another-payload", [*LOG, runtime_event("more", b"1", event_payload="02")], "measurement"),
    ("g24-name-with-a-colon", [*LOG, runtime_event("compose:hash", b"1")], "malformed"),
    ("g24-name-of-nothing", [*LOG, runtime_event("", b"1")], "malformed"),
    ("g24-name-in-other-letters", [*LOG, runtime_event("compose-h\u0430sh", b"1")], "malformed"),
    ("g24-payload-in-capitals", [*LOG, runtime_event("more", b"\xab", event_payload="AB")], "malformed"),
    ("g24-payload-of-half-a-byte", [*LOG, runtime_event("more", b"\1", event_payload="1")], "malformed"),
)
def test_g24_what_has_two_readings_is_refused_although_it_replays(tried: Log, expected: str) -> None:
    assert measured(tried) == expected


def _changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(evidence_body(QUOTE, LOG))
    change(value)
    return json.dumps(value).encode()


@grouped(
    ("g07-empty", b"", "malformed"),
    ("g07-no-object", b"[]", "malformed"),
    ("g07-no-json", b"{", "malformed"),
    ("g07-deep", b'{"quote":' + b"[" * 5000, "malformed"),
    ("g07-long", evidence_body(QUOTE, LOG).ljust(MAX_BODY + 1), "malformed"),
    ("g07-megabyte", b"{" * (1 << 20), "malformed"),
    ("g07-member-twice", evidence_body(QUOTE, LOG)[:-1] + b',"eventLog":[]}', "malformed"),
    ("g07-another-member", _changed(lambda it: it.update(more=1)), "malformed"),
    ("g07-no-log", _changed(lambda it: it.pop("eventLog")), "malformed"),
    ("g07-log-is-text", _changed(lambda it: it.update(eventLog="[]")), "malformed"),
    ("g07-too-many-events", _changed(lambda it: it.update(eventLog=[0] * 1025)), "malformed"),
    ("g07-event-is-a-number", _changed(lambda it: it["eventLog"].append(1)), "malformed"),
    ("g07-event-lacks-its-digest", _changed(lambda it: it["eventLog"][0].pop("digest")), "malformed"),
    ("g07-event-with-more", _changed(lambda it: it["eventLog"][0].update(more=1)), "malformed"),
    ("g07-register-is-text", _changed(lambda it: it["eventLog"][0].update(imr="0")), "malformed"),
    ("g07-register-is-negative", _changed(lambda it: it["eventLog"][0].update(imr=-1)), "malformed"),
    ("g07-type-of-33-bits", _changed(lambda it: it["eventLog"][0].update(event_type=1 << 32)), "malformed"),
    ("g07-boot-event-without-digest", _changed(lambda it: it["eventLog"][0].update(digest="")), "malformed"),
    ("g07-digest-is-a-number", _changed(lambda it: it["eventLog"][-1].update(digest=0)), "malformed"),
    ("g07-digest-of-sha-256", _changed(lambda it: it["eventLog"][0].update(digest="00" * 32)), "malformed"),
    ("g09-quote-in-hex", _changed(lambda it: it.update(quote=QUOTE[:600].hex())), "unsupported"),
    (
        "g09-quote-in-base64url",
        _changed(lambda it: it.update(quote=urlsafe_b64encode(b"\xff" * 60).decode())),
        "malformed",
    ),
    (
        "g04-something-behind-the-quote",
        _changed(lambda it: it.update(quote=b64encode(QUOTE + b"1").decode())),
        "malformed",
    ),
    (
        "g08-quote-of-an-enclave",
        _changed(lambda it: it.update(quote=b64encode(ENCLAVES.enclave_quote()).decode())),
        "unsupported",
    ),
    ("g08-quote-alone", QUOTE, "malformed"),
)
def test_the_form_is_one_and_strict(tried: bytes, expected: str) -> None:
    assert code(tried) == expected
    with suppress(EvidenceError):
        SCHEME.wants(Evidence(MEDIA_TYPE, tried))


def test_it_wants_what_its_quote_wants() -> None:
    assert SCHEME.wants(Evidence(MEDIA_TYPE, evidence_body(QUOTE, LOG))) == (INTEL.document_name,)


def holding(**values: str) -> Policy:
    fixed = {"mrtd": octets("mrtd", 48).hex()} | {
        f"rtmr{i}": value.hex() for i, value in registers(LOG).items() if i in (1, 2)
    }
    events = {f"event:{LOG[place]['event']}": LOG[place]["event_payload"] for place in (6, 7, 10)}
    wanted = fixed | events | values
    return AllOf([MinAssurance("hardware"), *(Measurement(name, frozenset({value})) for name, value in wanted.items())])


@grouped(
    ("g24-single-events-held", holding(), ""),
    ("g24-other-program", holding(**{"event:compose-hash": octets("other", 32).hex()}), "measurement"),
    ("g24-event-that-is-not-there", holding(**{"event:mr-kms": "00"}), "measurement"),
)
def test_g24_a_policy_holds_single_events(tried: Policy, expected: str) -> None:
    verifier = Verifier(schemes=[SCHEME], endorsements=trusting(), policy=tried)
    evidence = Evidence(MEDIA_TYPE, evidence_body(QUOTE, LOG))
    try:
        result = verifier.appraise(evidence, BINDING, nonce=BINDING.nonce, now=NOW, maximum_age_ms=60_000)
        refused = "" if result.assurance == "hardware" else result.assurance
    except AttestError as e:
        refused = e.code
    assert refused == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "imr": st.integers(-1, 5) | st.none(),
                "event_type": st.sampled_from([BOOT, RUNTIME, 1 << 32, -1]),
                "digest": st.sampled_from(["00" * 48, "0" * 95, "zz" * 48, ""]) | st.none(),
                "event": st.text(max_size=5),
                "event_payload": st.text(max_size=5) | st.just("00"),
            }
        ),
        max_size=4,
    )
)
def test_whatever_the_log_nothing_but_an_evidence_error_comes_out(log: Log) -> None:
    assert code(evidence_body(QUOTE, log)) in {"malformed", "measurement"}
