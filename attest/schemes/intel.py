"""Intel SGX and TDX: DCAP quotes, judged with `dcap-qvl` against collateral that Intel signed.

The library decides on signatures, certificates, revocation and TCB matching; what it leaves open is decided here: the
quote's length (it ignores what follows), the root (any that the quote carries is tried, and named), who may sign
collateral, debug. Bytes of a quote are not unique (s and n - s), so nothing is ever keyed on them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dcap_qvl

from attest.claims import Claims, Endorsements, Tcb
from attest.encoding import sha256_hex
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.intel_collateral import Collateral, read_collateral, told
from attest.schemes.intel_quote import TD15, Quote, check_names, read_quote
from attest.schemes.intel_refusals import STATUSES, check_certificates, closer
from attest.x509 import check_crl, is_revoked, load_certificate, load_crl

TDX_MEDIA_TYPE = "application/vnd.etmcp.tdx-quote"
SGX_MEDIA_TYPE = "application/vnd.etmcp.sgx-quote"
VENDOR = "intel"
LAUNCH = {"tdx": frozenset({"mrtd", "rtmr1", "rtmr2", "rtmr3"}), "sgx": frozenset({"mrenclave"})}
_SEPT_VE_DISABLE = 1 << 28
_SGX_COMPONENTS = tuple(f"sgx{index:02}" for index in range(16))
_TDX_COMPONENTS = tuple(f"tdx{index:02}" for index in range(16))


class TdxScheme:
    """Opens quotes of trust domains, versions 4 and 5."""

    media_types: Sequence[str] = (TDX_MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The collateral of the platform's family."""
        return (read_quote(evidence.body, "tdx").document,)

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`.

        Codes: `malformed`, `unsupported`, `chain`, `signature`, `expired`, `not_yet_valid`, `revoked`, `tcb`, `debug`.
        """
        return open_quote(read_quote(evidence.body, "tdx"), endorsements, now)


class SgxScheme:
    """Opens quotes of enclaves, version 3."""

    media_types: Sequence[str] = (SGX_MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The collateral of the platform's family."""
        return (read_quote(evidence.body, "sgx").document,)

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `TdxScheme.open`."""
        return open_quote(read_quote(evidence.body, "sgx"), endorsements, now)


def open_quote(quote: Quote, endorsements: Endorsements, now: int) -> Claims:
    """The claims of a quote, whatever evidence it came in; raises as `TdxScheme.open`."""
    if quote.debug:
        raise EvidenceError("debug", "the quote is of a debug environment")
    name = quote.document
    data = endorsements.documents.get(name)
    if data is None:
        raise EvidenceError("chain", f"there is no {name}, what Intel says of this platform's family")
    collateral = read_collateral(data, name)
    check_names(quote.chain[:1], quote.chain[1])
    check_names({*quote.chain[1:], *collateral.signers, *collateral.roots}, quote.chain[2])
    said = _verify(quote, collateral, now)
    expires_at = _expiry(said, now)
    collateral.check_signers(quote.chain[2])
    if name in endorsements.untimely:
        _check_lists(quote, collateral.signers, read_collateral(endorsements.untimely[name], name))
    tcb, pck = said["tcb"], said["platform"]["pck"]
    status = str(tcb["status"])
    if status not in STATUSES:
        raise EvidenceError("tcb", f"TCB status {status[:40]!r} is not a known one")
    anchor = sha256_hex(quote.chain[2])
    return Claims(
        scheme=f"intel-{quote.tee}",
        assurance="hardware",
        anchor=anchor,
        standing=endorsements.standing(VENDOR, anchor),
        report_data=quote.report_data,
        debug=False,
        issued_at=0,
        expires_at=expires_at,
        measurement=_registers(quote),
        launch=LAUNCH[quote.tee],
        details=_details(quote, said),
        tcb=Tcb(status, frozenset(map(str, tcb["advisory_ids"])), _versions(quote, said)),
        instance=f"ppid:{bytes(pck['ppid']).hex()}" if any(pck["ppid"]) else None,
        collateral_date=collateral.issued(bytes(pck["pce_id"])),
    )


def _verify(quote: Quote, collateral: Collateral, now: int) -> Mapping[str, Any]:
    """What the library verified under the quote's own root, with no policy of its own but what no policy may waive."""
    seconds, root = now // 1000, quote.chain[2]
    policy = told(lambda: dcap_qvl.QuotePolicy.claims_only(seconds))
    try:
        verified = told(
            lambda: dcap_qvl.QuoteVerifier(root).verify_with_policy(quote.data, collateral.parsed, seconds, policy)
        )
    except EvidenceError as e:
        if e.code == "chain":
            check_certificates(quote.chain, collateral.signers, collateral.root_crl, collateral.pck_crl, at=now)
        raise closer(e, (collateral.tcb_info, collateral.qe_identity)) from e
    return told(lambda: json.loads(verified.to_json()))


def _check_lists(quote: Quote, signers: Sequence[bytes], untimely: Collateral) -> None:
    """Nothing that vouches for the quote is named by these revocation lists, whatever their dates."""
    pck, issuer, root = (load_certificate(data, "the quote's certificate") for data in quote.chain)
    others = [load_certificate(data, "the collateral's certificate") for data in signers]
    for data, by, certificates in ((untimely.root_crl, root, [issuer, *others]), (untimely.pck_crl, issuer, [pck])):
        listed = load_crl(data, "the collateral's revocation list")
        check_crl(listed, by, None)
        if any(is_revoked(listed, certificate) for certificate in certificates):
            raise EvidenceError("revoked", "Intel has revoked the platform's certificate, or one above it")


def _expiry(said: Mapping[str, Any], now: int) -> int:
    """The first end, ms, of all that was verified; the library holds not all beginnings and not the root's end."""
    begin = max(said["latest_issue_date"], said["qe_iden_latest_issue_date"])
    end = min(said["earliest_expiration_date"], said["qe_iden_earliest_expiration_date"])
    if now // 1000 < begin:
        raise EvidenceError("not_yet_valid", "a certificate or a part of the collateral begins later")
    if now // 1000 > end:
        raise EvidenceError("expired", "a certificate or a part of the collateral is past its end")
    return end * 1000


def _registers(quote: Quote) -> Mapping[str, str]:
    if quote.tee == "sgx":
        return {"mrenclave": quote.part(64, 32), "mrsigner": quote.part(128, 32)}
    return {"mrtd": quote.part(136, 48)} | {f"rtmr{index}": quote.part(328 + 48 * index, 48) for index in range(4)}


def _details(quote: Quote, said: Mapping[str, Any]) -> Mapping[str, str]:
    """What else the processor says of the workload, and Intel of the platform."""
    pck = said["platform"]["pck"]
    details = {
        "quoteVersion": str(quote.version),
        "fmspc": bytes(pck["fmspc"]).hex(),
        "qeStatus": str(said["qe"]["tcb_level"]["tcbStatus"]),
    }
    if pck["platform_instance_id"]:
        details["platformInstanceId"] = bytes(pck["platform_instance_id"]).hex()
    if quote.tee == "sgx":
        return details | {
            "attributes": quote.part(48, 16),
            "miscSelect": quote.part(16, 4),
            "isvExtProdId": quote.part(32, 16),
            "configId": quote.part(192, 64),
            "isvProdId": str(quote.number(256, 2)),
            "isvSvn": str(quote.number(258, 2)),
        }
    details |= {
        "tdAttributes": quote.part(120, 8),
        "septVeDisable": "yes" if quote.number(120, 8) & _SEPT_VE_DISABLE else "no",
        "xfam": quote.part(128, 8),
        "mrSeam": quote.part(16, 48),
        "mrSignerSeam": quote.part(64, 48),
        "mrConfigId": quote.part(184, 48),
        "mrOwner": quote.part(232, 48),
        "mrOwnerConfig": quote.part(280, 48),
    }
    return details | ({"teeTcbSvn2": quote.part(584, 16)} if len(quote.body) == TD15 else {})


def _versions(quote: Quote, said: Mapping[str, Any]) -> Mapping[str, int]:
    pck = said["platform"]["pck"]
    versions: dict[str, int] = dict(zip(_SGX_COMPONENTS, pck["cpu_svn"], strict=True))
    versions["pce"] = pck["pce_svn"]
    versions["evaluationDataNumber"] = min(said["tcb"]["eval_data_number"], said["qe"]["tcb_eval_data_number"])
    if quote.tee == "sgx":
        return versions | {"isvSvn": quote.number(258, 2)}
    return versions | dict(zip(_TDX_COMPONENTS, quote.body[:16], strict=True))
