"""Intel's Provisioning Certification Service, version 4 (api.portal.trustedservices.intel.com), or a cache of it.

The signed parts are cut out of the replies byte for byte: a signature does not survive being written again.
"""

import json
from urllib.parse import unquote

import aiohttp

from registry.endorsements import Unavailable
from registry.endorsements.names import IntelCollateral, read_name
from registry.endorsements.web import get

PCS = "https://api.trustedservices.intel.com"
ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"


class IntelPcs:
    """`base` is the service's address, `root_crl` where the list of the root is; `update` is `standard` or `early`."""

    def __init__(
        self, pool: aiohttp.ClientSession, *, base: str = PCS, root_crl: str = ROOT_CRL, update: str = "standard"
    ) -> None:
        self._pool, self._base, self._root_crl, self._update = pool, base.rstrip("/"), root_crl, update

    async def fetch(self, name: str) -> bytes:
        """The collateral of one family, as `dcap-qvl` reads it. Raises `Unavailable`."""
        wanted = read_name(name)
        if not isinstance(wanted, IntelCollateral):
            raise Unavailable(f"{name} is nothing of Intel's")
        api = f"{self._base}/{wanted.tee}/certification/v4"
        tcb, told = await get(self._pool, f"{api}/tcb?fmspc={wanted.fmspc}&update={self._update}")
        tcb_info, tcb_signature = _signed(tcb, "tcbInfo")
        tcb_chain = _chain(told.get("TCB-Info-Issuer-Chain") or told.get("SGX-TCB-Info-Issuer-Chain"), "TCB info")
        identity, told = await get(self._pool, f"{api}/qe/identity?update={self._update}")
        qe_identity, qe_signature = _signed(identity, "enclaveIdentity")
        qe_chain = _chain(told.get("SGX-Enclave-Identity-Issuer-Chain"), "QE identity")
        lists = f"{self._base}/sgx/certification/v4/pckcrl?ca={wanted.authority}&encoding=der"
        crl, told = await get(self._pool, lists)
        crl_chain = _chain(told.get("SGX-PCK-CRL-Issuer-Chain"), "PCK revocation list")
        root_crl, _ = await get(self._pool, self._root_crl)
        document = {
            "pck_crl_issuer_chain": crl_chain,
            "root_ca_crl": _der(root_crl).hex(),
            "pck_crl": crl.hex(),
            "tcb_info_issuer_chain": tcb_chain,
            "tcb_info": tcb_info,
            "tcb_info_signature": tcb_signature,
            "qe_identity_issuer_chain": qe_chain,
            "qe_identity": qe_identity,
            "qe_identity_signature": qe_signature,
        }
        return json.dumps(document, separators=(",", ":")).encode()


def _signed(reply: bytes, member: str) -> tuple[str, str]:
    """The text of the signed member of a reply, untouched, and the signature in hex."""
    try:
        text = reply.decode()
        head = f'{{"{member}":'
        if not text.startswith(head):
            raise ValueError(f"does not begin with {head}")
        _, end = json.JSONDecoder().raw_decode(text, len(head))
        rest = json.loads("{" + text[end:].lstrip().removeprefix(","))
        return text[len(head) : end], bytes.fromhex(rest["signature"]).hex()
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise Unavailable(f"Intel's reply is no {member}: {e}") from e


def _der(body: bytes) -> bytes:
    """The list of the root: as it is, or in hex, which is how Intel's own cache (PCCS, `rootcacrl`) hands it out."""
    try:
        return body if body[:1] == b"\x30" and body[1:2] > b"\x7f" else bytes.fromhex(body.decode())
    except ValueError as e:
        raise Unavailable(f"the list of Intel's root is neither DER nor hex: {e}") from e


def _chain(header: str | None, what: str) -> str:
    if not header or "BEGIN CERTIFICATE" not in (chain := unquote(header)):
        raise Unavailable(f"Intel's reply has no certificates for the {what}")
    return chain
