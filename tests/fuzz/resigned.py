"""What only signed bytes reach: parts of Intel's evidence, spoiled first and then signed by whoever signs them.

Of a certificate and a revocation list these are the bytes that are signed (RFC 5280 sections 4.1 and 5.1).
"""

import json
import ssl
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_crl

from attest.claims import Claims, Endorsements
from attest.evidence import Evidence
from attest.schemes.intel import TDX_MEDIA_TYPE, TdxScheme
from tests.pki.intel import FakeIntel, signature
from tests.pki.intel_tcb import tlv

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
Resigned = tuple[Callable[[bytes], Claims], bytes]
"""What opens evidence that holds these bytes, and those that it accepts."""


def resigned(intel: FakeIntel) -> Mapping[str, Resigned]:
    """By the name of the part."""
    chain = [each.public_bytes(Encoding.DER) for each in (intel.pck, intel.issuer, intel.root)]
    members: dict[str, str] = json.loads(intel.collateral())
    quote = intel.quote()

    def opened(quote: bytes, **changed: str) -> Claims:
        documents = {intel.document_name: json.dumps(members | changed).encode()}
        endorsements = Endorsements({"intel": frozenset({intel.root_sha256})}, documents)
        return TdxScheme().open(Evidence(TDX_MEDIA_TYPE, quote), endorsements, intel.now)

    def under(key: str, signed: bytes) -> bytes:
        made = intel.key(key).sign(signed, ec.ECDSA(SHA256()))
        return tlv(0x30, signed + ECDSA_SHA256 + tlv(0x03, b"\0" + made))

    def certificate(place: int, key: str, signed: bytes) -> Claims:
        made = [*chain[:place], under(key, signed), *chain[place + 1 :]]
        old, new = (ssl.DER_cert_to_PEM_cert(each[2]) for each in (chain, made))  # the root is in the collateral too
        chains = {name: text.replace(old, new) for name, text in members.items() if name.endswith("_chain")}
        return opened(intel.quote(certificates="".join(map(ssl.DER_cert_to_PEM_cert, made)).encode()), **chains)

    def listed(member: str, key: str) -> Resigned:
        signed = load_der_x509_crl(bytes.fromhex(members[member])).tbs_certlist_bytes
        return lambda data: opened(quote, **{member: under(key, data).hex()}), signed

    def text(member: str) -> Resigned:
        def read(data: bytes) -> Claims:
            said = data.decode(errors="replace")
            made = signature(intel.key("signer"), said.encode()).hex()
            return opened(quote, **{member: said, f"{member}_signature": made})

        return read, members[member].encode()

    return {
        "platform": (lambda data: certificate(0, intel.authority, data), intel.pck.tbs_certificate_bytes),
        "authority": (lambda data: certificate(1, "root", data), intel.issuer.tbs_certificate_bytes),
        "root": (lambda data: certificate(2, "root", data), intel.root.tbs_certificate_bytes),
        "revoked platforms": listed("pck_crl", intel.authority),
        "revoked authorities": listed("root_ca_crl", "root"),
        "TCB information": text("tcb_info"),
        "QE identity": text("qe_identity"),
    }
