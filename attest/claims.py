"""What a Scheme makes of Evidence: Claims, and the Endorsements it makes them with (RFC 9334)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

from attest.evidence import Evidence

Assurance = Literal["none", "software", "hardware"]
Standing = Literal["trusted", "test", "unknown"]


def nothing() -> Mapping[str, str]:
    """No entries, and none to come."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Tcb:
    """The security version of the platform.

    `status` is the vendor's own word ("UpToDate"), empty where the vendor has none; `advisories` what is known
    against it ("INTEL-SA-00960"); `versions` its components' security version numbers by name.
    """

    status: str = ""
    advisories: frozenset[str] = frozenset()
    versions: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a Scheme read from authentic Evidence. Times are milliseconds since 1970.

    `anchor` names the trust anchor that the Evidence leads to (a key or the SHA-256 of a certificate, hex) and
    `standing` whether the caller brought it, or brought it as one for tests. `assurance` is the most that Evidence of
    this kind can be worth; what it is worth here depends on the policy (`attest.policy.graded`).
    `measurement` is what the platform measured, by register, in hex; `launch` the registers that have to be held
    against reference values before the Evidence speaks for a program and not only for a platform.
    `self_reported` is what the server merely says of itself, `details` what else the platform says, in plain words.
    `instance` names the one machine ("chip:<hex>"), None where the platform hides it. `issued_at` is 0 where the
    Evidence has no date, `collateral_date` when the endorsements were issued (None: there are none that age).
    """

    scheme: str
    assurance: Assurance
    anchor: str
    standing: Standing
    report_data: bytes
    debug: bool
    issued_at: int
    expires_at: int
    measurement: Mapping[str, str] = field(default_factory=nothing)
    launch: frozenset[str] = frozenset()
    self_reported: Mapping[str, str] = field(default_factory=nothing)
    details: Mapping[str, str] = field(default_factory=nothing)
    tcb: Tcb | None = None
    instance: str | None = None
    collateral_date: int | None = None

    @property
    def anchored(self) -> bool:
        """Whether it leads to an anchor that the caller brought."""
        return self.standing != "unknown"


@dataclass(frozen=True, slots=True)
class Endorsements:
    """What the verifier brings.

    `anchors` are the anchors it trusts: by scheme, or for hardware by vendor (`intel`, `amd`, `aws`, `nvidia`, `tpm`).
    `test_anchors` count too, and every result under one of them says so. `documents` are what vendors say of their
    platforms (certificates, TCB information, revocation lists) under the names that `Scheme.wants` gives; they are
    signed, so it does not matter where they came from. `untimely` are further ones, of another time than that of
    checking: what their revocation lists name is revoked, and nothing else in them counts.
    """

    anchors: Mapping[str, frozenset[str]]
    documents: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    test_anchors: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    untimely: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def beside(self, documents: Mapping[str, bytes]) -> "Endorsements":
        """With these documents too, of which the caller's own come first."""
        return replace(self, documents={**documents, **self.documents})

    def standing(self, scheme: str, anchor: str) -> Standing:
        """What `anchor` is to the caller."""
        if anchor in self.anchors.get(scheme, frozenset()):
            return "trusted"
        return "test" if anchor in self.test_anchors.get(scheme, frozenset()) else "unknown"


class Scheme(Protocol):
    """Reads one family of Evidence."""

    @property
    def media_types(self) -> Sequence[str]: ...

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The names of the documents that `open` looks for, read from Evidence that is not authentic yet.

        A name is a path, also a file's in an offline folder. Raises `EvidenceError`: `malformed`, `unsupported`.
        """
        ...

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """Authenticate `evidence` at `now` (ms) and return its Claims, or raise `EvidenceError`.

        Evidence that is internally sound but leads to no trusted anchor is returned with standing `unknown`.
        """
        ...
