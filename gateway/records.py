"""What the gateway keeps of every exchange, and the bundles made from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from attest import wire
from attest.bundle import Bundle, dump_documents, load_documents
from attest.canonical import canonical, parse
from attest.encoding import sha256_hex
from attest.proof import Proof
from attest.proven import Attached
from attest.receipt import Receipt
from attest.statement import Statement as Claim
from gateway.errors import UserError
from gateway.exchange import Answer, Ask
from gateway.store import Statement, Store


@dataclass(frozen=True, slots=True)
class Logged:
    """A receipt's place in a transparency log: its number, and the inclusion proof (b64) under a signed checkpoint."""

    receipt: str
    index: int
    hashes: tuple[str, ...]
    checkpoint: str


class Records:
    """Receipts by id. `clock` returns milliseconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store, self._clock = store, clock
        # Evidence texts known to be stored, so that each is written once a process.
        self._evidence: set[str] = set()

    async def keep(self, server: str, ask: Ask, answer: Answer) -> None:
        """Return once the receipt, its preimages and its evidence are on disk."""
        statements: list[Statement] = []
        speaker = "observer:" + (answer.observer or b"").hex()
        if answer.evidence is not None:
            speaker = sha256_hex(answer.evidence.encode())
            if speaker not in self._evidence:
                documents = canonical(dump_documents(answer.endorsements)).decode()
                sql = "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?)"
                statements.append((sql, (speaker, answer.evidence, documents)))
        if (proof := answer.proof) is not None:
            told = canonical(proof.attached.proof.to_json()).decode()
            declared = proof.attached.definition.decode()
            digest = sha256_hex(proof.attached.definition)
            statements.append(("INSERT OR IGNORE INTO definitions VALUES (?, ?)", (digest, declared)))
            statements.append(("INSERT INTO proofs VALUES (?, ?, ?)", (answer.receipt.receipt_id, digest, told)))
        row = (
            answer.receipt.receipt_id,
            self._clock(),
            server,
            ask.method,
            wire.target_of(ask.method, ask.params),
            answer.kind,
            answer.assurance,
            answer.outcome,
            canonical(answer.receipt.to_json()).decode(),
            answer.params_salt,
            answer.params,
            answer.result,
            speaker,
        )
        if answer.standing == "test":
            statements.append(("INSERT INTO tested VALUES (?)", (answer.receipt.receipt_id,)))
        columns = "id,at,server,method,target,kind,assurance,outcome,receipt,params_salt,params,result,speaker"
        sql = f"INSERT INTO receipts ({columns}) VALUES ({','.join('?' * len(row))})"  # noqa: S608 - our own names
        await self._store.write(*statements, (sql, row))
        self._evidence.add(speaker)

    def unlogged(self, limit: int) -> list[str]:
        """Ids of receipts that are in no log yet, the oldest first."""
        sql = "SELECT id FROM receipts WHERE id NOT IN (SELECT id FROM logged) ORDER BY number LIMIT ?"
        return [str(row["id"]) for row in self._store.read(sql, limit)]

    async def logged(self, entries: Sequence[Logged]) -> None:
        """Keep the proofs that these are in the log."""
        sql = "INSERT OR IGNORE INTO logged VALUES (?, ?, ?, ?)"
        rows = [(e.receipt, e.index, canonical(list(e.hashes)).decode(), e.checkpoint) for e in entries]
        await self._store.write(*((sql, row) for row in rows))

    def log_entry(self, receipt_id: str) -> Logged | None:
        """Where a receipt is in the log, with the proof; None where it is in none."""
        rows = self._store.read("SELECT * FROM logged WHERE id = ?", receipt_id)
        if not rows:
            return None
        row = rows[0]
        return Logged(receipt_id, row["number"], tuple(parse(row["hashes"])), row["checkpoint"])

    async def refuse(self, server: str, ask: Ask, code: str) -> None:
        """Keep that a result was withheld, and why; never the result."""
        row = (self._clock(), server, ask.method, wire.target_of(ask.method, ask.params), code)
        sql = "INSERT INTO refusals (at,server,method,target,code) VALUES (?,?,?,?,?)"
        await self._store.write((sql, row))

    def recent(self, limit: int) -> list[dict[str, Any]]:
        """The newest receipts, newest first; `anchor` is `test-root` or null."""
        columns = "id, at, server, method, target, kind, assurance, outcome"
        tested = "iif(id IN (SELECT id FROM tested), 'test-root', NULL) AS anchor"
        rows = self._store.read(f"SELECT {columns}, {tested} FROM receipts ORDER BY number DESC LIMIT ?", limit)  # noqa: S608
        return [dict(row) for row in rows]

    def find(self, prefix: str) -> str:
        """The one receipt id that starts with `prefix`; raises `UserError`."""
        rows = self._store.read("SELECT id FROM receipts WHERE substr(id, 1, ?) = ? LIMIT 2", len(prefix), prefix)
        if len(rows) != 1 or not prefix:
            found = "several receipts start" if rows else "no receipt starts"
            raise UserError(f"{found} with {prefix!r}; `etmcp receipts list` shows the ids")
        return str(rows[0]["id"])

    def statement(self, receipt_id: str) -> Claim:
        """What one receipt says."""
        return Claim.decode(self.bundle(receipt_id).receipt.envelope.payload)

    def bundle(self, receipt_id: str) -> Bundle:
        """Everything needed to check one receipt offline."""
        row = self._store.read("SELECT * FROM receipts WHERE id = ?", receipt_id)[0]
        speaker = str(row["speaker"])
        if speaker.startswith("observer:"):
            spoken, documents = bytes.fromhex(speaker.removeprefix("observer:")), dict[str, bytes]()
        else:
            kept = self._store.read("SELECT text, documents FROM evidence WHERE id = ?", speaker)[0]
            spoken, documents = wire.load_evidence(kept["text"]), load_documents(parse(kept["documents"]))
        receipt, proof = Receipt.from_json(parse(row["receipt"])), self._proof(receipt_id)
        return Bundle(receipt, row["params_salt"], row["params"], row["result"], spoken, proof, documents)

    def _proof(self, receipt_id: str) -> Attached | None:
        sql = "SELECT text, proof FROM proofs JOIN definitions ON definition = digest WHERE proofs.id = ?"
        rows = self._store.read(sql, receipt_id)
        return Attached(str(rows[0]["text"]).encode(), Proof.from_json(parse(rows[0]["proof"]))) if rows else None
