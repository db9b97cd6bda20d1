"""The circuit of `score`: a private quantised model of 16 inputs, 16 hidden units (ReLU) and 4 outputs.

    hidden = max(0, W1 x + 2^14 b1)        y = W2 hidden + 2^14 b2

in exact integers; weights and biases have 16 bits, inputs 15. Public wires, in this order: the commitment to the
model, the commitment to the inputs, y, the call. One circuit and one setup serve every model of this shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from attest.groth16.key import VerifyingKey
from attest.program import Program
from attest.signals import SALT_BITS, Call, Commitment, Constant, Value, committed
from servers.tee.proving.gadgets import packed, poseidon, relu, signed, unsigned
from servers.tee.proving.r1cs import Circuit, Given, Line, constant, weighted

INPUTS, HIDDEN, OUTPUTS = 16, 16, 4
WEIGHT_BITS, INPUT_BITS = 16, 15
WEIGHTS = HIDDEN * INPUTS + HIDDEN + OUTPUTS * HIDDEN + OUTPUTS
"""W1 by rows, b1, W2 by rows, b2."""
SCALE = 1 << INPUT_BITS - 1
"""Of biases: what stands for 1 in an input."""
HIDDEN_BITS = 35
"""|W1 x + 2^14 b1| is at most 17 * 2^29, which is below 2^34."""
LARGEST = (HIDDEN << 15) * (17 << 29) + (1 << 29)
"""|y| is at most that: below 2^53, so that any JSON reader has it exactly."""
MODEL_TAG, INPUT_TAG = 1, 2
"""Above the salt in the first element that is hashed: a commitment to a model is none to inputs."""
BLOCK = 11
"""Elements of a commitment's block; before them comes the salt, or the hash of the block before."""
DIGEST = "d949d88275deac3f5307c04d6b8027f988dfbfa7c2491bf388df1ea74f5a358f"
"""Of the circuit: keys belong to it and to no other."""


@dataclass(frozen=True, slots=True)
class Model:
    """All weights in the order of `WEIGHTS`, each in the range of 16 bits, and the commitment's salt."""

    weights: tuple[int, ...]
    salt: int

    def commitment(self) -> int:
        """What is registered."""
        return committed(self.weights, WEIGHT_BITS, self.salt, MODEL_TAG)

    def score(self, x: Sequence[int]) -> list[int]:
        """The four outputs, in plain integers."""
        w = iter(self.weights)
        first = [[next(w) for _ in range(INPUTS)] for _ in range(HIDDEN)]
        bias = [next(w) for _ in range(HIDDEN)]
        second = [[next(w) for _ in range(HIDDEN)] for _ in range(OUTPUTS)]
        last = [next(w) for _ in range(OUTPUTS)]
        hidden = [max(0, sum(map(int.__mul__, row, x)) + SCALE * b) for row, b in zip(first, bias, strict=True)]
        return [sum(map(int.__mul__, row, hidden)) + SCALE * b for row, b in zip(second, last, strict=True)]


def program(key: VerifyingKey, commitment: int) -> Program:
    """What is registered: the key of this circuit's setup, the commitment to a model, and what each public wire is."""
    signals = (
        Constant(commitment),
        Commitment("/arguments/x", INPUTS, INPUT_BITS, "/result/salt", INPUT_TAG),
        Value("/result/y", -LARGEST, LARGEST, OUTPUTS),
        Call(),
    )
    return Program("groth16-bn254", key.digest, "single-party (development)", key, signals)


def given(model: Model, x: Sequence[int], salt: int, call: int) -> list[int]:
    """What the circuit's witness is computed from."""
    half = 1 << SALT_BITS - 1
    return [*model.weights, model.salt - half, *x, salt - half, call]


def circuit() -> Circuit:
    """Written down anew at each call; it takes about a second."""
    made = Circuit(public=2 + OUTPUTS + 1)
    weights = [signed(made, WEIGHT_BITS) for _ in range(WEIGHTS)]
    _commit(made, [bit for _, bits in weights for bit in bits], unsigned(made, SALT_BITS), MODEL_TAG, 1)
    x = [signed(made, INPUT_BITS) for _ in range(INPUTS)]
    _commit(made, [bit for _, bits in x for bit in bits], unsigned(made, SALT_BITS), INPUT_TAG, 2)
    w = iter([value for value, _ in weights])
    first = [[next(w) for _ in range(INPUTS)] for _ in range(HIDDEN)]
    bias = [next(w) for _ in range(HIDDEN)]
    second = [[next(w) for _ in range(HIDDEN)] for _ in range(OUTPUTS)]
    last = [next(w) for _ in range(OUTPUTS)]
    hidden = [
        relu(made, _layer(made, row, [v for v, _ in x], b), HIDDEN_BITS) for row, b in zip(first, bias, strict=True)
    ]
    for number, (row, b) in enumerate(zip(second, last, strict=True)):
        made.multiply(_layer(made, row, hidden, b), constant(1), 3 + number)
    call = 3 + OUTPUTS
    made.steps.append(Given(call, 0))
    made.multiply(Line({call: 1}), Line({call: 1}))
    return made


def _commit(made: Circuit, bits: Sequence[Line], salt: Line, tag: int, wire: int) -> None:
    elements = packed(bits)
    value = salt + constant(tag << SALT_BITS)
    for start in range(0, len(elements), BLOCK):
        is_last = start + BLOCK >= len(elements)
        value = poseidon(made, [value, *elements[start : start + BLOCK]], wire if is_last else None)


def _layer(made: Circuit, weights: Sequence[Line], values: Sequence[Line], bias: Line) -> Line:
    products = [made.multiply(weight, value) for weight, value in zip(weights, values, strict=True)]
    return weighted([*products, bias], [*([1] * len(products)), SCALE])
