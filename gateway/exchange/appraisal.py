"""Reads a server's evidence and appraises it; keeps the result until it runs out."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from attest import wire
from attest.errors import AttestError, EvidenceError
from attest.receipt import MAX_SKEW_MS
from attest.seal import PublicKey
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier
from gateway.errors import Withheld
from gateway.upstream import Json, UpstreamError
from gateway.upstream.session import ClientFace, Session
from registry.endorsements import Source

MAXIMUM_AGE_MS = 900_000
READ_SECONDS = 15
RETRY_SECONDS = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Appraised:
    """An accepted pair of keys, the evidence text behind it, what it was appraised with, and our stream under it.

    `sealing` is the pair's sealing key, read. Times in ms: a call from `ahead_at` on has the next appraisal made beside
    it; `renew_at` comes so long before the end that a call which begins until then has a third of the appraisal's time
    to be answered.
    """

    result: AttestationResult
    evidence: str
    endorsements: Mapping[str, bytes]
    sealing: PublicKey
    ahead_at: int
    renew_at: int

    def good(self, now: int) -> bool:
        """Whether a call may begin under it: not either where it was made later, by a clock that was set back."""
        return self.result.issued_at - MAX_SKEW_MS <= now <= self.renew_at

    stream: str = field(default_factory=lambda: secrets.token_hex(16))
    ledger: SequenceLedger = field(default_factory=SequenceLedger)


class Appraisal:
    """The current appraisal of one upstream. `clock` returns milliseconds since 1970.

    `outdated` says that the verifier's policy is another by now: nothing relies on an appraisal from then on.
    """

    def __init__(
        self,
        alias: str,
        session: Session,
        verifier: Verifier,
        source: Source,
        clock: Callable[[], int],
        outdated: Callable[[], bool] = lambda: False,
    ) -> None:
        self._alias, self._session, self._verifier, self._clock = alias, session, verifier, clock
        self._source, self._outdated = source, outdated
        self._client = ClientFace({}, {"name": "etmcp", "version": "1"})
        # The accepted keys, replaced as a whole when they expire or a replica does not know them.
        self._current: Appraised | None = None
        self._lock = anyio.Lock()
        # Set by a call that found the appraisal ageing; replaced when another was made, or was not to be had.
        self._ageing = anyio.Event()

    async def current(self, *, not_key: str | None = None) -> Appraised:
        """An appraisal that has not run out, other than of `not_key`. Raises `Withheld` or `UpstreamError`.

        It waits for one only where there is none: at first, for another key, and after a pause between two calls.
        """
        self._check()
        if (held := self._held(not_key)) is not None:
            if self._clock() > held.ahead_at:
                self._ageing.set()
            return held
        async with self._lock:
            if (held := self._held(not_key)) is None:
                self._current = held = await self._fresh()
            self._check()  # again: the policy may have changed while the evidence was read
            return held

    async def ahead(self) -> None:
        """Appraise again beside the calls, before one has to wait for it. Never returns: cancel it with the connection.

        What the verifier refuses is relied on no more. A server that is not to be reached, or has no evidence to give
        now, is asked again as long as there are calls, and what was appraised serves them to its end.
        """
        while True:
            await self._ageing.wait()
            try:
                async with self._lock:
                    if self._current is not None and self._clock() > self._current.ahead_at:
                        self._current = await self._fresh()
            except (Withheld, UpstreamError) as e:
                if isinstance(e, Withheld) and e.code != "malformed":  # which a busy server's error is too
                    self._current = None  # the next call asks again, and is told why
                else:
                    await anyio.sleep(RETRY_SECONDS)
            self._ageing = anyio.Event()

    def _held(self, not_key: str | None) -> Appraised | None:
        held = self._current
        return held if held is not None and held.result.key_id != not_key and held.good(self._clock()) else None

    def _check(self) -> None:
        if self._outdated():
            raise Withheld(self._alias, "everything", "superseded")

    def abandon(self, held: Appraised) -> None:
        """Begin a new stream with the next call: in this one no later number can fit any more."""
        if self._current is held:
            self._current = None

    async def _fresh(self) -> Appraised:
        nonce = secrets.token_bytes(32)
        params: Json = {"uri": wire.EVIDENCE_URI + nonce.hex()}
        deadline = anyio.current_time() + READ_SECONDS
        reply = await self._session.request("resources/read", params, client=self._client, deadline=deadline)
        missing: list[str] = []
        try:
            match reply:
                case {"result": {"contents": [{"text": str(text)}]}}:
                    evidence, binding = wire.load_evidence(text)
                case _:
                    raise EvidenceError("malformed", "the evidence resource is not one text")
            names = self._verifier.wants(evidence)
            documents = await self._source.find(names)
            missing = [name for name in names if name not in documents]
            now = self._clock()
            result = self._verifier.appraise(
                evidence, binding, nonce=nonce, now=now, maximum_age_ms=MAXIMUM_AGE_MS, documents=documents
            )
            sealing = PublicKey(binding.sealing_key)
        except AttestError as e:
            if missing and e.code == "chain":  # for the operator: what has to be in the folder, without a way out too
                logger.warning("the evidence of %s is refused; not to be had: %s", self._alias, ", ".join(missing))
            raise Withheld(self._alias, "the evidence", e.code) from e
        third = (result.expires_at - now) // 3
        return Appraised(result, text, documents, sealing, now + third, result.expires_at - third)
