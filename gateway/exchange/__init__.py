"""One MCP exchange with one upstream, and what the gateway can say of it afterwards. Two ways, one interface."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from attest.claims import Assurance, Standing
from attest.ear import brief
from attest.proven import Proven
from attest.receipt import Receipt
from attest.statement import Kind
from attest.verifier import AttestationResult
from gateway.upstream import DEAF, Downlink, Json
from gateway.upstream.session import ClientFace


@dataclass(frozen=True, slots=True)
class Ask:
    """One request in the upstream's own names. `definition` is the digest of the approved tool or prompt; `declared` is
    that tool itself, as canonical JSON, where it names a program: then its results have to be proven.

    `params` carry the client's `_meta` without our keys; `previous` is the receipt id of the round before, if this
    continues a multi-round-trip. `deadline` is on the event loop's clock; `headers` are further HTTP headers, which
    show arguments to whoever routes (SEP-2243).
    """

    method: str
    params: Json
    client: ClientFace
    client_nonce: str | None
    definition: str | None
    previous: str | None
    down: Downlink
    deadline: float
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    declared: bytes | None = None


def listing(method: str, params: Json, deadline: float) -> Ask:
    """The gateway asking for itself."""
    face = ClientFace({}, {"name": "etmcp", "version": "1"})
    return Ask(method, params, face, None, None, None, DEAF, deadline)


@dataclass(frozen=True, slots=True)
class Answer:
    """The upstream's own result or error, and the receipt that covers it with everything a bundle needs.

    `evidence` is the text of the evidence resource behind an executor's receipt; `observer` the raw key of ours.
    `standing` is that of the evidence's anchor: `test` is told wherever the verdict is.
    `appraised` is the appraisal of an executor's key, and `endorsements` what it was made with.
    `proof` is there where the tool names a program and the answer is a result.
    """

    body: Json  # {"result": ...} or {"error": ...}, as the upstream made it
    receipt: Receipt
    kind: Kind
    assurance: Assurance
    outcome: str
    params_salt: bytes
    params: bytes
    result: bytes
    evidence: str | None
    observer: bytes | None
    standing: Standing
    proof: Proven | None
    appraised: AttestationResult | None = None
    endorsements: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def summary(self, server: str) -> dict[str, Any]:
        """The value of `_meta["com.etmcp/verification"]`."""
        appraised = self.appraised
        told = {} if appraised is None else brief(appraised.claims, pinned=appraised.pinned)
        evidence = {"evidence": {"scheme": appraised.claims.scheme, **told}} if appraised and told else {}
        proof = {} if self.proof is None else {"proof": self.proof.summary()}
        anchor = {"anchor": "test-root"} if self.standing == "test" else {}
        return {
            "verdict": "verified" if self.kind == "executor-attested" else "observed",
            "kind": self.kind,
            "assurance": self.assurance,
            "server": server,
            "receiptId": self.receipt.receipt_id,
            "time": "unproven",
            **evidence,
            **anchor,
            **proof,
        }


class Caller(Protocol):
    """Sends requests to one upstream."""

    @property
    def kind(self) -> Kind: ...

    async def call(self, ask: Ask) -> Answer:
        """Return the answer with its receipt, or raise `Withheld` or `UpstreamError`."""
        ...

    async def fetch(self, ask: Ask) -> Json:
        """The raw `{"result": ...}` or `{"error": ...}` of a list or completion: checked where the server can sign it,
        and not kept. Raises `Withheld` or `UpstreamError`."""
        ...
