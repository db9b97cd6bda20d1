"""Exchanges with a server that signs its results under an appraised key."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from attest import wire
from attest.call import CallHeader, open_reply, plain_request, sealed_request
from attest.canonical import canonical
from attest.errors import AttestError, CanonicalError, ReceiptError
from attest.proven import ANY, Accepted
from attest.receipt import Exchange, Receipt, VerifiedReceipt, verify_exchange
from attest.seal import SealingKey
from attest.statement import Kind
from attest.verifier import AttestationResult
from gateway.errors import Withheld
from gateway.exchange import Answer, Ask
from gateway.exchange.appraisal import Appraisal, Appraised
from gateway.exchange.progress import numbers_only, opened
from gateway.exchange.proofs import Check, carried, wanted
from gateway.upstream import Json
from gateway.upstream.session import Session


class AttestedCaller:
    """Sends a call under the appraised key, sealed unless told otherwise, and checks the receipt that comes back."""

    kind: Kind = "executor-attested"

    def __init__(
        self,
        alias: str,
        session: Session,
        appraisal: Appraisal,
        *,
        sealed: bool,
        clock: Callable[[], int],
        proofs: Accepted = ANY,
    ) -> None:
        self._alias, self._session, self._appraisal = alias, session, appraisal
        self._sealed, self._clock, self._proofs = sealed, clock, proofs

    async def appraised(self) -> AttestationResult:
        """The appraisal in force. Raises `Withheld` or `UpstreamError`."""
        return (await self._appraisal.current()).result

    async def ahead(self) -> None:
        """Keep the appraisal young beside the calls (`Appraisal.ahead`); never returns."""
        await self._appraisal.ahead()

    async def call(self, ask: Ask) -> Answer:
        """See `Caller.call`. A replica that lacks the key refuses before it executes, so that call is made again.

        Under the same nonce: that refusal is unsigned, and where it was a lie, the executor knows the nonce.
        """
        held, nonce = await self._appraisal.current(), secrets.token_hex(32)
        answer = await self._attempt(ask, held, nonce)
        if answer is None:
            held = await self._appraisal.current(not_key=held.result.key_id)
            answer = await self._attempt(ask, held, nonce)
        if answer is None:
            raise self._withheld(ask, "unknown-key")
        return answer

    async def fetch(self, ask: Ask) -> Json:
        """See `Caller.fetch`."""
        return (await self.call(ask)).body

    def _withheld(self, ask: Ask, code: str) -> Withheld:
        return Withheld(self._alias, f"the answer to {ask.method}", code)

    async def _attempt(self, ask: Ask, held: Appraised, nonce: str) -> Answer | None:
        """One call under one key; None where the server does not hold the key."""
        header = CallHeader(
            method=ask.method,
            key_id=held.result.key_id,
            nonce=nonce,
            stream=held.stream,
            issued_at=self._clock(),
            client_nonce=ask.client_nonce,
            previous=ask.previous,
        )
        salt = secrets.token_bytes(32)
        reply_key = SealingKey() if self._sealed else None
        try:
            if reply_key is None:
                request = plain_request(header, ask.params, salt)
            else:
                request = sealed_request(header, ask.params, salt, held.sealing, reply_key)
        except AttestError as e:  # appraised, but no key that anything can be sealed to
            raise self._withheld(ask, e.code) from e
        held.ledger.begin()
        headers: Mapping[str, str] = {} if self._sealed else ask.headers  # what is sealed is not told in a header
        down = numbers_only(ask.down) if reply_key is None else opened(ask.down, header, reply_key)
        reply = await self._session.request(
            ask.method, request, client=ask.client, down=down, deadline=ask.deadline, headers=headers
        )
        if (code := _refusal(reply)) == "unknown-key":
            return None
        if code is not None:
            raise self._withheld(ask, code)
        try:
            answer, receipt, proof = self._check(ask, held, header, salt, reply, reply_key)
        except CanonicalError as e:
            raise self._withheld(ask, "ambiguous") from e
        except AttestError as e:
            if e.code == "sequence":
                self._appraisal.abandon(held)
            raise self._withheld(ask, e.code) from e
        if not wanted(ask, answer.body, self._proofs, asks=self._session.era == "modern"):
            return answer
        check = Check(self._alias, ask, receipt.statement, answer.params, answer.result)
        return replace(answer, proof=await check.proven(proof, self._proofs, self._clock()))

    def _check(
        self, ask: Ask, held: Appraised, header: CallHeader, salt: bytes, reply: Json, reply_key: SealingKey | None
    ) -> tuple[Answer, VerifiedReceipt, object]:
        """The answer, its receipt, and the proof that came beside it, unchecked."""
        if reply_key is not None:
            result = reply.get("result")
            reply = open_reply(header, cast(Json, result) if isinstance(result, dict) else {}, reply_key)
        body, unchecked, preimage, outcome = _open(reply)
        if unchecked is None:
            raise ReceiptError("missing-receipt", "no receipt")
        params = wire.covered_params(ask.params)
        exchange = Exchange(
            server_name=str(self._session.info.get("name", "")),
            method=ask.method,
            target=wire.target_of(ask.method, ask.params),
            definition=ask.definition,
            nonce=header.nonce,
            client_nonce=header.client_nonce,
            stream=header.stream,
            previous=header.previous,
            params=params,
            params_salt=salt,
            result=preimage,
            outcome=outcome,
            sent_at=header.issued_at,
        )
        receipt: VerifiedReceipt = verify_exchange(
            Receipt.from_json(unchecked), exchange, held.result, held.ledger, self._clock()
        )
        answer = Answer(
            body=body,
            receipt=receipt.receipt,
            kind=receipt.statement.kind,
            assurance=receipt.assurance,
            outcome=receipt.statement.outcome,
            params_salt=salt,
            params=params,
            result=preimage,
            evidence=held.evidence,
            observer=None,
            standing=held.result.claims.standing,
            proof=None,
            appraised=held.result,
            endorsements=held.endorsements,
        )
        return answer, receipt, carried(reply)


def _refusal(reply: Json) -> str | None:
    """The code of a call that the server refused to execute. It is unsigned, so only known codes are repeated."""
    match reply:
        case {"error": {"data": {wire.REFUSAL: str(code)}}}:
            return code if code in wire.REFUSALS else "malformed"
        case _:
            return None


def _open(reply: Json) -> tuple[Json, object, bytes, str]:
    """The upstream's own body, the unchecked receipt, the digest's preimage, and the outcome."""
    match reply:
        case {"error": dict()}:
            error, receipt = wire.error_without_receipt(cast(Json, reply["error"]))
            return {"error": error}, receipt, canonical(error), "error"
        case {"result": dict()}:
            result = cast(Json, reply["result"])
            bare = wire.without_ours(result)
            return {"result": bare}, wire.meta_of(result, wire.RECEIPT), canonical(bare), wire.outcome_of(bare)
        case _:
            raise ReceiptError("malformed", "the reply is neither a result nor an error")
