"""What circuits are made of: bits and ranges, ReLU, packing, Poseidon."""

from collections.abc import Sequence

from attest.poseidon import is_full, parameters
from servers.tee.proving.r1cs import Circuit, Given, Line, Split, constant, weighted

FIELD_BITS = 253
"""Bits that fit into a field element, whatever they are."""


def boolean(circuit: Circuit, first: int, count: int) -> list[Line]:
    """Wires that are 0 or 1."""
    bits = [Line({wire: 1}) for wire in range(first, first + count)]
    for bit in bits:
        circuit.assert_product(bit, bit, bit)
    return bits


def signed(circuit: Circuit, bits: int) -> tuple[Line, list[Line]]:
    """The next given number, from -2^(bits-1) to 2^(bits-1) - 1, and the bits of what lies above the least."""
    first = circuit.fresh(bits)
    circuit.steps.append(Given(first, bits))
    wires = boolean(circuit, first, bits)
    return weighted(wires, [1 << place for place in range(bits)]) - constant(1 << bits - 1), wires


def unsigned(circuit: Circuit, bits: int) -> Line:
    """The next given number, from -2^(bits-1), plus 2^(bits-1): a random number of so many bits."""
    value, _ = signed(circuit, bits)
    return value + constant(1 << bits - 1)


def relu(circuit: Circuit, value: Line, bits: int) -> Line:
    """max(0, value), for a value that is proven to lie from -2^(bits-1) to 2^(bits-1) - 1."""
    above = value + constant(1 << bits - 1)
    first = circuit.fresh(bits)
    circuit.steps.append(Split(first, bits, above))
    wires = boolean(circuit, first, bits)
    circuit.assert_product(above, constant(1), weighted(wires, [1 << place for place in range(bits)]))
    return circuit.multiply(wires[-1], value)  # the highest bit of what is above the least is: not negative


def packed(bits: Sequence[Line]) -> list[Line]:
    """All bits in as few field elements as hold them, the lowest first: bits that differ are elements that differ."""
    groups = [bits[start : start + FIELD_BITS] for start in range(0, len(bits), FIELD_BITS)]
    return [weighted(group, [1 << place for place in range(len(group))]) for group in groups]


def poseidon(circuit: Circuit, inputs: Sequence[Line], wire: int | None = None) -> Line:
    """The hash of 1 to 12 elements, as `attest.poseidon.poseidon`; on a public wire where one is named."""
    known = parameters(len(inputs))
    state = [constant(0), *inputs]
    for number, constants in enumerate(known.constants):
        state = [line + constant(value) for line, value in zip(state, constants, strict=True)]
        for place in range(len(state) if is_full(number, known.partial) else 1):
            state[place] = _fifth_power(circuit, state[place])
        state = [weighted(state, row) for row in known.matrix]
    return state[0] if wire is None else circuit.multiply(state[0], constant(1), wire)


def _fifth_power(circuit: Circuit, line: Line) -> Line:
    square = circuit.multiply(line, line)
    return circuit.multiply(circuit.multiply(square, square), line)
