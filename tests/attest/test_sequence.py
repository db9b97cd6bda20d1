"""The sequence ledger against a model that remembers everything."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from attest.sequence import SequenceLedger
from tests.attest.made import ledger


class Streams(RuleBasedStateMachine):
    """An executor that signs in order, a network that reorders and loses, and an attacker who tries any number."""

    signed = Bundle("signed")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = SequenceLedger()
        self.begun = self.last = 0
        self.taken: set[int] = set()

    def expected(self, number: int) -> bool:
        """A number fits if it is new and no further than all calls ever begun."""
        return 1 <= number <= self.begun and number not in self.taken

    @rule(target=signed)
    def a_call_is_executed(self) -> int:
        self.ledger.begin()
        self.begun += 1
        self.last += 1
        return self.last

    @rule()
    def a_call_is_lost_before_it_is_signed(self) -> None:
        self.ledger.begin()
        self.begun += 1

    @rule(number=consumes(signed))
    def its_receipt_arrives_in_any_order(self, number: int) -> None:
        assert self.ledger.accept(number) == (number not in self.taken)
        self.taken.add(number)

    @rule(number=consumes(signed))
    def its_receipt_is_lost(self, number: int) -> None:
        assert number <= self.begun

    @rule(number=st.integers(-2, 12))
    def somebody_shows_a_number(self, number: int) -> None:
        expected = self.expected(number)
        assert self.ledger.accept(number) == expected
        if expected:
            self.taken.add(number)

    @invariant()
    def nothing_taken_is_taken_again(self) -> None:
        assert not any(self.ledger.accept(number) for number in self.taken)

    @invariant()
    def no_number_beyond_the_calls_begun_is_taken(self) -> None:
        assert not self.ledger.accept(self.begun + 1)


TestStreams = Streams.TestCase


def test_numbers_in_order_are_accepted_and_nothing_is_remembered_of_them() -> None:
    stream = ledger(1000)
    assert all(stream.accept(number) for number in range(1, 1001))
    assert not stream.accept(1000)
    assert not stream.accept(1001)


def test_overlapping_calls_may_end_in_any_order() -> None:
    stream = ledger(3)
    assert [stream.accept(number) for number in (3, 1, 2)] == [True, True, True]


def test_a_number_beyond_the_calls_in_flight_is_a_skip() -> None:
    stream = ledger(2)
    assert not stream.accept(3)
    assert stream.accept(2)
    assert stream.accept(1)


def test_a_lost_call_leaves_room_for_exactly_one_gap() -> None:
    stream = ledger(2)
    assert stream.accept(2)
    stream.begin()
    assert stream.accept(3)
    stream.begin()
    assert not stream.accept(5)
    assert stream.accept(4)


def test_without_a_call_no_number_is_accepted() -> None:
    assert not any(SequenceLedger().accept(number) for number in (-1, 0, 1, 2**60))
