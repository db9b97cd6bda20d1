"""What an executor remembers of its calls: nonces it has seen, and how many receipts it signed in each stream."""

from collections import OrderedDict, deque

from attest.call import CallHeader

WINDOW_MS = 120_000
MAX_CALLS = 1_000_000
MAX_STREAMS = 65_536


class Refused(Exception):
    """The call is not executed; `code` is one of `attest.wire.REFUSALS`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Guard:
    """Refuses a call that is old, from the future, or seen before. State is owned by the server's event loop."""

    def __init__(self) -> None:
        # Nonces within the window, whichever key they came under, and the same in order of arrival with the time at
        # which each may be forgotten.
        self._seen: set[str] = set()
        self._order: deque[tuple[int, str]] = deque()
        # Receipts signed per key and stream, least recently used first.
        self._signed: OrderedDict[tuple[str, str], int] = OrderedDict()

    def admit(self, header: CallHeader, now: int) -> None:
        """Accept a nonce once; `now` in milliseconds. Raises `Refused`: `stale`, `replayed`, `busy`."""
        while self._order and self._order[0][0] < now:
            self._seen.discard(self._order.popleft()[1])
        if abs(now - header.issued_at) > WINDOW_MS:
            raise Refused(
                "stale", f"the call was issued {(now - header.issued_at) // 1000} s ago by this server's clock"
            )
        if header.nonce in self._seen:
            raise Refused("replayed", "a call with this nonce was already accepted")
        if len(self._seen) >= MAX_CALLS:
            raise Refused("busy", "too many calls within the replay window")
        self._seen.add(header.nonce)
        # A nonce must outlive every time at which its call could still be admitted.
        self._order.append((now + 2 * WINDOW_MS + 1, header.nonce))

    def next_number(self, key_id: str, stream: str) -> int:
        """The sequence number of the receipt that is about to be signed under this key in `stream`."""
        number = self._signed.pop((key_id, stream), 0) + 1
        self._signed[key_id, stream] = number
        if len(self._signed) > MAX_STREAMS:
            self._signed.popitem(last=False)
        return number
