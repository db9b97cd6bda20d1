"""Judges a table of cases: genuine and spoiled evidence and proofs, each with the verdict that it should get.

Two shapes of case, told apart by their members. Evidence: `{"id", "kind", "evidence", "at", "expect"}` with the files
of its endorsements (`collateral`, or `leaf` and `chain`, and `crl`); `at` in seconds since 1970; `expect` is `ok`, a
TCB status, `reject`, or a refusal's code. Proof: `{"kind", "file", "expected": {"final"}}`, where `final` is `VALID`,
`INVALID`, `UNSUPPORTED` or `REJECTED_BY_POLICY(why)`. No verdict depends on a file's name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from attest import schemes
from attest.canonical import parse
from attest.cases_zk import agrees, judge
from attest.claims import Claims, Endorsements
from attest.denylist import DEFAULT, Denylist
from attest.encoding import Fields
from attest.errors import AttestError, CanonicalError, EvidenceError
from attest.evidence import Evidence
from attest.groth16.pairing import fastest
from attest.schemes.nitro import NitroScheme
from attest.schemes.roots import VENDOR_ROOTS

MEDIA_TYPES = {
    "tdx": "application/vnd.etmcp.tdx-quote",
    "sgx": "application/vnd.etmcp.sgx-quote",
    "snp": "application/vnd.etmcp.sev-snp",
    "nitro": "application/vnd.etmcp.nitro",
    "tpm": "application/vnd.etmcp.tpm2+json",
    "azure-vtpm": "application/vnd.etmcp.azure-vtpm+json",
    "gpu": "application/vnd.etmcp.nvidia-gpu+json",
}
UNREAD, UNJUDGED = "unread", "unjudged"
SCHEMES = (NitroScheme(late_ms=0), *schemes.ALL)
"""The first for a media type counts. The time in a table is exact, and no clock that may be late."""
Anchors = Mapping[str, frozenset[str]]
Read = Callable[[str], bytes]
"""The bytes of a file that a case names; raises `EvidenceError(UNREAD)` where there are none."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One case: `verdict` in the words of its expectation, `code` and `reason` where it was refused or not judged."""

    case: str
    verdict: str
    code: str
    reason: str
    expected: str

    @property
    def agreed(self) -> bool:
        """Whether the verdict is the expected one. What could not be read agrees with nothing."""
        if self.code == UNREAD:
            return False
        return agrees(self.expected, self.verdict) or (self.verdict == "reject" and self.code == self.expected)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.case,
            "verdict": self.verdict,
            "code": self.code,
            "reason": self.reason,
            "expected": self.expected,
            "agreed": self.agreed,
        }


def judge_cases(manifest: bytes, read: Read, trust: Endorsements, denylist: Denylist = DEFAULT) -> Iterator[Judged]:
    """Judge each case of a manifest, in its order, under the vendors' roots and those of `trust`.

    A case of another shape is unjudged, as is one whose files cannot be read; it does not keep the others from theirs.
    Raises `EvidenceError("malformed")` where it is no manifest.
    """
    try:
        cases = parse(manifest)
    except CanonicalError as e:
        raise EvidenceError("malformed", f"the manifest: {e.detail}") from e
    if not isinstance(cases, list):
        raise EvidenceError("malformed", "the manifest is not a list of cases")
    anchors = {
        vendor: VENDOR_ROOTS.get(vendor, frozenset()) | trust.anchors.get(vendor, frozenset())
        for vendor in VENDOR_ROOTS.keys() | trust.anchors.keys()
    }
    for number, value in enumerate(cast(list[Any], cases)):
        try:
            judged = _judged(value, f"case {number} of the manifest", read, anchors, denylist)
        except EvidenceError as e:
            expected = _text(value, "expect")
            title = _text(value, "id") or _text(value, "file") or f"case {number}"
            judged = Judged(title, UNJUDGED, UNREAD, e.detail, expected)
        yield judged


def _judged(value: Any, what: str, read: Read, anchors: Anchors, denylist: Denylist) -> Judged:
    fields = Fields(value, what, EvidenceError)
    kind = fields.text("kind", maximum=80)
    if fields.optional("file") is not None:
        return _proof(kind, cast(Mapping[str, Any], value), what, read, denylist)
    return _evidence(kind, cast(Mapping[str, Any], value), what, read, anchors)


def _text(value: Any, name: str) -> str:
    """A member of a case of another shape, where it has it."""
    told = cast(dict[str, Any], value).get(name) if isinstance(value, dict) else None
    return told if isinstance(told, str) else ""


def _proof(kind: str, case: Mapping[str, Any], what: str, read: Read, denylist: Denylist) -> Judged:
    fields = Fields(case, what, EvidenceError)
    name = fields.text("file")
    expected = Fields(fields.take("expected"), what, EvidenceError).text("final")
    title = fields.optional("id")
    shown = title if isinstance(title, str) else name
    try:
        document = parse(read(name))
    except CanonicalError as e:
        return Judged(shown, "INVALID", "malformed", e.detail, expected)
    except EvidenceError as e:
        return Judged(shown, UNJUDGED, e.code, e.detail, expected)
    verdict, code, reason = judge(kind, document, pairing=fastest(), denylist=denylist)
    return Judged(shown, verdict, code, reason, expected)


def _evidence(kind: str, case: Mapping[str, Any], what: str, read: Read, anchors: Anchors) -> Judged:
    fields = Fields(case, what, EvidenceError)
    title, expected, at = fields.text("id"), fields.text("expect"), fields.integer("at")
    files = {role: fields.text(role) for role in ("evidence", "collateral", "leaf", "chain", "crl") if role in case}
    try:
        if "evidence" not in files or kind not in MEDIA_TYPES:
            raise EvidenceError("unsupported", f"no scheme reads {kind!r}")
        contents = {role: read(name) for role, name in files.items()}
        shown = Evidence(MEDIA_TYPES[kind], contents.pop("evidence"))
        claims = _opened(shown, contents, anchors, at * 1000)
    except AttestError as e:
        return Judged(title, UNJUDGED if e.code == UNREAD else "reject", e.code, e.detail, expected)
    status = claims.tcb.status if claims.tcb else ""
    return Judged(title, status or "ok", "", "", expected)


def _opened(evidence: Evidence, files: Mapping[str, bytes], anchors: Anchors, now: int) -> Claims:
    """The claims of evidence that is authentic, under a vendor's root, and not of a debug environment."""
    scheme = next((scheme for scheme in SCHEMES if evidence.media_type in scheme.media_types), None)
    if scheme is None:
        raise EvidenceError("unsupported", f"no scheme reads {evidence.media_type}")
    documents = {name: files[_role(name)] for name in scheme.wants(evidence) if _role(name) in files}
    claims = scheme.open(evidence, Endorsements(anchors, documents), now)
    if not claims.anchored:
        raise EvidenceError("root", f"{claims.scheme} evidence under {claims.anchor[:16]}, not a vendor's root")
    if claims.debug:
        raise EvidenceError("debug", "the environment is in debug mode")
    return claims


def _role(document: str) -> str:
    """Which of a case's files stands for an endorsement document."""
    if document.startswith("intel/"):
        return "collateral"
    last = document.rpartition("/")[2]
    return last if last in ("chain", "crl") else "leaf"
