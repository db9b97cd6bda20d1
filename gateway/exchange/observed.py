"""Exchanges with a server that cannot prove itself: the gateway signs what it saw, and names what it called."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest import wire
from attest.canonical import canonical
from attest.dsse import Envelope
from attest.encoding import salted
from attest.errors import CanonicalError
from attest.evidence import key_id
from attest.proven import ANY
from attest.receipt import Receipt
from attest.statement import PAYLOAD_TYPE, Kind, Statement
from gateway.errors import Withheld
from gateway.exchange import Answer, Ask
from gateway.exchange.proofs import wanted
from gateway.upstream import Json, UpstreamGarbled
from gateway.upstream.session import Session


class Observer:
    """The gateway's own voice: one key, one stream a process. `clock` returns milliseconds since 1970."""

    def __init__(self, key: Ed25519PrivateKey, policy_digest: str, clock: Callable[[], int]) -> None:
        self._key, self.policy_digest, self.clock = key, policy_digest, clock
        self.public_key = key.public_key().public_bytes_raw()
        self.stream = secrets.token_hex(16)
        # Receipts signed by this process; owned by its event loop.
        self._signed = 0

    def next_number(self) -> int:
        """The sequence number of the next receipt."""
        self._signed += 1
        return self._signed

    def sign(self, statement: Statement) -> Envelope:
        """Sign an observer-attested statement."""
        return Envelope.sign(PAYLOAD_TYPE, statement.encode(), self._key, key_id(self.public_key))


class ObservedCaller:
    """Sends a call as it is and signs what came back. `launch` names what was started or called."""

    kind: Kind = "observer-attested"

    def __init__(self, alias: str, session: Session, observer: Observer, launch: Mapping[str, Any]) -> None:
        self._alias, self._session, self._observer, self._launch = alias, session, observer, dict(launch)

    async def call(self, ask: Ask) -> Answer:
        """See `Caller.call`. A receipt that the server offers by itself is a claim: it is not passed on as one."""
        received_at = self._observer.clock()
        reply = await self._session.request(
            ask.method, ask.params, client=ask.client, down=ask.down, deadline=ask.deadline, headers=ask.headers
        )
        return self.witness(ask, reply, received_at)

    def witness(self, ask: Ask, reply: Json, received_at: int) -> Answer:
        """Sign a raw reply that came for `ask`, asked at `received_at`. Raises `Withheld`, `UpstreamGarbled`.

        What must be proven is not passed on: a server that is not asked for receipts cannot know the call's nonce.
        """
        observer = self._observer
        try:
            body, preimage, outcome = self._body(reply, ask.method)
            params = wire.covered_params(ask.params)
        except CanonicalError as e:
            raise Withheld(self._alias, f"the answer to {ask.method}", "ambiguous") from e
        if wanted(ask, body, ANY, asks=self._session.era == "modern"):
            raise Withheld(self._alias, f"the answer to {ask.method}", "unproven")
        params_salt, result_salt = secrets.token_bytes(32), secrets.token_bytes(32)
        statement = Statement(
            kind=self.kind,
            server={name: str(self._session.info.get(name, ""))[:200] for name in ("name", "version")},
            method=ask.method,
            target=wire.target_of(ask.method, ask.params),
            definition=ask.definition,
            params_digest=salted(params_salt, params),
            result_digest=salted(result_salt, preimage),
            outcome=outcome,
            nonce=secrets.token_hex(32),
            client_nonce=ask.client_nonce,
            stream=observer.stream,
            sequence=observer.next_number(),
            previous=ask.previous,
            policy_digest=observer.policy_digest,
            received_at=received_at,
            finished_at=observer.clock(),
            environment={},
            usage={},
            launch=self._launch,
        )
        return Answer(
            body=body,
            receipt=Receipt(observer.sign(statement), result_salt),
            kind=self.kind,
            assurance="none",
            outcome=outcome,
            params_salt=params_salt,
            params=params,
            result=preimage,
            evidence=None,
            observer=observer.public_key,
            standing="trusted",
            proof=None,
        )

    async def fetch(self, ask: Ask) -> Json:
        """See `Caller.fetch`."""
        reply = await self._session.request(
            ask.method, ask.params, client=ask.client, down=ask.down, deadline=ask.deadline
        )
        return self._body(reply, ask.method)[0]

    def _body(self, reply: Json, method: str) -> tuple[Json, bytes, Any]:
        result, error = reply.get("result"), reply.get("error")
        if isinstance(result, dict) and error is None:
            bare = wire.without_ours(cast(Json, result))
            return {"result": bare}, canonical(bare), wire.outcome_of(bare)
        if isinstance(error, dict) and result is None:
            return {"error": cast(Json, error)}, canonical(error), "error"
        # An empty result in its place would stand for an answer that was never given.
        what = f"answered {method} with neither a result nor an error"
        raise UpstreamGarbled(self._alias, what, "fix or replace the server")
