"""What a TPM 2.0 signs and is signed with, read strictly: no field out of range, no byte left over.

Nothing here is checked for authenticity. Source: TCG, Trusted Platform Module Library, Family 2.0, Part 2: Structures
(the sections are named below); integers there are big-endian.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from attest.errors import EvidenceError

SHA256 = 0x000B
HASHES: Mapping[int, str] = {SHA256: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
"""TPM_ALG_ID of the digests that we accept; SHA-1 is none of them."""
NULL = 0x0010
RSA, ECC = 0x0001, 0x0023
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
CURVES: Mapping[int, str] = {0x0003: "secp256r1", 0x0004: "secp384r1"}
GENERATED = 0xFF544347
ATTEST_QUOTE = 0x8018
EXPONENT = 65537
"""What 0 stands for too (12.2.3.5)."""
REGISTERS = 32
"""PCRs are numbered below this: a selection has at most 4 bytes."""

FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
USER_WITH_AUTH, NO_DA = 1 << 6, 1 << 10
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
"""TPMA_OBJECT (8.3)."""


class Reader:
    """Reads `data` from front to back. What does not fit is `EvidenceError("malformed")`; `what` names the data."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._what = data, what
        # How far it has been read.
        self._at = 0

    def wrong(self, problem: str) -> EvidenceError:
        """The error to raise for what was read."""
        return EvidenceError("malformed", f"{self._what} {problem}")

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise self.wrong("ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def integer(self, size: int) -> int:
        """An unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """A TPM2B: two bytes of length, then so many."""
        return self.take(self.integer(2))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    def done(self) -> None:
        """Refuse bytes that nobody read."""
        if self._at != len(self._data):
            raise self.wrong("has bytes behind its end")


@dataclass(frozen=True, slots=True)
class Quote:
    """A TPMS_ATTEST of a quote (10.12.12). `selection` names the PCRs of each bank in the order of the digest."""

    signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware: int
    selection: tuple[tuple[int, tuple[int, ...]], ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """A TPMT_SIGNATURE (11.3.4): for RSA `parts` is one number as it stands, for ECDSA r and s."""

    algorithm: int
    hash: int
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Public:
    """A TPMT_PUBLIC (12.2.4) of a key that signs. `unique` is the modulus, or the point's two coordinates.

    `curve` is 0 for RSA, whose exponent is 65537.
    """

    kind: int
    attributes: int
    algorithm: int
    hash: int
    curve: int
    unique: tuple[bytes, ...]


def read_quote(data: bytes) -> Quote:
    """Read a TPMS_ATTEST; codes `malformed`, and `unsupported` for what is not a quote, or over SHA-1."""
    reader = Reader(data, "the TPM's quote")
    if reader.integer(4) != GENERATED:
        raise reader.wrong("lacks TPM_GENERATED: no TPM made it")
    if reader.integer(2) != ATTEST_QUOTE:
        raise EvidenceError("unsupported", "the TPM attests something else than a quote")
    signer, extra_data = reader.sized(), reader.sized()
    clock, reset_count, restart_count, safe = (reader.integer(size) for size in (8, 4, 4, 1))
    if safe > 1:
        raise reader.wrong("has a flag that is neither 0 nor 1")
    firmware = reader.integer(8)
    selection = tuple(_read_selection(reader) for _ in range(_count(reader)))
    digest = reader.sized()
    reader.done()
    if len({bank for bank, _ in selection}) != len(selection):
        raise reader.wrong("selects one bank twice")
    return Quote(signer, extra_data, clock, reset_count, restart_count, bool(safe), firmware, selection, digest)


def read_signature(data: bytes) -> Signature:
    """Read a TPMT_SIGNATURE; codes `malformed`, and `unsupported` for other algorithms."""
    reader = Reader(data, "the TPM's signature")
    algorithm = reader.integer(2)
    if algorithm not in (RSASSA, RSAPSS, ECDSA):
        raise EvidenceError("unsupported", f"TPM signature algorithm {algorithm:#06x}")
    digest = _hash(reader.integer(2))
    parts = tuple(reader.sized() for _ in range(2 if algorithm == ECDSA else 1))
    reader.done()
    return Signature(algorithm, digest, parts)


def read_public(data: bytes) -> Public:
    """Read a TPMT_PUBLIC whose name is over SHA-256 and whose key signs under one scheme.

    Codes `malformed`, and `unsupported` for other names, keys and schemes.
    """
    reader = Reader(data, "the TPM's key")
    kind = reader.integer(2)
    if kind not in (RSA, ECC):
        raise EvidenceError("unsupported", f"TPM key of type {kind:#06x}")
    if reader.integer(2) != SHA256:
        raise EvidenceError("unsupported", "the TPM's key is not named by SHA-256")
    attributes = reader.integer(4)
    reader.sized()  # authPolicy: who may use the key, and nothing of what it signs
    if reader.integer(2) != NULL:
        raise EvidenceError("unsupported", "the TPM's key has a symmetric algorithm, so it does not sign")
    algorithm = reader.integer(2)
    if algorithm not in ((RSASSA, RSAPSS) if kind == RSA else (ECDSA,)):
        raise EvidenceError("unsupported", f"the TPM's key has the scheme {algorithm:#06x}")
    digest = _hash(reader.integer(2))
    if kind == RSA:
        size, curve = reader.integer(2), 0
        if reader.integer(4) not in (0, EXPONENT):
            raise EvidenceError("unsupported", f"the TPM's RSA key has another exponent than {EXPONENT}")
        unique: tuple[bytes, ...] = (reader.sized(),)
        if len(unique[0]) * 8 != size:
            raise reader.wrong("has a modulus of another size than it says")
    else:
        curve = reader.integer(2)
        if curve not in CURVES or reader.integer(2) != NULL:
            raise EvidenceError("unsupported", f"the TPM's key is on curve {curve:#06x}, or has a key derivation")
        unique = (reader.sized(), reader.sized())
    reader.done()
    return Public(kind, attributes, algorithm, digest, curve, unique)


def _hash(algorithm: int) -> int:
    if algorithm not in HASHES:
        raise EvidenceError("unsupported", f"TPM digest algorithm {algorithm:#06x}")
    return algorithm


def _count(reader: Reader) -> int:
    count = reader.integer(4)
    if not 1 <= count <= len(HASHES):
        raise reader.wrong("selects no bank of PCRs, or too many")
    return count


def _read_selection(reader: Reader) -> tuple[int, tuple[int, ...]]:
    """TPMS_PCR_SELECTION (10.6.1): the registers of one bank, lowest first."""
    bank, size = _hash(reader.integer(2)), reader.integer(1)
    if not 1 <= size <= REGISTERS // 8:
        raise reader.wrong("has a selection of PCRs that is too short or too long")
    bits = int.from_bytes(reader.take(size), "little")
    return bank, tuple(register for register in range(8 * size) if bits >> register & 1)
