"""From when to when a document holds, and which of two is newer. Nothing here checks a signature."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from attest.errors import EvidenceError
from attest.x509 import load_certificates, load_crl, milliseconds
from registry.endorsements.names import AmdDocument, IntelCollateral, Name


@dataclass(frozen=True, slots=True, order=True)
class Life:
    """Ordered by age: `version` (of TCB information, of a revocation list) before dates. Milliseconds since 1970."""

    version: int
    issued_at: int
    expires_at: int

    def fresh(self, now: int) -> bool:
        """Whether it is in the first half of its life."""
        return self.issued_at <= now < (self.issued_at + self.expires_at) // 2

    def valid(self, now: int) -> bool:
        """Whether it holds."""
        return self.issued_at <= now <= self.expires_at


def life_of(name: Name, data: bytes) -> Life:
    """Read it from a document; raises `ValueError` where it is none of that name."""
    try:
        if isinstance(name, IntelCollateral):
            return _collateral(json.loads(data))
        if name.part == "crl":
            return _crl(load_crl(data, "the revocation list"))
        return _certificates(name, data)
    except (EvidenceError, KeyError, TypeError, RecursionError) as e:
        raise ValueError(str(e)) from e


def _collateral(outer: dict[str, Any]) -> Life:
    tcb, identity = json.loads(outer["tcb_info"]), json.loads(outer["qe_identity"])
    lists = [load_crl(bytes.fromhex(outer[part]), part) for part in ("pck_crl", "root_ca_crl")]
    parts = [_crl(each) for each in lists]
    dates = [(_date(part["issueDate"]), _date(part["nextUpdate"])) for part in (tcb, identity)]
    # The root's list is made once a year: it decides when all of this ends, and not how old the rest is.
    issued = min(parts[0].issued_at, *(begin for begin, _ in dates))
    ends = min(*(part.expires_at for part in parts), *(end for _, end in dates))
    return Life(int(tcb["tcbEvaluationDataNumber"]), issued, ends)


def _crl(listed: x509.CertificateRevocationList) -> Life:
    if listed.next_update_utc is None:
        raise ValueError("a revocation list without an end")
    try:
        number = listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = 0
    return Life(number, milliseconds(listed.last_update_utc), milliseconds(listed.next_update_utc))


def _certificates(name: AmdDocument, data: bytes) -> Life:
    found = load_certificates(data, name.part, maximum=3)
    begins = max(milliseconds(each.not_valid_before_utc) for each in found)
    return Life(0, begins, min(milliseconds(each.not_valid_after_utc) for each in found))


def _date(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
