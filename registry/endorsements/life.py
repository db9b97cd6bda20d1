"""From when to when a document holds, and which of two is newer. Nothing here checks a signature."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from attest.errors import EvidenceError
from attest.x509 import load_certificates, load_crl, milliseconds
from registry.endorsements.names import AmdDocument, IntelCollateral, Name


@dataclass(frozen=True, slots=True)
class Life:
    """Milliseconds since 1970. `parts` are the ages of what the document is put together from, always in one order:
    a version (of TCB information, of a revocation list), then a date."""

    parts: tuple[tuple[int, int], ...]
    issued_at: int
    expires_at: int

    def goes_back(self, held: "Life") -> bool:
        """Whether any part is older than in `held`: a service may renew one part and hand out an old other."""
        return any(mine < theirs for mine, theirs in zip(self.parts, held.parts, strict=True))

    def fresh(self, now: int) -> bool:
        """Whether it is in the first half of its life."""
        return self.issued_at <= now < (self.issued_at + self.expires_at) // 2

    def valid(self, now: int) -> bool:
        """Whether all of it holds."""
        return self.begins_at <= now <= self.expires_at

    @property
    def begins_at(self) -> int:
        """When its newest part was issued."""
        return max(date for _, date in self.parts)


def life_of(name: Name, data: bytes) -> Life:
    """Read it from a document; raises `ValueError` where it is none of that name."""
    try:
        if isinstance(name, IntelCollateral):
            return _collateral(json.loads(data))
        if name.part == "crl":
            return _crl(load_crl(data, "the revocation list"))
        return _certificates(name, data)
    except (EvidenceError, KeyError, TypeError, RecursionError, ArithmeticError) as e:
        raise ValueError(str(e)) from e


def _collateral(outer: dict[str, Any]) -> Life:
    tcb, identity = json.loads(outer["tcb_info"]), json.loads(outer["qe_identity"])
    lists = [load_crl(bytes.fromhex(outer[part]), part) for part in ("pck_crl", "root_ca_crl")]
    parts = [_crl(each) for each in lists]
    told = [(int(part["tcbEvaluationDataNumber"]), _date(part["issueDate"])) for part in (tcb, identity)]
    # The root's list is made once a year: it decides when all of this ends, and not how old the rest is.
    issued = min(parts[0].issued_at, *(begin for _, begin in told))
    ends = min(*(part.expires_at for part in parts), *(_date(part["nextUpdate"]) for part in (tcb, identity)))
    return Life((*told, *(part.parts[0] for part in parts)), issued, ends)


def _crl(listed: x509.CertificateRevocationList) -> Life:
    if listed.next_update_utc is None:
        raise ValueError("a revocation list without an end")
    try:
        number = listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = 0
    begins = milliseconds(listed.last_update_utc)
    return Life(((number, begins),), begins, milliseconds(listed.next_update_utc))


def _certificates(name: AmdDocument, data: bytes) -> Life:
    found = load_certificates(data, name.part, maximum=3)
    begins = max(milliseconds(each.not_valid_before_utc) for each in found)
    return Life(((0, begins),), begins, min(milliseconds(each.not_valid_after_utc) for each in found))


def _date(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
