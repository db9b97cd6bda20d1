"""The outside of an Intel DCAP quote: where its parts are, and that there is nothing else.

Sources: Intel SGX ECDSA Quote Library API (version 3), Intel TDX DCAP Quoting Library API (versions 4 and 5), both in
appendix A. Lengths are checked here since the library behind the schemes ignores what follows the last part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attest.errors import EvidenceError

Tee = Literal["tdx", "sgx"]

MAX_QUOTE = 64 << 10
HEADER = 48
SGX, TDX = 0x00000000, 0x00000081
ECDSA_P256 = 2
INTEL_QE = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The one vendor of quoting enclaves."""
REPORT = 384
TD10, TD15 = 584, 648
_BODIES = {2: TD10, 3: TD15}
"""Of version 5, by body type; 1 is an SGX report, which no TD emits."""
_CERTIFIED_REPORT, _PCK_CHAIN = 6, 5
_DEBUG_SGX, _DEBUG_TD, _SEPT_VE_DISABLE = 1 << 1, 1, 1 << 28


@dataclass(frozen=True, slots=True)
class Quote:
    """`data` ends with the last byte of the quote; `body` is the TD or enclave report, `chain` the PEM certificates."""

    data: bytes
    version: int
    body: bytes
    chain: bytes

    @property
    def debug(self) -> bool:
        """Whether whoever runs the machine may look into it."""
        if len(self.body) == REPORT:
            return bool(int.from_bytes(self.body[48:56], "little") & _DEBUG_SGX)
        return bool(int.from_bytes(self.body[120:128], "little") & _DEBUG_TD)

    def part(self, start: int, size: int) -> str:
        """A field of the body, in hex."""
        return self.body[start : start + size].hex()

    def number(self, start: int, size: int) -> int:
        """A little-endian field of the body."""
        return int.from_bytes(self.body[start : start + size], "little")


def read_quote(data: bytes, tee: Tee) -> Quote:
    """A quote of this TEE and nothing behind it but zeros, as some clouds pad; codes `malformed`, `unsupported`."""
    if not HEADER < len(data) <= MAX_QUOTE:
        raise EvidenceError("malformed", f"a quote has {HEADER} to {MAX_QUOTE} bytes, and this has {len(data)}")
    version, key_type = int.from_bytes(data[0:2], "little"), int.from_bytes(data[2:4], "little")
    kind = int.from_bytes(data[4:8], "little")
    if (kind, version) not in ((SGX, 3), (TDX, 4), (TDX, 5)) or (kind == SGX) != (tee == "sgx"):
        raise EvidenceError(
            "unsupported", f"no {tee.upper()} quote of a known version: version {version}, TEE {kind:#x}"
        )
    if key_type != ECDSA_P256 or data[12:28] != INTEL_QE:
        raise EvidenceError("unsupported", "the quote is not of Intel's quoting enclave and its P-256 key")
    start, size = HEADER, REPORT if tee == "sgx" else TD10
    if version == 5:
        start += 6
        size = _BODIES.get(_number(data, HEADER, 2), 0)
        if not size or _number(data, HEADER + 2, 4) != size:
            raise EvidenceError("unsupported", "the quote's body is of no type that a TD emits")
    end = start + size
    used = end + 4 + _number(data, end, 4)
    if used > len(data):
        raise EvidenceError("malformed", "the quote is cut short")
    if any(data[used:]):
        raise EvidenceError("malformed", "there is something behind the quote")
    return Quote(data[:used], version, data[start:end], _certificates(data[end + 4 : used], version))


def tdx_fields(quote: Quote) -> Mapping[str, str]:
    """The measurement registers of a TD."""
    registers = {f"rtmr{index}": quote.part(328 + 48 * index, 48) for index in range(4)}
    return {"mrtd": quote.part(136, 48)} | registers


def tdx_details(quote: Quote) -> Mapping[str, str]:
    """What else the TDX module says of a TD."""
    details = {
        "quoteVersion": str(quote.version),
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


def _certificates(auth: bytes, version: int) -> bytes:
    """The PEM chain inside the authentication data, whose parts must fill each other exactly."""
    if version > 3:
        if _number(auth, 128, 2) != _CERTIFIED_REPORT or 134 + _number(auth, 130, 4) != len(auth):
            raise EvidenceError("malformed", "the quote's certified report is not all of its certification data")
        auth = auth[:128] + auth[134:]
    chain = 128 + REPORT + 64 + 2 + _number(auth, 128 + REPORT + 64, 2)
    if _number(auth, chain, 2) != _PCK_CHAIN:
        raise EvidenceError("unsupported", "the quote does not carry its PCK certificates")
    if chain + 6 + _number(auth, chain + 2, 4) != len(auth):
        raise EvidenceError("malformed", "the quote's certificates do not end where it ends")
    return auth[chain + 6 :]


def _number(data: bytes, start: int, size: int) -> int:
    field = data[start : start + size]
    if len(field) != size:
        raise EvidenceError("malformed", "the quote is cut short")
    return int.from_bytes(field, "little")
