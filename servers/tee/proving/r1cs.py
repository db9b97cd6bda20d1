"""A rank-1 constraint system over BN254's scalar field, and how its witness follows from what is given.

Wire 0 is the constant 1, then come the public wires, then the private ones. A row (a, b, c) of linear combinations says
a * b = c. The witness is computed by the steps of the same circuit that the rows constrain, in the order in which they
were written down, so that there is no second description of the program which could differ from the first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from attest.canonical import canonical
from attest.encoding import sha256_hex
from attest.poseidon import R

Terms = Mapping[int, int]
"""A linear combination: coefficients from 1 to R - 1 by wire."""


class Unsatisfied(Exception):
    """What is given, or the witness, does not satisfy the circuit. One line says where."""


@dataclass(frozen=True, slots=True)
class Line:
    """A linear combination of wires. Adding and scaling cost no constraint."""

    terms: Terms

    def __add__(self, other: "Line") -> "Line":
        return Line(_sum([(self, 1), (other, 1)]))

    def __sub__(self, other: "Line") -> "Line":
        return Line(_sum([(self, 1), (other, -1)]))

    def __mul__(self, factor: int) -> "Line":
        return Line(_sum([(self, factor)]))


def constant(value: int) -> Line:
    """A known number, also a negative one."""
    return Line({0: value % R} if value % R else {})


def weighted(lines: Sequence[Line], factors: Sequence[int]) -> Line:
    """The sum of lines, each times its factor."""
    return Line(_sum(list(zip(lines, factors, strict=True))))


def _sum(parts: Sequence[tuple[Line, int]]) -> Terms:
    total: dict[int, int] = {}
    for line, factor in parts:
        for wire, coefficient in line.terms.items():
            total[wire] = total.get(wire, 0) + coefficient * factor
    return {wire: reduced for wire, value in total.items() if (reduced := value % R)}


@dataclass(frozen=True, slots=True)
class Given:
    """A step: the next given number, from -2^(bits-1) to 2^(bits-1) - 1, becomes wires `first` onward, the
    lowest bit first, offset by half its range; `bits` 0 means one wire that takes any field element."""

    first: int
    bits: int


@dataclass(frozen=True, slots=True)
class Split:
    """A step: the value of `line`, which must lie in 0 to 2^bits - 1, becomes wires `first` onward, bit by bit."""

    first: int
    bits: int
    line: Line


@dataclass(frozen=True, slots=True)
class Product:
    """A step: the wire takes the product of the two lines."""

    wire: int
    left: Line
    right: Line


@dataclass
class Circuit:
    """Written down by the gadgets, not changed afterwards. `public` is the number of public wires."""

    public: int
    rows: list[tuple[Terms, Terms, Terms]] = field(default_factory=list[tuple[Terms, Terms, Terms]])
    steps: list[Given | Split | Product] = field(default_factory=list[Given | Split | Product])
    wires: int = 0

    def __post_init__(self) -> None:
        self.wires = self.public + 1
        for wire in range(self.wires):  # makes the verifying key's points independent, whatever the program does
            self.rows.append(({wire: 1}, {}, {}))

    def fresh(self, count: int = 1) -> int:
        """The first of so many new private wires."""
        first, self.wires = self.wires, self.wires + count
        return first

    def assert_product(self, left: Line, right: Line, product: Line) -> None:
        """One row."""
        self.rows.append((left.terms, right.terms, product.terms))

    def multiply(self, left: Line, right: Line, wire: int | None = None) -> Line:
        """The product of two lines on a wire of its own, or on a public one."""
        place = self.fresh() if wire is None else wire
        product = Line({place: 1})
        self.steps.append(Product(place, left, right))
        self.assert_product(left, right, product)
        return product

    def digest(self) -> str:
        """SHA-256 over all rows and steps, hex: two circuits with one digest are one circuit."""

        def told(terms: Terms) -> list[list[int]]:
            return [[wire, terms[wire]] for wire in sorted(terms)]

        rows = [[told(terms) for terms in row] for row in self.rows]
        steps = [
            [
                type(step).__name__,
                *(told(v.terms) if isinstance(v := getattr(step, n), Line) else v for n in step.__slots__),
            ]
            for step in self.steps
        ]
        return sha256_hex(canonical([self.public, self.wires, rows, steps]))

    def witness(self, given: Sequence[int]) -> list[int]:
        """The values of all wires. Raises `Unsatisfied` for a number out of its range, or too few or many of them."""
        values, numbers = [1] + [0] * (self.wires - 1), iter(given)
        for step in self.steps:
            match step:
                case Product(wire, left, right):
                    values[wire] = dot(left.terms, values) * dot(right.terms, values) % R
                case Split(first, bits, line):
                    _bits(values, first, bits, dot(line.terms, values))
                case Given(first, 0):
                    values[first] = _next(numbers) % R
                case Given(first, bits):
                    _bits(values, first, bits, _next(numbers) + (1 << bits - 1))
        if next(numbers, None) is not None:
            raise Unsatisfied("more numbers are given than the circuit takes")
        return values

    def evaluate(self, values: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Both factors and the product of every row. Raises `Unsatisfied` with the first row that does not hold."""
        a, b, c = ([dot(row[side], values) for row in self.rows] for side in range(3))
        for number, (left, right, product) in enumerate(zip(a, b, c, strict=True)):
            if left * right % R != product:
                raise Unsatisfied(f"row {number} does not hold")
        return a, b, c


def dot(terms: Terms, values: Sequence[int]) -> int:
    """The value of a linear combination, reduced."""
    return sum([coefficient * values[wire] for wire, coefficient in terms.items()]) % R


def _next(numbers: Iterator[int]) -> int:
    if (number := next(numbers, None)) is None:
        raise Unsatisfied("fewer numbers are given than the circuit takes")
    return number


def _bits(values: list[int], first: int, bits: int, number: int) -> None:
    if number >> bits:  # of a negative number too
        raise Unsatisfied(f"a number does not fit in {bits} bits")
    for place in range(bits):
        values[first + place] = number >> place & 1
