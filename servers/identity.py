"""The keys of one server process, how they change, and the evidence that they are its own."""

from collections.abc import Mapping

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.evidence import Attester, Binding, Evidence
from attest.seal import SealingKey
from servers.attesters import AttesterError

EVERY_MS = 4 * 3_600_000
"""How long a pair of keys is the one that evidence names."""
OVERLAP_MS = 1_800_000
"""How much longer it answers: twice the 15 minutes for which a gateway relies on evidence."""

MAX_WAITING = 32
"""Requests for evidence at once, the one under way included."""


class Keys:
    """A signing key and a sealing key made together in this process, which never leave it."""

    def __init__(self, configuration: bytes, boot_id: bytes) -> None:
        self.signing = Ed25519PrivateKey.generate()
        self.sealing = SealingKey()
        self._configuration, self._boot_id = configuration, boot_id
        self.key_id = self.bind(bytes(32)).key_id

    def bind(self, nonce: bytes) -> Binding:
        """What evidence for these keys binds under a challenge."""
        public = self.signing.public_key().public_bytes_raw()
        return Binding(nonce, public, self.sealing.public, self._configuration, self._boot_id)


class Identity:
    """The pair of keys that this process answers for, and those before it that still answer. All times are given, in
    milliseconds; owned by the server's event loop.

    `configuration` is the SHA-256 of the server's configuration document; `boot_id` is 16 fresh random bytes, of the
    process and not of a pair. `every` and `overlap` in milliseconds. Keys change with the first message after their
    time; what ended is forgotten with the first message after that.
    """

    def __init__(
        self,
        attester: Attester,
        configuration: bytes,
        boot_id: bytes,
        *,
        every: int = EVERY_MS,
        overlap: int = OVERLAP_MS,
    ) -> None:
        self._attester, self._configuration, self._boot_id = attester, configuration, boot_id
        self._every, self._overlap = every, overlap
        # The pair in force, and when another takes its place; None before the first message.
        self._current = Keys(configuration, boot_id)
        self._until: int | None = None
        # Pairs before it that still answer, with the time from which they do not.
        self._ending: list[tuple[int, Keys]] = []
        # One request for evidence at a time, in order, in a thread; and how many there are.
        self._turn = anyio.CapacityLimiter(1)
        self._waiting = 0

    def current(self, now: int) -> Keys:
        """The pair that evidence names."""
        if self._until is None:
            self._until = now + self._every
        elif now >= self._until:
            self._replace(now, self._until + self._overlap)
        return self._current

    def rotate(self, now: int) -> Keys:
        """Put a new pair in force now, whatever the time; the one before answers for the overlap."""
        self._replace(now, now + self._overlap)
        return self._current

    def live(self, now: int) -> Mapping[str, Keys]:
        """Every pair that answers now, by key id."""
        current = self.current(now)
        self._ending = [(end, keys) for end, keys in self._ending if now < end]
        return {keys.key_id: keys for _, keys in self._ending} | {current.key_id: current}

    async def evidence(self, nonce: bytes, now: int) -> tuple[Evidence, Binding]:
        """Fresh evidence for the pair in force that answers a 32-byte challenge, and what it binds.

        A device takes up to seconds for it: calls go on meanwhile, and other requests wait in order. Raises
        `AttesterError`, also where too many wait.
        """
        if self._waiting >= MAX_WAITING:
            raise AttesterError("too many requests for evidence wait for the device; ask again in a moment")
        binding = self.current(now).bind(nonce)
        self._waiting += 1
        try:
            made = await anyio.to_thread.run_sync(self._attester.attest, binding.report_data(), limiter=self._turn)
        finally:
            self._waiting -= 1
        return made, binding

    def _replace(self, now: int, end: int) -> None:
        self._ending.append((end, self._current))
        self._current, self._until = Keys(self._configuration, self._boot_id), now + self._every
