"""Reads a server's evidence and appraises it; keeps the result until it runs out."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from attest import wire
from attest.errors import AttestError, EvidenceError
from attest.seal import PublicKey
from attest.sequence import SequenceLedger
from attest.verifier import AttestationResult, Verifier
from gateway.errors import Withheld
from gateway.upstream import Json
from gateway.upstream.session import ClientFace, Session
from registry.endorsements import Source

MAXIMUM_AGE_MS = 900_000
READ_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Appraised:
    """An accepted pair of keys, the evidence text behind it, what it was appraised with, and our stream under it.

    `sealing` is the pair's sealing key, read; `renew_at` (ms) comes so long before the end that a call which begins
    until then has a third of the appraisal's time to be answered.
    """

    result: AttestationResult
    evidence: str
    endorsements: Mapping[str, bytes]
    sealing: PublicKey
    renew_at: int
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

    async def current(self, *, not_key: str | None = None) -> Appraised:
        """An appraisal that has not run out, other than of `not_key`. Raises `Withheld` or `UpstreamError`."""
        self._check()
        async with self._lock:
            now = self._clock()
            held = self._current
            if held is None or held.result.key_id == not_key or now > held.renew_at:
                self._current = held = await self._fresh()
            self._check()  # again: the policy may have changed while the evidence was read
            return held

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
        try:
            match reply:
                case {"result": {"contents": [{"text": str(text)}]}}:
                    evidence, binding = wire.load_evidence(text)
                case _:
                    raise EvidenceError("malformed", "the evidence resource is not one text")
            names = self._verifier.wants(evidence)
            documents = await self._source.find(names)
            now = self._clock()
            result = self._verifier.appraise(
                evidence, binding, nonce=nonce, now=now, maximum_age_ms=MAXIMUM_AGE_MS, documents=documents
            )
            sealing = PublicKey(binding.sealing_key)
        except AttestError as e:
            raise Withheld(self._alias, "the evidence", e.code) from e
        return Appraised(result, text, documents, sealing, result.expires_at - (result.expires_at - now) // 3)
