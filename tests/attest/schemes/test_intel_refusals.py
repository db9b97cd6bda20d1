"""dcap-qvl tells its refusals apart by text only: this is the list that the codes rest on, held against the library.

Another version that words one differently fails here, and not by a milder code in some verdict.
"""

import json
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from attest.schemes.intel_refusals import REFUSALS, refusal
from tests.attest.schemes.quotes import ENCLAVES, INTEL, NOW, SECOND, TODAY, Tried
from tests.attest.schemes.test_intel_chain import leaf, module, qe, replaced, status, tcb
from tests.pki.intel import ROOT, SEPT_VE_DISABLE, octets
from tests.pki.intel_tcb import TDX_SVN


def bit(number: int) -> Tried:
    return Tried(INTEL.quote(attributes=SEPT_VE_DISABLE | 1 << number))


def body(offset: int, value: bytes) -> Tried:
    return Tried(INTEL.quote(version=5, body_type=3, patches={54 + offset: value}))


RENAMED = INTEL.crl("Somebody", "root").hex()
"""A list signed by the root's key, of an authority of another name."""
GOLDEN: tuple[tuple[str, Tried, str], ...] = (
    ("Debug mode is enabled", Tried(ENCLAVES.enclave_quote(attributes=7), intel=ENCLAVES), "debug"),
    ("Reserved bits in TD attributes are set", bit(40), "unsupported"),
    ("TD profiling is enabled", bit(4), "debug"),
    ("TD migration is enabled", bit(29), "unsupported"),
    ("SEPT_VE_DISABLE is not enabled", Tried(INTEL.quote(attributes=0)), "unsupported"),
    ("Invalid MR service TD", body(600, b"\1"), "unsupported"),
    ("TCB status is invalid: Revoked", tcb(status("Revoked")), "revoked"),
    ("TCB status is invalid: Revoked", qe(status("Revoked")), "revoked"),
    ("TCB status is invalid: Revoked", tcb(module("Revoked")), "revoked"),
    ("TCBInfo issue date is in the future", Tried(collateral=INTEL.collateral(issued=TODAY + SECOND)), "not_yet_valid"),
    ("TCBInfo expired", Tried(collateral=INTEL.collateral(until=TODAY - SECOND)), "expired"),
    (
        "QE Identity issue date is in the future",
        qe(lambda it: it.update(issueDate="2100-01-01T00:00:00Z")),
        "not_yet_valid",
    ),
    ("QE Identity expired", qe(lambda it: it.update(nextUpdate="2020-01-01T00:00:00Z")), "expired"),
    ("CrlExpired { time: ", replaced(root_ca_crl=INTEL.crl(ROOT, "root", end=TODAY - SECOND).hex()), "expired"),
    ("Signature is invalid for tcb_info in quote_collateral", replaced(tcb_info_signature="00" * 64), "signature"),
    (
        "Signature is invalid for qe_identity in quote_collateral",
        replaced(qe_identity_signature="00" * 64),
        "signature",
    ),
    ("Signature is invalid for qe_report in quote", Tried(INTEL.quote(qe_key="other")), "signature"),
    ("ISV enclave report signature is invalid", Tried(INTEL.quote(key="other")), "signature"),
    ("QE report hash mismatch", Tried(INTEL.quote(qe_patches={320: bytes(32)})), "signature"),
    ("No matching TCB level found", Tried(INTEL.quote(tee_tcb_svn=bytes(16))), "tcb"),
    ("Unrecognized TCB status TDRelaunchAdvised in TCB Info", tcb(status("TDRelaunchAdvised")), "tcb"),
    ("TDX module identity check", Tried(INTEL.quote(patches={48 + 64: b"\1"})), "tcb"),
    ("TDX module TCB level check", Tried(INTEL.quote(tee_tcb_svn=bytes([1, *TDX_SVN[1:]]))), "tcb"),
    ("QE ISVSVN 3 is below minimum required 4", Tried(INTEL.quote(qe_patches={258: b"\3"})), "tcb"),
    ("Failed to evaluate the current TDX TCB", body(584, bytes(16)), "tcb"),
    ("Failed to verify certificate chain", Tried(collateral=INTEL.collateral(revoked=[INTEL.pck])), "chain"),
    ("Failed to verify certificate chain", leaf(INTEL.certify(end=TODAY - SECOND)), "chain"),
    ("CertRevoked", Tried(collateral=INTEL.collateral(revoked_authorities=[INTEL.root])), "revoked"),
    ("UnknownRevocationStatus", replaced(root_ca_crl=RENAMED), "chain"),
    ("InvalidCrlSignatureForPublicKey", replaced(root_ca_crl=RENAMED, pck_crl=INTEL.crl(ROOT, "other").hex()), "chain"),
    ("Failed to parse root CA CRL", replaced(root_ca_crl=""), "chain"),
    ("Failed to parse PCK CRL", replaced(pck_crl=""), "chain"),
    ("Fmspc mismatch", tcb(lambda it: it.update(fmspc="00A067110000")), "chain"),
    ("TDX quote with non-TDX TCB info in the collateral", tcb(lambda it: it.update(id="SGX")), "chain"),
    ("SGX quote with non-SGX TCB info in the collateral", tcb(lambda it: it.update(id="TDX"), ENCLAVES), "chain"),
    ("Unsupported QE Identity id/version for the quote TEE type", qe(lambda it: it.update(version=9)), "chain"),
    ("No TCB levels found in QE Identity", qe(lambda it: it.update(tcbLevels=[])), "chain"),
    ("QE MRSIGNER mismatch", qe(lambda it: it.update(mrsigner="00" * 32)), "chain"),
    ("QE ISVPRODID mismatch", qe(lambda it: it.update(isvprodid=9)), "chain"),
    ("QE MISCSELECT mismatch", Tried(INTEL.quote(qe_patches={16: b"\1"})), "chain"),
    ("QE ATTRIBUTES mismatch", Tried(INTEL.quote(qe_patches={48: b"\x35"})), "chain"),
    ("QE report validation failed", Tried(INTEL.quote(qe_patches={48: b"\x17"})), "chain"),
    ("Failed to decode TcbInfo", tcb(status("Splendid")), "malformed"),
    ("Failed to decode QeIdentity", qe(status("Splendid")), "malformed"),
    ("Failed to parse TCB Info issue date", tcb(lambda it: it.update(issueDate="yesterday")), "malformed"),
    ("SGX component count mismatch", tcb(lambda it: it["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop()), "malformed"),
)


@pytest.mark.parametrize(("text", "tried", "code"), GOLDEN, ids=[f"{code}-{text}" for text, _, code in GOLDEN])
def test_the_library_says_so_and_it_gets_this_code(text: str, tried: Tried, code: str) -> None:
    message = said(tried)
    assert message.removeprefix("Verification failed: ").startswith(text)
    assert refusal(message).code == code


def test_each_text_that_has_a_code_is_in_the_library() -> None:
    """Also those that nothing here can bring about."""
    assert dcap_qvl.__file__ is not None
    files = Path(dcap_qvl.__file__).parent.glob("_dcap_qvl.*")
    code = b"".join(file.read_bytes() for file in files if file.suffix != ".pyi")
    # In the binary a text breaks where a value is put in.
    broken = {"TCB status is invalid: Revoked": "TCB status is invalid: ", "CrlExpired": "CrlExpired"}
    assert [text for text, _ in REFUSALS if broken.get(text, text).encode() not in code] == []


def test_what_is_not_in_the_list_is_malformed_and_short() -> None:
    error = refusal("Verification failed: something\nnew " + "x" * 1000)
    assert error.code == "malformed"
    assert error.detail.startswith("dcap-qvl: something new xxx")
    assert len(error.detail) < 400


def test_a_list_longer_than_the_start_decides_not_by_what_an_attacker_can_write() -> None:
    assert refusal(f"Failed to decode {octets('x', 4)!r} CrlExpired").code == "malformed"


def said(tried: Tried) -> str:
    """The text of the library itself, with nothing of ours before it."""
    made = tried.intel.quote() if tried.intel.tee == "tdx" else tried.intel.enclave_quote()
    members: dict[str, Any] = json.loads(tried.collateral or tried.intel.collateral())
    collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(members))
    verifier = dcap_qvl.QuoteVerifier(tried.intel.root.public_bytes(Encoding.DER))
    policy = dcap_qvl.QuotePolicy.claims_only(NOW // 1000)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is what is asked for
        verifier.verify_with_policy(tried.quote or made, collateral, NOW // 1000, policy)
    return str(caught.value)
