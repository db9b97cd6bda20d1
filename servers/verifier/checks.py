"""The two checks. Each answer names the roots that it rests on and who brought them; the two are never mixed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from attest.encoding import Fields
from attest.errors import AttestError, LogError
from attest.note import NoteKey
from attest.tlog import Checkpoint, leaf_hash, open_checkpoint, verify_inclusion
from attest.verdict import Verdict
from servers.roots import Roots, read_roots
from servers.verifier.arguments import VerifyBundle, VerifyInclusion

Json = dict[str, Any]
STEPS = ("key", "checkpoint", "inclusion")
WHOSE = {"server": "under the roots of this server", "caller": "but only under roots that the caller gave"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`told` in full, and the same in one line for people and models."""

    told: Json
    summary: str


class Checks:
    """`roots` and `logs` are those of whoever runs this server. `clock` returns milliseconds since 1970."""

    def __init__(self, roots: Roots, logs: Sequence[NoteKey], clock: Callable[[], int]) -> None:
        self._roots, self._logs, self._clock = roots, tuple(logs), clock

    def bundle(self, asked: VerifyBundle) -> Finding:
        """What `etmcp-verify` would say. Raises `RootsError` where the caller's own documents cannot be read."""
        roots = self._roots
        if asked.trust is not None or asked.policy is not None:
            roots = read_roots(_bytes(asked.trust), _bytes(asked.policy), "caller", roots.proofs.denylist)
        verdict = roots.judge(asked.bundle.encode(), self._clock())
        return Finding({"verdict": verdict.to_json(), "roots": roots.told}, _summary(verdict, roots))

    def inclusion(self, asked: VerifyInclusion) -> Finding:
        """Whether the log holds the entry; `untrusted` where nobody brought a log key.

        1. `key`         there is a log key, and it is one;
        2. `checkpoint`  the log signed the checkpoint under it;
        3. `inclusion`   the proof leads from the entry to the checkpoint's root.
        """
        found = _Found(self._logs, "server" if asked.log_key is None else "caller")
        steps: list[Json] = []
        outcome, summary = "included", ""
        try:
            for name in _run(asked, found):
                steps.append(_step(name, "passed"))
        except AttestError as e:
            name = STEPS[len(steps)]
            outcome = "untrusted" if e.code == "root" else "refused"
            summary = f"{outcome} at step {len(steps) + 1}, {name} [{e.code}]: {e.detail}"
            steps.append(_step(name, "failed", e.code, e.detail))
        steps += [_step(name, "not checked") for name in STEPS[len(steps) :]]
        verdict: Json = {"outcome": outcome, "steps": [{"step": n, **step} for n, step in enumerate(steps, 1)]}
        if found.checkpoint is not None and outcome == "included":
            verdict |= {"log": found.checkpoint.origin, "size": found.checkpoint.size, "index": asked.index}
            summary = f"included, {WHOSE[found.source]}: {found.checkpoint.origin}"
        roots = {"source": found.source, "logs": [str(key) for key in found.logs]}
        return Finding({"verdict": verdict, "roots": roots}, summary)


@dataclass(slots=True)
class _Found:
    """The log keys that count and who brought them, and the checkpoint once it is authentic; filled by `_run` alone."""

    logs: Sequence[NoteKey]
    source: str
    checkpoint: Checkpoint | None = None


def _run(asked: VerifyInclusion, found: _Found) -> Iterator[str]:
    """Yield each step's name once it has passed; raise `LogError` from the one that fails."""
    if asked.log_key is not None:
        found.logs = ()
        found.logs = (NoteKey.parse(asked.log_key),)
    if not found.logs:
        raise LogError("root", "no log key was given")
    yield "key"  # 1

    checkpoint = _opened(asked.checkpoint.encode(), found.logs)
    found.checkpoint = checkpoint
    yield "checkpoint"  # 2

    hashes = [Fields({"hash": text}, "the proof", LogError).base64("hash", maximum=32) for text in asked.hashes]
    verify_inclusion(leaf_hash(asked.leaf.encode()), asked.index, hashes, checkpoint)
    yield "inclusion"  # 3


def _opened(note: bytes, logs: Sequence[NoteKey]) -> Checkpoint:
    """The checkpoint under the one of these keys that signed it; the last refusal where none did."""
    for log in logs[:-1]:
        try:
            return open_checkpoint(note, log)
        except LogError:
            continue
    return open_checkpoint(note, logs[-1])


def _step(name: str, status: str, code: str = "", detail: str = "") -> Json:
    return {"name": name, "status": status, "code": code, "detail": detail}


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _summary(verdict: Verdict, roots: Roots) -> str:
    if verdict.outcome == "verified":
        anchors = roots.endorsements.anchors
        keys = [f"{scheme} {key}" for scheme in sorted(anchors) for key in sorted(anchors[scheme])]
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        return f"verified, assurance {verdict.assurance}, {WHOSE[roots.told['source']]}: {shown}"
    number, step = next((n, step) for n, step in enumerate(verdict.steps, 1) if step.status == "failed")
    outcome = "self-consistent, untrusted" if verdict.outcome == "untrusted" else "refused"
    return f"{outcome} at step {number}, {step.name} [{step.code}]: {step.detail}"
