"""The circuit of `score` says what the model computes, and nothing else satisfies it."""

import random
from collections.abc import Callable

import pytest

from attest.poseidon import R
from attest.poseidon import poseidon as hashed
from attest.signals import committed
from servers.tee.proving.gadgets import packed, poseidon, relu, signed
from servers.tee.proving.r1cs import Circuit, Given, Line, Unsatisfied, constant, dot
from servers.tee.proving.score import (
    DIGEST,
    INPUT_BITS,
    INPUT_TAG,
    INPUTS,
    LARGEST,
    OUTPUTS,
    WEIGHT_BITS,
    WEIGHTS,
    Model,
    circuit,
    given,
)

CALL = 2**247 + 5
LEAST, MOST = -(1 << INPUT_BITS - 1), (1 << INPUT_BITS - 1) - 1
LIGHT, HEAVY = -(1 << WEIGHT_BITS - 1), (1 << WEIGHT_BITS - 1) - 1
chosen = random.Random(5)


def some(count: int, least: int, most: int) -> list[int]:
    return [chosen.randint(least, most) for _ in range(count)]


def model(*weights: int) -> Model:
    return Model(weights or tuple(some(WEIGHTS, LIGHT, HEAVY)), chosen.getrandbits(128))


@pytest.fixture(scope="module")
def score() -> Circuit:
    return circuit()


def signed_value(value: int) -> int:
    return value if value < R // 2 else value - R


def test_it_is_the_circuit_that_keys_are_named_after(score: Circuit) -> None:
    assert score.digest() == DIGEST
    assert len(score.rows) <= 8192


@pytest.mark.parametrize(
    ("weights", "x"),
    [
        (some(WEIGHTS, LIGHT, HEAVY), some(INPUTS, LEAST, MOST)),
        ([HEAVY] * WEIGHTS, [MOST] * INPUTS),
        ([LIGHT] * WEIGHTS, [LEAST] * INPUTS),
        ([LIGHT] * WEIGHTS, [MOST] * INPUTS),
        ([HEAVY] * WEIGHTS, [LEAST] * INPUTS),
        ([0] * WEIGHTS, [0] * INPUTS),
    ],
    ids=["random", "all-most", "all-least", "least-by-most", "most-by-least", "zeros"],
)
def test_its_outputs_are_the_models_and_its_commitments_open(score: Circuit, weights: list[int], x: list[int]) -> None:
    chosen_model, salt = model(*weights), chosen.getrandbits(128)
    values = score.witness(given(chosen_model, x, salt, CALL))
    score.evaluate(values)
    y = chosen_model.score(x)
    assert all(abs(value) <= LARGEST < 2**53 for value in y)  # exact in any JSON reader
    commitments = [chosen_model.commitment(), committed(x, INPUT_BITS, salt, INPUT_TAG)]
    assert values[1:3] == commitments
    assert [signed_value(value) for value in values[3 : 3 + OUTPUTS]] == y
    assert values[3 + OUTPUTS] == CALL


@pytest.mark.parametrize("x", [LEAST - 1, MOST + 1, R, R + 1, -R], ids=["below", "above", "r", "alias", "minus-r"])
def test_an_input_out_of_range_has_no_witness(score: Circuit, x: int) -> None:
    with pytest.raises(Unsatisfied, match="fit"):
        score.witness(given(model(), [x] + [0] * 15, 1, CALL))


def test_a_weight_out_of_range_has_no_witness(score: Circuit) -> None:
    with pytest.raises(Unsatisfied, match="fit"):
        score.witness(given(model(*[HEAVY + 1] * WEIGHTS), [0] * 16, 1, CALL))


@pytest.mark.parametrize("change", [1, -1])
def test_too_few_or_too_many_numbers_are_refused(score: Circuit, change: int) -> None:
    numbers = given(model(), [0] * 16, 1, CALL)
    with pytest.raises(Unsatisfied, match="numbers"):
        score.witness([*numbers, 0] if change > 0 else numbers[:-1])


def test_the_value_of_no_wire_is_free(score: Circuit) -> None:
    """Whatever single wire a prover changes, public or private, a row stops holding."""
    values = score.witness(given(model(), some(INPUTS, LEAST, MOST), chosen.getrandbits(128), CALL))
    rows: dict[int, list[int]] = {}
    for number, row in enumerate(score.rows):
        for wire in {wire for terms in row for wire in terms}:
            rows.setdefault(wire, []).append(number)

    def holds(number: int) -> bool:
        left, right, product = (dot(terms, values) for terms in score.rows[number])
        return left * right % R == product

    free: list[int] = []
    for wire in range(1, score.wires):
        before, values[wire] = values[wire], (values[wire] + 1) % R
        if all(holds(number) for number in rows[wire]):
            free.append(wire)
        values[wire] = before
    assert not free


Change = Callable[[Model, list[int]], tuple[Model, list[int]]]


def swapped(known: Model) -> Model:
    first, second, *rest = known.weights
    return Model((second, first + 1, *rest), known.salt)


@pytest.mark.parametrize("what", ["output", "weight", "model-salt", "input", "input-salt", "call", "alias"])
def test_a_public_wire_of_another_statement_does_not_fit(score: Circuit, what: str) -> None:
    known, x, salt = model(), some(INPUTS, LEAST, MOST), chosen.getrandbits(128)
    values = score.witness(given(known, x, salt, CALL))
    others = {
        "weight": given(swapped(known), x, salt, CALL),
        "model-salt": given(Model(known.weights, known.salt ^ 1), x, salt, CALL),
        "input": given(known, [x[0] ^ 1, *x[1:]], salt, CALL),
        "input-salt": given(known, x, salt ^ 1, CALL),
        "call": given(known, x, salt, CALL + 1),
    }
    public = slice(1, score.public + 1)
    if what in others:
        other = score.witness(others[what])
        assert other[public] != values[public]
        values[public] = other[public]
    elif what == "output":
        values[3] = (values[3] + 1) % R
    else:  # R - 1 more is not what is meant by the same number
        values[3] = (values[3] - 1) % R
    with pytest.raises(Unsatisfied, match="row"):
        score.evaluate(values)


def test_another_salt_is_another_commitment_and_a_model_is_no_input() -> None:
    assert committed([1], 16, 1, 1) != committed([1], 16, 2, 1)
    assert committed([1], 16, 1, 1) != committed([1], 16, 1, 2)
    assert committed([1], 16, 1, 1) != committed([2], 16, 1, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_the_hash_in_a_circuit_is_the_hash_outside(count: int) -> None:
    made = Circuit(public=1)
    wires = made.fresh(count)
    made.steps += [Given(wire, 0) for wire in range(wires, wires + count)]
    poseidon(made, [Line({wire: 1}) for wire in range(wires, wires + count)], wire=1)
    inputs = some(count, 0, R - 1)
    values = made.witness(inputs)
    made.evaluate(values)
    assert values[1] == hashed(inputs)


@pytest.mark.parametrize("value", [-8, -1, 0, 1, 7])
def test_relu_is_the_greater_of_the_value_and_nothing(value: int) -> None:
    made = Circuit(public=1)
    made.multiply(relu(made, signed(made, 4)[0], 5), constant(1), 1)
    values = made.witness([value])
    made.evaluate(values)
    assert values[1] == max(0, value)
    for wire in range(2, made.wires):  # a prover who says the sign is another one
        forged = [*values]
        forged[wire] = 1 - forged[wire]
        with pytest.raises(Unsatisfied):
            made.evaluate(forged)


def test_what_is_packed_can_be_unpacked() -> None:
    made = Circuit(public=1)
    bits = [bit for _ in range(40) for bit in signed(made, 7)[1]]
    numbers = some(40, -64, 63)
    values = made.witness(numbers)
    elements = [dot(line.terms, values) for line in packed(bits)]
    assert len(elements) == 2
    whole = elements[0] + (elements[1] << 253)
    assert [(whole >> 7 * place & 127) - 64 for place in range(40)] == numbers
