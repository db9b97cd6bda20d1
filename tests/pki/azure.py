"""A fake paravisor of Azure's: HCL reports over the fake AMD's reports, right and wrong."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.pki.amd import FakeAmd

CONFIGURATION: Mapping[str, Any] = {
    "console-enabled": True,
    "current-time": 1_795_000_000,
    "secure-boot": True,
    "tpm-enabled": True,
    "vmUniqueId": "0F8B2D50-1C2E-4B0A-9A0F-000000000001",
}
DIGESTS = {1: "sha256", 2: "sha384", 3: "sha512"}


def jwk(key: rsa.RSAPublicKey, name: str = "HCLAkPub", **members: Any) -> dict[str, Any]:
    """A key as the runtime data has it."""
    modulus = key.public_numbers().n.to_bytes(key.key_size // 8, "big")
    number = urlsafe_b64encode(modulus).rstrip(b"=").decode()
    return {"kid": name, "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": number} | members


def runtime(*keys: Mapping[str, Any], **members: Any) -> bytes:
    """Runtime data with these keys."""
    told = {"keys": list(keys), "vm-configuration": CONFIGURATION, "user-data": "00" * 64} | members
    return json.dumps(told, separators=(",", ":")).encode()


def hcl_report(
    amd: FakeAmd,
    data: bytes,
    *,
    kind: int = 2,
    digest: int = 1,
    length: int | None = None,
    magic: bytes = b"HCLA",
    bound: bytes | None = None,
    vmpl: int = 0,
    trailing: bytes = b"",
    **report: Any,
) -> bytes:
    """An HCL report whose hardware report vouches for `data`, or for `bound`; `report` as for `FakeAmd.report`."""
    vouched = hashlib.new(DIGESTS.get(digest, "sha256"), data).digest() if bound is None else bound
    header = magic + (2).to_bytes(4, "little") + bytes(24)
    size = len(data) if length is None else length
    fields = (20 + size, 1, kind, digest, size)
    hardware = amd.report(report_data=vouched.ljust(64, b"\0"), vmpl=vmpl, **report)
    return header + hardware + b"".join(field.to_bytes(4, "little") for field in fields) + data + trailing
