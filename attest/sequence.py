"""Gap detection for receipts of one key in one stream."""


class SequenceLedger:
    """Knows which sequence numbers a stream may still bring.

    The executor counts a stream's receipts from 1 in the order it signs them. Calls overlap, so receipts arrive out
    of order, but never further ahead than the calls that are open or ended without one: a number beyond that means
    that somebody else's call was signed in our stream, or that a receipt was withheld and a later one shown instead.
    """

    def __init__(self) -> None:
        # All numbers up to _floor were accepted, and those in _above; owned by the event loop that owns the stream.
        self._floor = 0
        self._above: set[int] = set()
        # Calls begun whose receipt has not been accepted: still open, failed, or timed out.
        self._unsettled = 0

    def begin(self) -> None:
        """A call is about to be sent."""
        self._unsettled += 1

    def accept(self, number: int) -> bool:
        """Take the number of a genuine receipt for a call begun here; False if it repeats or skips."""
        accepted = self._floor + len(self._above)
        if number <= self._floor or number in self._above or number > accepted + self._unsettled:
            return False
        self._unsettled -= 1
        self._above.add(number)
        while self._floor + 1 in self._above:
            self._floor += 1
            self._above.discard(self._floor)
        return True
