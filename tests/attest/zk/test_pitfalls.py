"""How others were deceived by proofs that verify: each pitfall is a test of its number (p08, p10, p12: a prover's)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from attest.canonical import canonical
from attest.denylist import DEFAULT, Denied, Denylist, Entry
from attest.errors import EvidenceError
from attest.facts import CallFacts
from attest.groth16.conventions import EVM, GNARK_NEGATED, SNARKJS, Points
from attest.groth16.field import P, R
from attest.groth16.key import MAX_INPUTS, VerifyingKey
from attest.groth16.pairing import Pairing, fastest, pure
from attest.groth16.points import G2
from attest.program import Journal, Program, ProofScheme
from attest.proof import MAX_BYTES, SINGLE_PARTY, Proof, ProofResult, check_proof
from attest.schemes import zk_risc0
from attest.schemes.zk_versions import RISC0_CONTROL_ROOTS, SP1, SP1_PLONK
from attest.signals import Constant, Given, committed, load_signals
from tests.attest.zk.minted import (
    CALL,
    JOURNAL,
    NOW,
    PLAIN,
    PLAIN_SIGNALS,
    SETUP,
    Setup,
    changed,
    journal,
    off_subgroup,
    plain_proof,
    program,
    proof,
    public,
    times_1,
    times_2,
    zkvm,
)

FAST = fastest()
POINTS = PLAIN.simulate([42]).to_evm()


class Credulous:
    """Believes each proof, so that what else is checked of a zkVM's can be seen without one."""

    name = "credulous"

    def holds(self, key: VerifyingKey, proof: Points, inputs: Sequence[int]) -> bool:  # noqa: ARG002
        return len(inputs) == key.inputs


def check(
    made: Proof,
    registered: Program,
    call: CallFacts | None = CALL,
    denylist: Denylist = DEFAULT,
    pairing: Pairing = FAST,
) -> ProofResult:
    return check_proof(made, registered, call, denylist=denylist, pairing=pairing, now=NOW)


def refused(code: str, *arguments: Any, **named: Any) -> str:
    with pytest.raises(EvidenceError) as e:
        check(*arguments, **named)
    assert e.value.code == code
    return e.value.detail


def zkvm_proof(scheme: ProofScheme, version: str, body: bytes = POINTS, said: bytes | None = None) -> Proof:
    if scheme == "risc0":
        selector = zk_risc0.selector(bytes.fromhex(RISC0_CONTROL_ROOTS[version]))
    else:
        release = next(release for release in SP1 if release.version == version)
        selector = bytes.fromhex(release.verifier_hash[:8])
        if release.vk_root and len(body) == len(POINTS):
            body = bytes(32) + bytes.fromhex(release.vk_root) + bytes(32) + body
    return Proof(scheme, selector + body, journal() if said is None else said)


def test_a_proof_of_a_call_is_accepted_and_says_what_it_is_worth() -> None:
    result = check(proof(), program())
    assert result.bound
    assert result.covers == ("/arguments/x", "/result/y", "call")
    assert result.denylist == DEFAULT.number == 1
    assert result.checked_at == NOW
    assert result.meaning == (
        "proven for this call (/arguments/x, /result/y, call); groth16-bn254 1, setup: single-party (development)"
    )


def test_both_pairings_agree() -> None:
    points, inputs = SETUP.simulate(public()), public()
    wrong = [*inputs[:-1], inputs[-1] + 1]
    for pairing in (pure(), FAST):
        assert pairing.holds(SETUP.key, points, inputs), pairing.name
        assert not pairing.holds(SETUP.key, points, wrong), pairing.name


def test_only_a_check_makes_a_result() -> None:
    result = check(proof(), program())
    with pytest.raises(TypeError):
        replace(result, token=None)


# --- p01: a key whose setup was not finished -----------------------------------------------------------------------


def forged(inputs: list[int], key: dict[str, Any]) -> dict[str, Any]:
    """A proof of anything, where gamma is delta: C = -L cancels the inputs. (L is public; its logarithm is quicker.)"""
    setup = Setup((11, 22, 33, 44, 55, 66))
    combined = setup.ic[0] + sum(value * point for value, point in zip(inputs, setup.ic[1:], strict=True))
    c = times_1(-combined)
    return {"pi_a": key["vk_alpha_1"], "pi_b": key["vk_beta_2"], "pi_c": [str(c.x), str(c.y), "1"]}


def degenerate(name: str) -> dict[str, Any]:
    """snarkjs' JSON of a key that must be refused."""
    told, other = SETUP.key.to_snarkjs(), PLAIN.key.to_snarkjs()
    one_2 = times_2(1)

    def opposite(point: list[Any]) -> list[Any]:
        y: Any = point[1]
        return [point[0], str(P - int(y)) if isinstance(y, str) else [str(P - int(part)) for part in y], point[2]]

    change: dict[str, Any] = {
        "gamma-is-delta": {"vk_delta_2": told["vk_gamma_2"]},
        "gamma-is-minus-delta": {"vk_delta_2": opposite(told["vk_gamma_2"])},
        "beta-is-delta": {"vk_beta_2": told["vk_delta_2"]},
        "beta-is-minus-delta": {"vk_beta_2": opposite(told["vk_delta_2"])},
        "beta-is-gamma": {"vk_beta_2": told["vk_gamma_2"]},
        "beta-is-minus-gamma": {"vk_beta_2": opposite(told["vk_gamma_2"])},
        "delta-is-the-generator": {"vk_delta_2": [list(map(str, one_2.x)), list(map(str, one_2.y)), ["1", "0"]]},
        "alpha-is-the-generator": {"vk_alpha_1": ["1", "2", "1"]},
        "two-inputs-share-a-point": {"IC": [*told["IC"][:4], told["IC"][3], other["IC"][0]]},
        "two-inputs-are-opposite": {"IC": [*told["IC"][:4], opposite(told["IC"][3]), other["IC"][0]]},
        "alpha-is-an-inputs": {"vk_alpha_1": told["IC"][0]},
        "alpha-is-minus-an-inputs": {"vk_alpha_1": opposite(told["IC"][0])},
    }[name]
    return told | change


@pytest.mark.parametrize(
    "name",
    [
        "gamma-is-delta",
        "gamma-is-minus-delta",
        "beta-is-delta",
        "beta-is-minus-delta",
        "beta-is-gamma",
        "beta-is-minus-gamma",
        "delta-is-the-generator",
        "alpha-is-the-generator",
        "two-inputs-share-a-point",
        "two-inputs-are-opposite",
        "alpha-is-an-inputs",
        "alpha-is-minus-an-inputs",
    ],
    ids=lambda name: f"p01-degenerate-vk-{name}",
)
def test_a_degenerate_key_cannot_be_registered(name: str) -> None:
    document = program().to_json() | {"verifyingKey": degenerate(name)}
    for read in (lambda: Program.from_json(document), lambda: VerifyingKey.from_snarkjs(degenerate(name))):
        with pytest.raises(EvidenceError, match="degenerate vk") as e:
            read()
        assert e.value.code == "policy"


def test_p01_degenerate_vk_the_forgery_holds_in_the_pairing_and_no_key_can_be_made_for_it() -> None:
    inputs = [1, 2, 3, 4, 5]
    key = degenerate("gamma-is-delta")
    points = Points.from_snarkjs(forged(inputs, key))
    held = object.__new__(VerifyingKey)  # as a verifier without the lint would have it
    sound = SETUP.key
    for name, value in {"alpha": sound.alpha, "beta": sound.beta, "gamma": sound.gamma, "ic": sound.ic}.items():
        object.__setattr__(held, name, value)
    object.__setattr__(held, "delta", sound.gamma)
    assert FAST.holds(held, points, inputs)
    with pytest.raises(EvidenceError, match="degenerate vk"):
        replace(sound, delta=sound.gamma)
    registered = program([Given(f"i{place}") for place in range(5)])
    refused("signature", Proof("groth16-bn254", points.to_evm(), inputs=tuple(inputs)), registered)


ZEROS_1: list[Any] = [["0", "1", "0"], ["0", "0"], ["0x0", 0, 1]]
ZEROS_2: list[Any] = [[["0", "0"], ["1", "0"], ["0", "0"]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    "place", ["vk_alpha_1", "vk_beta_2", "vk_gamma_2", "vk_delta_2", "IC"], ids=lambda n: f"p01-{n}"
)
def test_p01_infinity_in_a_key_makes_it_a_degenerate_one(place: str) -> None:
    told = SETUP.key.to_snarkjs()
    for infinity in ZEROS_2 if place.endswith("_2") else ZEROS_1:
        value = [*told["IC"][:3], infinity, *told["IC"][4:]] if place == "IC" else infinity
        with pytest.raises(EvidenceError, match=r"degenerate vk: a .*point is at infinity") as e:
            VerifyingKey.from_snarkjs(told | {place: value})
        assert e.value.code == "policy"


def test_p01_infinity_in_a_proof_is_no_point() -> None:
    for place, zeros in (("pi_a", ZEROS_1), ("pi_b", ZEROS_2), ("pi_c", ZEROS_1)):
        for infinity in zeros:
            told = {"pi_a": ["1", "2"], "pi_b": SETUP.key.to_snarkjs()["vk_beta_2"], "pi_c": ["1", "2"]}
            with pytest.raises(EvidenceError, match="at infinity") as e:
                Points.from_snarkjs(told | {place: infinity})
            assert e.value.code == "malformed"


# --- p02: two numbers, one field element ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [(42 + R, "canonical"), (R, "canonical"), (-1, "canonical"), (1001, "declared range")],
    ids=["p02-plus-r", "p02-r-itself", "p02-negative", "p02-out-of-range"],
)
def test_an_input_has_one_spelling(value: int, reason: str) -> None:
    made = plain_proof(value)
    assert reason in refused("malformed", made, program(PLAIN_SIGNALS, PLAIN), None)


@pytest.mark.parametrize(
    "result",
    [{"y": [-7 + R, 9]}, {"y": [-7, 101]}, {"y": [-7, True]}, {"y": [-7.0, 9]}, {"y": [-7, 9, 0]}, {}],
    ids=["p02-alias", "p02-range", "p02-bool", "p02-float", "p02-longer", "p02-absent"],
)
def test_p12_a_result_is_an_exact_integer_in_its_declared_range(result: dict[str, Any]) -> None:
    refused("binding", proof(), program(), changed(CALL, result=result))


def test_p02_a_negative_result_is_r_minus_it() -> None:
    assert public()[2:4] == [R - 7, 9]


# --- p03: many proofs of one statement -----------------------------------------------------------------------------


def test_p03_malleability_another_proof_of_the_same_is_the_same_statement() -> None:
    first, second = proof(), proof(a=5 * 13, b=7 * pow(13, -1, R))
    points = Points.from_evm(first.proof)
    third = SETUP.simulate(public(), a=-5 % R, b=-7 % R)
    assert third.c == points.c
    proofs = [first, second, replace(first, proof=third.to_evm())]
    assert len({made.proof for made in proofs}) == 3
    assert len({check(made, program()).statement for made in proofs}) == 1


def test_p03_malleability_a_free_nonce_changes_nothing() -> None:
    made = zkvm_proof("sp1", "v6.1.0")
    nonced = replace(made, proof=made.proof[:68] + (9).to_bytes(32, "big") + made.proof[100:])
    statements = {check(each, zkvm("sp1"), pairing=Credulous()).statement for each in (made, nonced)}
    assert len(statements) == 1


def test_p03_another_call_is_another_statement() -> None:
    other = changed(CALL, call_id=bytes(32))
    assert check(proof(), program()).statement != check(proof(other), program(), other).statement


# --- p04: the same proof for another call --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        changed(CALL, call_id=bytes(32)),
        changed(CALL, arguments={**CALL.arguments, "x": [1, -2, 4]}),
        changed(CALL, arguments={**CALL.arguments, "salt": "00" * 16}),
        changed(CALL, result={"y": [-7, 10]}),
        changed(CALL, result={"y": [9, -7]}),
    ],
    ids=["p04-replay-call", "p04-argument", "p04-salt", "p04-result", "p04-order"],
)
def test_a_proof_is_of_one_call_only(other: CallFacts) -> None:
    refused("signature", proof(), program(), other)


def test_p04_replay_without_a_call_nothing_that_needs_one_is_proven() -> None:
    refused("binding", proof(), program(), None)


@pytest.mark.parametrize("scheme", ["risc0", "sp1"], ids=lambda name: f"p04-replay-{name}")
def test_a_journal_names_its_call(scheme: ProofScheme) -> None:
    made = zkvm_proof(scheme, "3.0" if scheme == "risc0" else "v6.1.0")
    assert check(made, zkvm(scheme), pairing=Credulous()).bound
    for other in (
        changed(CALL, call_id=bytes(32)),
        changed(CALL, arguments={}),
        changed(CALL, result={"y": [-7, 9], "z": 0}),
    ):
        assert "journal" in refused("binding", made, zkvm(scheme), other, pairing=Credulous())
    refused("binding", replace(made, journal=made.journal[:90]), zkvm(scheme), pairing=Credulous())


@pytest.mark.parametrize("call", [CALL, None], ids=["p04-no-schema", "p04-no-call"])
def test_without_a_schema_or_a_call_the_verdict_says_not_bound(call: CallFacts | None) -> None:
    registered = zkvm("risc0", None if call else JOURNAL)
    result = check(zkvm_proof("risc0", "3.0"), registered, call, pairing=Credulous())
    assert not result.bound
    assert result.covers == ()
    assert "not bound to this call" in result.meaning


def test_p04_a_plain_circuit_is_not_bound_either() -> None:
    result = check(plain_proof(), program(PLAIN_SIGNALS, PLAIN))
    assert not result.bound
    assert "not bound to this call" in cast(str, result.to_json()["meaning"])


@pytest.mark.parametrize("offsets", [(0, 31, 64), (0, 0, 64), (0, 32, 65505)], ids=lambda at: f"p04-journal-{at}")
def test_a_journal_schema_that_overlaps_cannot_be_registered(offsets: tuple[int, int, int]) -> None:
    with pytest.raises(EvidenceError, match="overlap"):
        Journal(*offsets)


# --- p05: whose key it is ------------------------------------------------------------------------------------------


def test_p05_vk_from_the_bundle_is_not_even_read() -> None:
    with pytest.raises(EvidenceError, match="unknown members"):
        Proof.from_json(proof().to_json() | {"verifyingKey": SETUP.key.to_snarkjs()})


def test_p05_a_proof_under_a_strangers_key_is_refused() -> None:
    stranger = replace(SETUP, alpha=999, delta=998)
    refused("signature", Proof("groth16-bn254", stranger.simulate(public()).to_evm()), program())


def test_p05_a_program_with_another_key_than_its_digest_cannot_be_registered() -> None:
    told = program().to_json() | {"verifyingKey": replace(SETUP, alpha=999).key.to_snarkjs()}
    with pytest.raises(EvidenceError, match="digest is registered"):
        Program.from_json(told)


def test_p05_a_proof_of_another_scheme_is_refused() -> None:
    refused("unsupported", zkvm_proof("risc0", "3.0"), zkvm("sp1"), pairing=Credulous())
    refused("unsupported", zkvm_proof("sp1", "v5.0.0"), program(), pairing=Credulous())


@pytest.mark.parametrize("scheme", ["risc0", "sp1"], ids=lambda name: f"p05-unknown-selector-{name}")
def test_a_selector_of_no_release_is_refused(scheme: ProofScheme) -> None:
    made = Proof(scheme, bytes(4) + POINTS, b"")
    refused("unsupported", made, zkvm(scheme), pairing=Credulous())


SELECTORS = {"1.2": "c101b42b", "2.0": "9f39696c", "2.1": "f536085a", "2.2": "bb001d44", "3.0": "73c457ba"}
"""As RISC Zero publishes them (risc0-ethereum, contracts/deployment.toml and its history)."""


@pytest.mark.parametrize("version", SELECTORS, ids=lambda name: f"p05-selector-{name}")
def test_a_selector_follows_from_key_and_control_root(version: str) -> None:
    assert zk_risc0.selector(bytes.fromhex(RISC0_CONTROL_ROOTS[version])).hex() == SELECTORS[version]


@pytest.mark.parametrize("size", range(4), ids=lambda size: f"p05-{size}-bytes-of-a-selector")
def test_a_proof_without_a_selector_is_none_of_another_system_but_none(size: int) -> None:
    proofs: list[tuple[ProofScheme, str]] = [("risc0", "3.0"), ("sp1", "v6.1.0")]
    for scheme, version in proofs:
        made = zkvm_proof(scheme, version)
        refused("malformed", replace(made, proof=made.proof[:size]), zkvm(scheme), pairing=Credulous())


@pytest.mark.parametrize("selector", SP1_PLONK, ids=lambda name: f"p05-plonk-{name}")
def test_plonk_is_refused_by_name(selector: str) -> None:
    made = Proof("sp1", bytes.fromhex(selector) + bytes(864), b"")
    assert "PLONK" in refused("unsupported", made, zkvm("sp1"), pairing=Credulous())


def test_p05_other_recursion_keys_and_failed_runs_are_refused() -> None:
    made = zkvm_proof("sp1", "v6.1.0").proof
    for changed_proof, code in (
        (made[:35] + b"\x01" + made[36:], "malformed"),
        (made[:36] + bytes(32) + made[68:], "root"),
    ):
        refused(code, Proof("sp1", changed_proof, journal()), zkvm("sp1"), pairing=Credulous())


# --- p06: true, and withdrawn --------------------------------------------------------------------------------------

ACCEPTED = [("risc0", "2.2"), ("risc0", "3.0"), ("sp1", "v5.0.0"), ("sp1", "v6.1.0")]
WITHDRAWN = [
    *(("risc0", version, "revoked") for version in ("1.2", "2.0", "2.1")),
    ("risc0", "5.0-rc.1", "policy"),
    *(("sp1", version, "revoked") for version in ("v2.0.0", "v3.0.0", "v4.0.0-rc.3", "v6.0.0")),
]


@pytest.mark.parametrize(("scheme", "version"), ACCEPTED, ids=lambda name: f"p06-accepted-{name}")
def test_a_release_that_stands_is_accepted(scheme: ProofScheme, version: str) -> None:
    assert check(zkvm_proof(scheme, version), zkvm(scheme), pairing=Credulous()).version == version


@pytest.mark.parametrize(("scheme", "version", "code"), WITHDRAWN, ids=lambda name: f"p06-withdrawn-{name}")
def test_a_withdrawn_release_is_refused_though_its_proof_holds(scheme: ProofScheme, version: str, code: str) -> None:
    detail = refused(code, zkvm_proof(scheme, version), zkvm(scheme), pairing=Credulous())
    assert f"{scheme} {version}" in detail
    assert "denylist 1" in detail


def test_p06_each_release_is_accepted_or_withdrawn() -> None:
    known = {("risc0", version) for version in RISC0_CONTROL_ROOTS} | {("sp1", release.version) for release in SP1}
    assert known == set(ACCEPTED) | {(scheme, version) for scheme, version, _ in WITHDRAWN}


@pytest.mark.parametrize(
    "entry",
    [
        Entry("groth16-bn254", "stopped", "an emergency", "us"),
        Entry("groth16-bn254", "withdrawn", "its setup leaked", "us", "key", SETUP.key.digest),
        Entry("groth16-bn254", "withdrawn", "its circuit is wrong", "us", "program", SETUP.key.digest),
    ],
    ids=["p06-emergency-stop", "p06-key", "p06-program"],
)
def test_a_newer_list_refuses_a_scheme_a_key_or_a_program(entry: Entry) -> None:
    with pytest.raises(Denied) as e:
        check(proof(), program(), denylist=Denylist(2, (entry,)))
    assert (e.value.code, e.value.entry) == ("revoked", entry)


def test_p06_a_selector_can_be_withdrawn() -> None:
    made = zkvm_proof("risc0", "3.0")
    listed = Denylist(2, (Entry("risc0", "withdrawn", "a hole", "us", "selector", made.proof[:4].hex()),))
    refused("revoked", made, zkvm("risc0"), denylist=listed, pairing=Credulous())


# --- p07: who ran the setup ----------------------------------------------------------------------------------------


def test_p07_a_single_partys_setup_is_named_in_every_verdict() -> None:
    told = check(proof(), program()).to_json()
    assert told["setup"] == "single-party (development)"
    assert SINGLE_PARTY in told["saysNothingOf"]
    with pytest.raises(EvidenceError, match="setup"):
        Program.from_json(program().to_json() | {"setup": "trust me"})


# --- p09, p13: points ----------------------------------------------------------------------------------------------


def test_p09_a_point_outside_the_subgroup_never_reaches_a_library(capfd: pytest.CaptureFixture[str]) -> None:
    x, y = off_subgroup()
    words = (*x[::-1], *y[::-1])
    made = proof().proof
    body = made[:64] + b"".join(word.to_bytes(32, "big") for word in words) + made[192:]
    assert "prime order" in refused("malformed", Proof("groth16-bn254", body), program())
    assert "prime order" in refused("malformed", zkvm_proof("risc0", "3.0", body), zkvm("risc0"))
    point = [list(map(str, x)), list(map(str, y)), ["1", "0"]]
    with pytest.raises(EvidenceError, match="prime order"):
        VerifyingKey.from_snarkjs(SETUP.key.to_snarkjs() | {"vk_beta_2": point})
    assert "panick" not in capfd.readouterr().err


def test_p09_a_point_that_was_never_checked_ends_in_no_and_not_in_a_crash() -> None:
    if FAST.name != "arkworks":
        pytest.skip("zksnake is not installed: its panic cannot be provoked")
    points, unchecked = SETUP.simulate(public()), object.__new__(G2)
    for name, value in zip(("x", "y"), off_subgroup(), strict=True):
        object.__setattr__(unchecked, name, value)
    assert not FAST.holds(SETUP.key, replace(points, b=unchecked), public())


@pytest.mark.parametrize("word", range(8), ids=lambda at: f"p09-word-{at}")
def test_a_coordinate_is_canonical_and_its_point_on_the_curve(word: int) -> None:
    made = proof().proof
    value = int.from_bytes(made[32 * word : 32 * word + 32], "big")
    for changed_value in (value + P, value ^ 1, 0):
        body = made[: 32 * word] + changed_value.to_bytes(32, "big") + made[32 * word + 32 :]
        refused("malformed", Proof("groth16-bn254", body), program())


def test_p13_three_word_orders_write_one_point_and_none_reads_as_another() -> None:
    point = times_2(12345)
    (x0, x1), (y0, y1) = point.x, point.y
    assert EVM.g2([x1, x0, y1, y0]) == SNARKJS.g2([x0, x1, y0, y1]) == point
    assert GNARK_NEGATED.g2([x0, x1, y0, y1]) == G2(point.x, (P - y0, P - y1))
    for convention, words in ((EVM, [x0, x1, y0, y1]), (SNARKJS, [x1, x0, y1, y0])):
        with pytest.raises(EvidenceError):
            convention.g2(words)


def test_p13_snarkjs_and_evm_write_one_proof() -> None:
    points = Points.from_evm(proof().proof)
    told = {
        "pi_a": [str(points.a.x), str(points.a.y), "1"],
        "pi_b": [list(map(str, points.b.x)), list(map(str, points.b.y)), ["1", "0"]],
        "pi_c": [hex(points.c.x), points.c.y, 1],
    }
    assert Points.from_snarkjs(told) == points


# --- p11: commitments ----------------------------------------------------------------------------------------------


def test_p11_a_commitment_has_a_salt_of_128_bits_and_a_purpose() -> None:
    refused("malformed", proof(), program(), changed(CALL, arguments={**CALL.arguments, "salt": "00" * 15}))
    values = [1, -2, 3]
    assert len({committed(values, 15, salt, tag) for salt in (0, 1, 1 << 127) for tag in (0, 1, 2)}) == 9


# --- p14: sizes ----------------------------------------------------------------------------------------------------


def test_p14_more_than_32_inputs_are_refused_before_any_point_is_read() -> None:
    told = SETUP.key.to_snarkjs()
    with pytest.raises(EvidenceError, match="IC is no list"):
        VerifyingKey.from_snarkjs(told | {"IC": ["never read"] * (MAX_INPUTS + 2)})
    with pytest.raises(EvidenceError, match="at most 32"):
        Proof.from_json({"scheme": "groth16-bn254", "proof": "", "inputs": ["1"] * (MAX_INPUTS + 1)})
    for signals in ([{"constant": "1"}] * 33, [{"value": "/result/y", "count": 32, "range": [0, 1]}, {"call": True}]):
        with pytest.raises(EvidenceError, match="at most 32"):
            load_signals(signals)


@pytest.mark.parametrize("size", [0, 1, 255, 257], ids=lambda size: f"p14-{size}-bytes")
def test_a_proof_has_one_size(size: int) -> None:
    body = (proof().proof + b"\0")[:size]
    refused("malformed", Proof("groth16-bn254", body), program())
    refused("malformed", zkvm_proof("risc0", "3.0", body), zkvm("risc0"))
    for version in ("v5.0.0", "v6.1.0"):
        refused("malformed", zkvm_proof("sp1", version, body), zkvm("sp1"))


def test_p14_a_long_body_is_refused_unread() -> None:
    with pytest.raises(EvidenceError, match="longer than"):
        Proof.decode(b"[" * (MAX_BYTES + 1))
    with pytest.raises(EvidenceError):
        Proof.from_json(zkvm_proof("risc0", "3.0").to_json() | {"journal": "A" * (1 << 20)})
    assert "journal" in refused("malformed", zkvm_proof("risc0", "3.0", said=bytes(70_000)), zkvm("risc0"))


def test_the_documents_are_read_back_and_have_one_form() -> None:
    for made in (proof(), plain_proof(), zkvm_proof("risc0", "3.0"), zkvm_proof("sp1", "v6.1.0")):
        assert Proof.decode(made.encode()) == made
        with pytest.raises(EvidenceError, match="canonical"):
            Proof.decode(made.encode() + b"\n")
    for registered in (program(), program(PLAIN_SIGNALS, PLAIN), zkvm("risc0"), zkvm("sp1", None)):
        read = Program.decode(registered.encode())
        assert (read, read.digest) == (registered, registered.digest)
    assert program([Constant(1), *program().signals[1:]]).digest != program().digest
    with pytest.raises(EvidenceError, match="unknown members"):
        Program.decode(canonical(program().to_json() | {"more": 1}))
