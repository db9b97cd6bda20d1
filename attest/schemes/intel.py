"""Intel SGX and TDX: DCAP quotes, judged with `dcap-qvl` against collateral that Intel signed.

The library decides on signatures, certificates, revocation and TCB matching; what it leaves open is decided here: the
quote's length (it ignores what follows), the root (any that the quote carries is tried, and named), debug. Bytes of a
quote are not unique, so nothing is ever keyed on them.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import dcap_qvl

from attest.claims import Claims, Endorsements, Tcb
from attest.encoding import sha256_hex
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.intel_quote import Quote, Tee, read_quote, tdx_details, tdx_fields
from attest.schemes.intel_refusals import refusal
from attest.x509 import load_crl, milliseconds

TDX_MEDIA_TYPE = "application/vnd.etmcp.tdx-quote"
SGX_MEDIA_TYPE = "application/vnd.etmcp.sgx-quote"
VENDOR = "intel"
STATUSES = frozenset(
    {
        *("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"),
        *("OutOfDate", "OutOfDateConfigurationNeeded"),
    }
)
"""Of a platform that is not revoked (Intel SGX and TDX PCS API version 4, `tcbStatus`)."""
MAX_COLLATERAL = 256 << 10
_END = b"-----END CERTIFICATE-----"
_BEGIN = b"-----BEGIN CERTIFICATE-----"


class TdxScheme:
    """Opens quotes of trust domains, versions 4 and 5."""

    media_types: Sequence[str] = (TDX_MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The collateral of the platform's family."""
        return (_document(read_quote(evidence.body, "tdx"), "tdx"),)

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`.

        Codes: `malformed`, `unsupported`, `chain`, `signature`, `expired`, `not_yet_valid`, `revoked`, `tcb`, `debug`.
        """
        return open_tdx(evidence.body, endorsements, now)


def open_tdx(data: bytes, endorsements: Endorsements, now: int) -> Claims:
    """The claims of a TDX quote, whatever evidence it came in; raises as `TdxScheme.open`."""
    quote = read_quote(data, "tdx")
    return _open(quote, "tdx", endorsements, now, tdx_fields(quote), tdx_details(quote))


class SgxScheme:
    """Opens quotes of enclaves, version 3."""

    media_types: Sequence[str] = (SGX_MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The collateral of the platform's family."""
        return (_document(read_quote(evidence.body, "sgx"), "sgx"),)

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `TdxScheme.open`."""
        quote = read_quote(evidence.body, "sgx")
        registers = {"mrenclave": quote.part(64, 32), "mrsigner": quote.part(128, 32)}
        details = {
            "attributes": quote.part(48, 16),
            "isvProdId": str(quote.number(256, 2)),
            "isvSvn": str(quote.number(258, 2)),
        }
        return _open(quote, "sgx", endorsements, now, registers, details)


def _document(quote: Quote, tee: Tee) -> str:
    """The name of the collateral: by family (FMSPC) and by which of Intel's two authorities certified the platform."""
    parsed = _told(lambda: dcap_qvl.parse_quote(quote.data))
    fmspc, authority = _told(parsed.fmspc), _told(parsed.ca)
    if authority not in ("platform", "processor"):
        raise EvidenceError("unsupported", "the quote's certificate is of neither of Intel's two authorities")
    return f"intel/{tee}/{str(fmspc).lower()}/{authority}"


def _open(
    quote: Quote,
    tee: Tee,
    endorsements: Endorsements,
    now: int,
    measurement: Mapping[str, str],
    details: Mapping[str, str],
) -> Claims:
    if quote.debug:
        raise EvidenceError("debug", "the quote is of a debug environment")
    name, root = _document(quote, tee), _root(quote.chain)
    data = endorsements.documents.get(name)
    if data is None:
        raise EvidenceError("chain", f"there is no {name}, what Intel says of this platform's family")
    if len(data) > MAX_COLLATERAL:
        raise EvidenceError("malformed", f"{name} is longer than {MAX_COLLATERAL} bytes")
    seconds = now // 1000
    collateral = _told(lambda: dcap_qvl.QuoteCollateralV3.from_json(data.decode()))
    policy = dcap_qvl.QuotePolicy.claims_only(seconds)
    verified = _told(lambda: dcap_qvl.QuoteVerifier(root).verify_with_policy(quote.data, collateral, seconds, policy))
    said: dict[str, Any] = json.loads(_told(verified.to_json))
    tcb, pck = said["tcb"], said["platform"]["pck"]
    status = str(tcb["status"])
    if status not in STATUSES:
        raise EvidenceError(
            "revoked" if status == "Revoked" else "tcb", f"the platform's TCB status is {status[:40]!r}"
        )
    expires = min(said["earliest_expiration_date"], said["qe_iden_earliest_expiration_date"]) * 1000
    anchor = sha256_hex(root)
    return Claims(
        scheme=f"intel-{tee}",
        assurance="hardware",
        anchor=anchor,
        standing=endorsements.standing(VENDOR, anchor),
        report_data=quote.body[-64:] if tee == "sgx" else quote.body[520:584],
        debug=quote.debug,
        issued_at=0,
        expires_at=expires,
        measurement=measurement,
        launch=frozenset({"mrenclave"} if tee == "sgx" else {"mrtd", "rtmr1", "rtmr2", "rtmr3"}),
        details={**details, "fmspc": bytes(pck["fmspc"]).hex(), "qeStatus": str(said["qe"]["tcb_level"]["tcbStatus"])},
        tcb=Tcb(status, frozenset(map(str, tcb["advisory_ids"])), _versions(quote, said)),
        instance=f"ppid:{bytes(pck['ppid']).hex()}" if pck["ppid"] else None,
        collateral_date=_date(data),
    )


def _versions(quote: Quote, said: Mapping[str, Any]) -> Mapping[str, int]:
    pck = said["platform"]["pck"]
    versions = {f"sgx{index:02}": value for index, value in enumerate(pck["cpu_svn"])}
    versions |= {"pce": pck["pce_svn"], "evaluationDataNumber": said["tcb"]["eval_data_number"]}
    if quote.version > 3:
        versions |= {f"tdx{index:02}": value for index, value in enumerate(quote.body[:16])}
    return versions


def _date(collateral: bytes) -> int:
    """When the oldest part that ages within a month was issued: what became known after it, it does not know.

    The list of revoked authorities is made once a year, so its date says nothing of the rest.
    """
    outer = json.loads(collateral)
    crl = load_crl(_told(lambda: bytes.fromhex(outer["pck_crl"])), "the list of revoked platforms")
    return min(milliseconds(crl.last_update_utc), _issued(outer["tcb_info"]), _issued(outer["qe_identity"]))


def _issued(part: str) -> int:
    return int(datetime.fromisoformat(json.loads(part)["issueDate"]).timestamp() * 1000)


def _root(chain: bytes) -> bytes:
    """The last certificate of a PEM chain, in DER."""
    text, _, rest = chain.rpartition(_END)
    if rest.strip(b"\0\r\n ") or chain.count(_BEGIN) != 3:
        raise EvidenceError("malformed", "the quote's certificates are not three in PEM and nothing else")
    try:
        return base64.b64decode(b"".join(text.rpartition(_BEGIN)[2].split()), validate=True)
    except binascii.Error as e:
        raise EvidenceError("malformed", "the quote's root certificate is not base64") from e


def _told(call: Callable[[], Any]) -> Any:
    """What the library returns; its errors, and panics if it had any, become ours."""
    try:
        return call()
    except ValueError as e:
        raise refusal(str(e)) from e
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as e:  # a panic of Rust's is no Exception
        raise EvidenceError("malformed", f"dcap-qvl failed: {type(e).__name__}") from e
