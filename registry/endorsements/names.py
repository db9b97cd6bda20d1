"""The names of documents, which are also their paths in a folder: read strictly, since evidence chooses them."""

import re
from dataclasses import dataclass
from typing import Literal

_INTEL = re.compile(r"intel/(tdx|sgx)/([0-9a-f]{12})/(platform|processor)")
_AMD = re.compile(
    r"amd/(milan|genoa|turin)/(vcek|vlek)/(?:(chain|crl)|(?:([0-9a-f]{128}|[0-9a-f]{16})/)?([0-9a-f]{16}))"
)


@dataclass(frozen=True, slots=True)
class IntelCollateral:
    """All that Intel says of a family of platforms."""

    tee: Literal["tdx", "sgx"]
    fmspc: str
    authority: str


@dataclass(frozen=True, slots=True)
class AmdDocument:
    """`part` is `chain`, `crl`, or `leaf`; a leaf is of a chip (hex; none for VLEK) at a TCB (8 bytes)."""

    product: str
    kind: Literal["vcek", "vlek"]
    part: Literal["chain", "crl", "leaf"]
    chip: str = ""
    tcb: bytes = b""


Name = IntelCollateral | AmdDocument


def read_name(name: str) -> Name | None:
    """What a name stands for; None for anything else, so that no path leads out of a folder."""
    if found := _INTEL.fullmatch(name):
        return IntelCollateral("tdx" if found[1] == "tdx" else "sgx", found[2], found[3])
    if not (found := _AMD.fullmatch(name)):
        return None
    kind = "vcek" if found[2] == "vcek" else "vlek"
    if found[3]:
        return AmdDocument(found[1], kind, "chain" if found[3] == "chain" else "crl")
    if bool(found[4]) != (kind == "vcek"):
        return None
    return AmdDocument(found[1], kind, "leaf", found[4] or "", bytes.fromhex(found[5]))
