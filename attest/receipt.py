"""A receipt is a Statement signed by the key that speaks for its executor or observer; this checks one."""

from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any

from attest.claims import Assurance
from attest.dsse import Envelope
from attest.encoding import Fields, salted, same
from attest.errors import ReceiptError
from attest.sequence import SequenceLedger
from attest.statement import PAYLOAD_TYPE, Statement
from attest.verifier import AttestationResult

MAX_SKEW_MS = 60_000
_CHECKED = object()  # only this module holds it, so only `verify_exchange` can make a VerifiedReceipt


@dataclass(frozen=True, slots=True)
class Receipt:
    """An envelope and the salt of the result digest, as they travel beside the result. Unchecked."""

    envelope: Envelope
    result_salt: bytes

    @property
    def receipt_id(self) -> str:
        """SHA-256 of the statement, hex."""
        return self.envelope.digest

    def to_json(self) -> dict[str, Any]:
        """The value of `_meta["com.etmcp/receipt"]`."""
        return {"envelope": self.envelope.to_json(), "resultSalt": self.result_salt.hex()}

    @classmethod
    def from_json(cls, value: Any) -> "Receipt":
        """Read `to_json`'s form; raises `ReceiptError("malformed")`."""
        fields = Fields(value, "the receipt", ReceiptError)
        receipt = cls(Envelope.from_json(fields.take("envelope")), fields.hex("resultSalt", 32))
        fields.done()
        return receipt


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the caller asked, as it knows it itself, and the bytes of the answer it got.

    `params` and `result` are the canonical preimages. Times in milliseconds; `sent_at` by the caller's clock.
    """

    server_name: str
    method: str
    target: str | None
    definition: str | None
    nonce: str
    client_nonce: str | None
    stream: str
    previous: str | None
    params: bytes
    params_salt: bytes
    result: bytes
    outcome: str
    sent_at: int


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """Holding one is the proof that `verify_exchange` accepted this receipt for one exchange."""

    receipt: Receipt
    statement: Statement
    assurance: Assurance
    _: KW_ONLY
    token: InitVar[object]

    def __post_init__(self, token: object) -> None:
        if token is not _CHECKED:
            raise TypeError("a VerifiedReceipt comes from verify_exchange only")


def verify_exchange(
    receipt: Receipt, exchange: Exchange, appraisal: AttestationResult, ledger: SequenceLedger, now: int
) -> VerifiedReceipt:
    """Return the receipt as verified for exactly this exchange, or raise `ReceiptError`.

    1. `expired`    the appraisal still stands at `now`;
    2. `key`        it is signed under the appraised key,
    3. `signature`  and the signature verifies;
    4. `malformed`  the statement is well-formed and executor-attested;
    5. `server`     it names the server we called,
    6. `target`     the method and the tool or prompt,
    7. `definition` and the definition we were shown;
    8. `nonce`      it answers this call: nonce, client nonce, stream,
    9. `round`      and the round before it;
    10. `params`    it covers the params we sent,
    11. `result`    and the result we got, with its outcome;
    12. `time`      it was made between our sending and now, give or take the allowed skew;
    13. `sequence`  its number neither repeats nor skips.
    """
    if now > appraisal.expires_at:  # 1
        raise ReceiptError("expired", "the appraisal of this key is past its time")
    envelope = receipt.envelope
    payload = envelope.open(PAYLOAD_TYPE, appraisal.binding.signing_key, appraisal.key_id)  # 2, 3
    statement = Statement.decode(payload)  # 4
    if statement.kind != "executor-attested" or statement.launch is not None:
        raise ReceiptError("malformed", "an executor signed something else than an executor's receipt")
    checks = (
        ("server", statement.server["name"], exchange.server_name),  # 5
        ("target", (statement.method, statement.target), (exchange.method, exchange.target)),  # 6
        ("definition", statement.definition, exchange.definition),  # 7
        ("nonce", statement.nonce, exchange.nonce),  # 8
        ("nonce", statement.client_nonce, exchange.client_nonce),
        ("nonce", statement.stream, exchange.stream),
        ("round", statement.previous, exchange.previous),  # 9
    )
    for code, said, expected in checks:
        if said != expected:
            raise ReceiptError(code, f"the receipt is for another {code}")
    if not same(statement.params_digest, salted(exchange.params_salt, exchange.params)):  # 10
        raise ReceiptError("params", "the executor did not receive the params that were sent")
    covers = same(statement.result_digest, salted(receipt.result_salt, exchange.result))
    if not covers or statement.outcome != exchange.outcome:  # 11
        raise ReceiptError("result", "the result that arrived is not the one that was signed")
    early, late = exchange.sent_at - MAX_SKEW_MS, now + MAX_SKEW_MS
    if not early <= statement.received_at <= statement.finished_at <= late:  # 12
        raise ReceiptError("time", "the executor's times do not fit the call; compare the two clocks")
    if not ledger.accept(statement.sequence):  # 13
        raise ReceiptError("sequence", f"number {statement.sequence} repeats or skips")
    return VerifiedReceipt(receipt, statement, appraisal.assurance, token=_CHECKED)
