"""Pitfalls of proofs, by number: keys that prove nothing, points, numbers and sizes."""

from dataclasses import replace
from typing import Any

import pytest

from attest.canonical import canonical
from attest.errors import EvidenceError
from attest.groth16.conventions import EVM, GNARK_NEGATED, SNARKJS, Points
from attest.groth16.field import P, R
from attest.groth16.key import MAX_INPUTS, VerifyingKey
from attest.groth16.points import G2
from attest.program import Program
from attest.proof import MAX_BYTES, Proof
from attest.signals import Constant, Given, committed, load_signals
from tests.attest.zk.held import FAST, refused, zkvm_proof
from tests.attest.zk.minted import (
    CALL,
    PLAIN,
    PLAIN_SIGNALS,
    SETUP,
    Setup,
    changed,
    off_subgroup,
    plain_proof,
    program,
    proof,
    public,
    times_1,
    times_2,
    zkvm,
)

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
