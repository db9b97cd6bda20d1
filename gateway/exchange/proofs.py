"""The proof beside a result, where the approved definition of the tool names a program: else nothing is passed on."""

from dataclasses import dataclass
from typing import Any, cast

import anyio

from attest import wire
from attest.denylist import Denied
from attest.errors import EvidenceError
from attest.groth16.pairing import fastest
from attest.proof import Proof
from attest.proven import Accepted, Attached, Proven, check_attached, needs_proof
from attest.statement import Statement
from gateway.errors import Withheld
from gateway.exchange import Ask
from gateway.upstream import Json


def wanted(ask: Ask, body: Json, accepted: Accepted, *, asks: bool) -> bool:
    """Whether this answer must not be passed on without a proof: one of a tool that names a program, or of any where
    the policy names programs. `asks` where the server's era has questions in results."""
    result = body.get("result")
    proven = ask.declared is not None or (accepted.programs is not None and ask.method == "tools/call")
    return proven and isinstance(result, dict) and needs_proof(cast(Json, result), asks=asks)


@dataclass(frozen=True, slots=True)
class Check:
    """One answer whose receipt is verified; `params` and `result` are the preimages of its digests."""

    alias: str
    ask: Ask
    said: Statement
    params: bytes
    result: bytes

    async def proven(self, proof: Any, accepted: Accepted, now: int) -> Proven:
        """Hold the proof that came beside the result against this call.

        Off the event loop: without the extra `prove` that takes a second. Raises `Withheld`: `unproven` where there is
        none, `denied` where its proof system is withdrawn, else `proof`.
        """
        declared = self.ask.declared
        if proof is None or declared is None:
            raise self._withheld("unproven")
        try:
            attached = Attached(declared, Proof.from_json(proof))
            return await anyio.to_thread.run_sync(lambda: self._checked(attached, accepted, now))
        except Denied as e:
            raise self._withheld("denied") from e
        except EvidenceError as e:
            raise self._withheld("proof") from e

    def _checked(self, attached: Attached, accepted: Accepted, now: int) -> Proven:
        return check_attached(
            attached,
            tool=self.said.target,
            definition=self.said.definition,
            nonce=self.said.nonce,
            params=self.params,
            result=self.result,
            pairing=fastest(),
            now=now,
            accepted=accepted,
        )

    def _withheld(self, code: str) -> Withheld:
        return Withheld(self.alias, f"the answer to {self.ask.method}", code)


def carried(reply: Json) -> Any:
    """The unchecked proof in a reply that is open, or None."""
    result = reply.get("result")
    return wire.meta_of(cast(Json, result), wire.PROOF) if isinstance(result, dict) else None
