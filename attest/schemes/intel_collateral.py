"""What Intel says of a family of platforms: DCAP's QuoteCollateralV3 in JSON, and what dcap-qvl does not check of it.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import dcap_qvl
from cryptography import x509

from attest.encoding import Fields
from attest.errors import EvidenceError
from attest.schemes.intel_quote import read_pem
from attest.schemes.intel_refusals import refusal
from attest.x509 import milliseconds

MAX_COLLATERAL = 256 << 10
MAX_MEMBER = 192 << 10
"""Room for a list of 1800 revoked platforms: Intel's had 57 in February 2026 and 129 in July."""
_SIGNER = [bytes.fromhex("0603550403") + bytes([tag, 21]) + b"Intel SGX TCB Signing" for tag in (0x0C, 0x13)]
"""The common name, in DER, of what signs TCB information and enclave identities; its issuer, the root, has another."""

_TEXTS = ("tcb_info", "qe_identity", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain")
_BINARY = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Collateral:
    """What is needed of the nine members, and what the library made of all.

    `signers` and `roots` are the first and last certificates of the two chains, in DER.
    """

    tcb_info: str
    qe_identity: str
    signers: tuple[bytes, bytes]
    roots: tuple[bytes, bytes]
    root_crl: bytes
    pck_crl: bytes
    parsed: dcap_qvl.QuoteCollateralV3

    def check_signers(self, root: bytes) -> None:
        """What signed is what Intel signs with; code `chain`. Call it once the library accepted the certificates.

        The library takes any certificate under the root, and each platform has one: whoever extracts a single
        platform's key could else declare all of them up to date. It never looks at the copies of `root` beside them.
        """
        if set(self.roots) != {root}:
            raise EvidenceError("chain", "the collateral is under another root than the quote")
        if not all(any(name in signer for name in _SIGNER) for signer in self.signers):
            raise EvidenceError("chain", "the collateral is signed by something else than Intel's TCB signing key")

    def issued(self, pce_id: bytes) -> int:
        """When the oldest part that ages within a month was issued, ms; call it once the library accepted all of it.

        What became known later, such a part does not know. The list of revoked authorities is made once a year, so its
        date says nothing of the rest. Code `chain` for TCB information of another PCE than `pce_id`, which the library
        does not compare.
        """
        try:
            dates = [datetime.fromisoformat(_member(text, "issueDate")) for text in (self.tcb_info, self.qe_identity)]
            dates.append(x509.load_der_x509_crl(self.pck_crl).last_update_utc)
            pce, first = bytes.fromhex(_member(self.tcb_info, "pceId")), min(map(milliseconds, dates))
        except (ValueError, TypeError) as e:
            raise EvidenceError("malformed", f"the collateral's dates or PCE cannot be read: {e!r:.80}") from e
        if pce != pce_id:
            raise EvidenceError("chain", "the collateral is of another provisioning enclave (PCE)")
        return first


def read_collateral(data: bytes, name: str) -> Collateral:
    """Exactly the members that Intel's services answer with; `malformed` for others.

    But for the certificates of one platform, which dcap-qvl writes beside what it fetched: those of the quote decide,
    and the library never sees these.
    """
    if len(data) > MAX_COLLATERAL:
        raise EvidenceError("malformed", f"{name} is longer than {MAX_COLLATERAL} bytes")
    fields = Fields.parse(data, name, EvidenceError)
    texts = {name: fields.text(name, maximum=MAX_MEMBER) for name in _TEXTS}
    binary = [_hex(fields.text(name, maximum=MAX_MEMBER), name) for name in _BINARY]
    fields.optional("pck_certificate_chain")
    fields.done()
    info, identity, info_chain, identity_chain, crl_chain = texts.values()
    root_crl, pck_crl, info_signature, identity_signature = binary
    first = read_pem(info_chain.encode(), 2, name)
    second = first if identity_chain == info_chain else read_pem(identity_chain.encode(), 2, name)
    parsed = told(
        lambda: dcap_qvl.QuoteCollateralV3(
            crl_chain,
            root_crl,
            pck_crl,
            info_chain,
            info,
            info_signature,
            identity_chain,
            identity,
            identity_signature,
        )
    )
    return Collateral(info, identity, (first[0], second[0]), (first[1], second[1]), root_crl, pck_crl, parsed)


def told(call: Callable[[], T]) -> T:
    """What the library returns; its errors, and panics if it had any, become ours."""
    try:
        return call()
    except ValueError as e:
        raise refusal(str(e)) from e
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as e:  # a panic of Rust's, where the wheel does not abort on it, is no Exception
        raise EvidenceError("malformed", f"dcap-qvl failed: {type(e).__name__}") from e


def _hex(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as e:
        raise EvidenceError("malformed", f"{name} in the collateral is not hex") from e


def _member(signed: str, name: str) -> str:
    """A text in JSON that Intel signed, where such a name stands once; to parse it all takes its time."""
    found = re.search(rf'"{name}"\s*:\s*"([^"]{{1,40}})"', signed)
    return found[1] if found else ""
