"""The official key record, `v=MCPv1; k=<algorithm>; p=<base64 key>`, and the two algorithms that it knows."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from attest.encoding import b64encode
from registry.errors import Refused

Algorithm = Literal["ed25519", "ecdsap384"]
VERSION = "v=MCPv1"
MAX_RECORD = 1024


@dataclass(frozen=True, slots=True)
class DomainKey:
    """`public` is a raw Ed25519 key (32 bytes) or a compressed point of P-384 (49 bytes)."""

    algorithm: Algorithm
    public: bytes

    def __post_init__(self) -> None:
        """Raises ValueError where the bytes are no such key."""
        if self.algorithm == "ed25519":
            Ed25519PublicKey.from_public_bytes(self.public)
        elif len(self.public) != 49:
            raise ValueError("a P-384 key is a compressed point of 49 bytes")
        else:
            EllipticCurvePublicKey.from_encoded_point(SECP384R1(), self.public)

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed `message`. P-384 signs with SHA-384; its signature is R and S, 48 bytes each."""
        try:
            if self.algorithm == "ed25519":
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
            elif len(signature) == 96:
                halves = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
                key = EllipticCurvePublicKey.from_encoded_point(SECP384R1(), self.public)
                key.verify(encode_dss_signature(*halves), message, ECDSA(SHA384()))
            else:
                return False
        except InvalidSignature:
            return False
        return True


def parse_record(record: str) -> DomainKey:
    """Read one record: exactly these three members, base64 in its one spelling. Raises
    `Refused("malformed-key-record")`.
    """
    fields = [part.strip().partition("=") for part in record[: MAX_RECORD + 1].rstrip("; \n").split(";")]
    members = {name: value for name, _, value in fields}
    try:
        if len(record) > MAX_RECORD or len(members) != len(fields) or set(members) != {"v", "k", "p"}:
            raise ValueError("a key record is v=MCPv1; k=...; p=...")
        if members["v"] != "MCPv1" or members["k"] not in get_args(Algorithm):
            raise ValueError("not a record of version MCPv1 with an ed25519 or ecdsap384 key")
        public = base64.b64decode(members["p"].encode("ascii"), validate=True)
        if b64encode(public) != members["p"]:
            raise ValueError("base64 with slack bits")
        return DomainKey("ed25519" if members["k"] == "ed25519" else "ecdsap384", public)
    except (ValueError, binascii.Error) as e:
        raise Refused("malformed-key-record", str(e)[:200]) from e


def keys_of(texts: Iterable[str]) -> list[DomainKey]:
    """The keys among whatever a domain states, each once. A bad record beside a good one is passed over, as by the
    official registry; raises `Refused("malformed-key-record")` where there are only bad ones.
    """
    keys: dict[DomainKey, None] = {}
    bad: Refused | None = None
    for text in texts:
        if text.strip().startswith(VERSION):
            try:
                keys[parse_record(text.strip())] = None
            except Refused as e:
                bad = e
    if bad and not keys:
        raise bad
    return list(keys)
