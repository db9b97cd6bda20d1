"""What Intel says of a family of platforms: DCAP's QuoteCollateralV3 in JSON, and what dcap-qvl does not check of it.

Source: Intel SGX and TDX Provisioning Certification Service API, version 4.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import dcap_qvl
from cryptography import x509
from cryptography.x509.oid import NameOID

from attest.encoding import Fields
from attest.errors import EvidenceError
from attest.schemes.intel_quote import read_pem
from attest.schemes.intel_refusals import refusal
from attest.x509 import load_certificate, load_crl, milliseconds

MAX_COLLATERAL = 256 << 10
MAX_MEMBER = 128 << 10
SIGNER = "Intel SGX TCB Signing"
"""The common name of what signs TCB information and enclave identities."""

_TEXTS = ("tcb_info", "qe_identity", "tcb_info_issuer_chain", "qe_identity_issuer_chain", "pck_crl_issuer_chain")
_BINARY = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Collateral:
    """The nine members, and what the library made of them. `signers` are the first certificates of the two chains."""

    tcb_info: str
    qe_identity: str
    signers: tuple[x509.Certificate, x509.Certificate]
    root_crl: bytes
    pck_crl: bytes
    parsed: dcap_qvl.QuoteCollateralV3

    def check_signers(self) -> None:
        """What signed is what Intel signs with; code `chain`. The library takes any certificate under the root.

        Each platform has one, so the owner of a single extracted key could else declare every platform up to date.
        """
        for signer in self.signers:
            names = [name.value for name in signer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            if names != [SIGNER]:
                raise EvidenceError("chain", f"the collateral is signed by {str(names)[:80]}, not by {SIGNER}")

    def issued(self, pce_id: bytes, at: int) -> int:
        """When the oldest part that ages within a month was issued, ms; call it once the library accepted all of it.

        What became known later, such a part does not know. The list of revoked authorities is made once a year, so its
        date says nothing of the rest. Codes `chain` for TCB information of another PCE than `pce_id`, `not_yet_valid`
        for a revocation list that begins after `at` (ms): the library holds neither.
        """
        try:
            info, identity = json.loads(self.tcb_info), json.loads(self.qe_identity)
            pce, dates = bytes.fromhex(info["pceId"]), [_issued(info), _issued(identity)]
        except (ValueError, KeyError, TypeError) as e:
            raise EvidenceError("malformed", f"the collateral's dates or PCE cannot be read: {e!r:.80}") from e
        if pce != pce_id:
            raise EvidenceError("chain", "the collateral is of another provisioning enclave (PCE)")
        crls = [load_crl(data, "the collateral's revocation list") for data in self.lists]
        authorities, platforms = (milliseconds(crl.last_update_utc) for crl in crls)
        if max(authorities, platforms) > at:
            raise EvidenceError("not_yet_valid", "a revocation list in the collateral begins later")
        return min(platforms, *dates)

    @property
    def lists(self) -> tuple[bytes, bytes]:
        """The revocation lists: of authorities, by the root; of platforms, by their issuer."""
        return self.root_crl, self.pck_crl


def read_collateral(data: bytes, name: str) -> Collateral:
    """Exactly the members that Intel's services answer with; `malformed` for others, such as a chain of one's own."""
    if len(data) > MAX_COLLATERAL:
        raise EvidenceError("malformed", f"{name} is longer than {MAX_COLLATERAL} bytes")
    fields = Fields.parse(data, name, EvidenceError)
    texts = {name: fields.text(name, maximum=MAX_MEMBER) for name in _TEXTS}
    binary = [_hex(fields.text(name, maximum=MAX_MEMBER), name) for name in _BINARY]
    fields.done()
    info, identity, info_chain, identity_chain, crl_chain = texts.values()
    root_crl, pck_crl, info_signature, identity_signature = binary
    first = _signer(info_chain, name)
    second = first if identity_chain == info_chain else _signer(identity_chain, name)
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
    return Collateral(info, identity, (first, second), root_crl, pck_crl, parsed)


def told(call: Callable[[], T]) -> T:
    """What the library returns; its errors, and panics if it had any, become ours."""
    try:
        return call()
    except ValueError as e:
        raise refusal(str(e)) from e
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as e:  # a panic of Rust's is no Exception
        raise EvidenceError("malformed", f"dcap-qvl failed: {type(e).__name__}") from e


def _signer(chain: str, name: str) -> x509.Certificate:
    return load_certificate(read_pem(chain.encode(), 2, name)[0], name)


def _hex(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as e:
        raise EvidenceError("malformed", f"{name} in the collateral is not hex") from e


def _issued(part: Any) -> int:
    return milliseconds(datetime.fromisoformat(part["issueDate"]))
