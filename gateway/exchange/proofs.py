"""The proof beside a result, where the approved definition of the tool names a program: else nothing is passed on."""

from typing import Any, cast

import anyio

from attest import wire
from attest.denylist import DEFAULT, Denied
from attest.errors import EvidenceError
from attest.groth16.pairing import fastest
from attest.proof import Proof
from attest.proven import Attached, Proven, check_attached, needs_proof
from attest.receipt import VerifiedReceipt
from gateway.errors import Withheld
from gateway.exchange import Ask
from gateway.upstream import Json


def wanted(ask: Ask, body: Json) -> bool:
    """Whether this answer must not be passed on without a proof."""
    result = body.get("result")
    return ask.declared is not None and isinstance(result, dict) and needs_proof(cast(Json, result))


async def proven(
    alias: str, ask: Ask, receipt: VerifiedReceipt, preimages: tuple[bytes, bytes], proof: Any, now: int
) -> Proven:
    """Hold the proof that came beside a result against the call of its receipt; `preimages` of params and result.

    Off the event loop: without the extra `prove` a check takes a second. Raises `Withheld`: `unproven` where there is
    none, `denied` where its proof system is withdrawn, else `proof`.
    """
    subject = f"the answer to {ask.method}"
    if proof is None or ask.declared is None:
        raise Withheld(alias, subject, "unproven")
    said, (params, result) = receipt.statement, preimages
    try:
        attached = Attached(ask.declared, Proof.from_json(proof))
        return await anyio.to_thread.run_sync(
            lambda: check_attached(
                attached,
                definition=said.definition,
                nonce=said.nonce,
                params=params,
                result=result,
                pairing=fastest(),
                now=now,
                denylist=DEFAULT,
            )
        )
    except Denied as e:
        raise Withheld(alias, subject, "denied") from e
    except EvidenceError as e:
        raise Withheld(alias, subject, "proof") from e


def carried(reply: Json) -> Any:
    """The unchecked proof in a reply that is open, or None."""
    result = reply.get("result")
    return wire.meta_of(cast(Json, result), wire.PROOF) if isinstance(result, dict) else None
