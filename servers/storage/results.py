"""Results that a gateway kept here with their receipts: `results/{receiptId}.json` is the bundle, checked when read.

A bundle that fails is never given as a result, and one that leads to no root of whoever runs this server says so.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attest.bundle import Bundle
from attest.verdict import Verdict
from servers.roots import Roots
from servers.storage.store import Store, StoreError, Version

FOLDER = "results/"
LABELS = {"verified": "verified", "untrusted": "self-consistent, untrusted"}
_VIEW = re.compile(r"results/([0-9a-f]{64})")
_BUNDLE = re.compile(r"results/([0-9a-f]{64})\.json")


class ResultRefused(Exception):
    """There is such a bundle, but it proves nothing of this receipt. `detail` is one line; `verdict` the steps."""

    def __init__(self, detail: str, verdict: Verdict) -> None:
        super().__init__(detail)
        self.detail, self.verdict = detail, verdict.to_json()


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result whose bundle is sound. `text` is the JSON that its receipt covers; `told` is what was found of it."""

    version: Version
    text: str
    told: dict[str, Any]


def receipt_of(path: str) -> str | None:
    """The receipt id, if this is where its result is read: no object can be stored there."""
    return match[1] if (match := _VIEW.fullmatch(path)) else None


def view_of(path: str) -> str | None:
    """Where the result is read whose bundle is stored at `path`, if it is one."""
    return f"{FOLDER}{match[1]}" if (match := _BUNDLE.fullmatch(path)) else None


class Results:
    """Reads and checks. `clock` returns milliseconds since 1970."""

    def __init__(self, store: Store, roots: Roots, clock: Callable[[], int]) -> None:
        self._store, self._roots, self._clock = store, roots, clock

    async def read(self, user: str, receipt_id: str, number: int | None = None) -> StoredResult:
        """The result behind a receipt of the user. Raises `StoreError` and `ResultRefused`."""
        version, data = await self._store.get(user, f"{FOLDER}{receipt_id}.json", number)
        verdict = self._roots.judge(data, self._clock())
        if verdict.outcome == "refused" or verdict.statement is None:
            failed = next(step for step in verdict.steps if step.status == "failed")
            raise ResultRefused(f"the stored bundle fails at {failed.name} [{failed.code}]: {failed.detail}", verdict)
        if verdict.receipt_id != receipt_id:
            raise ResultRefused(f"the stored bundle is of another receipt, {verdict.receipt_id}", verdict)
        try:
            text = Bundle.decode(data).result.decode()
        except UnicodeDecodeError as e:
            raise ResultRefused("the result in the stored bundle is not text", verdict) from e
        told = {
            "receiptId": receipt_id,
            "label": LABELS[verdict.outcome],
            "outcome": verdict.statement.outcome,
            "verdict": verdict.to_json(),
            "roots": self._roots.told,
        }
        return StoredResult(version, text, told)

    async def ids(self, user: str, typed: str, limit: int) -> tuple[list[str], bool]:
        """Receipt ids of stored bundles that start with `typed`, and whether there may be more."""
        page = await self._store.page(user, prefix=FOLDER + typed, limit=limit)
        return [match[1] for entry in page.entries if (match := _BUNDLE.fullmatch(entry.path))], page.more


def refuse_view(path: str) -> None:
    """Raises `StoreError("name")` for a path at which results are read."""
    if receipt_of(path):
        raise StoreError("name", f"{FOLDER} and a receipt id is where a result is read; store under another path")
