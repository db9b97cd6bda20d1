"""The bytes of a SEV-SNP attestation report and of the certificate table that may follow it; nothing here is checked
for authenticity.

Sources: SEV Secure Nested Paging Firmware ABI Specification, AMD document 56860, table ATTESTATION_REPORT (report
versions 2 to 5); GHCB specification, AMD document 56421, "SNP Extended Guest Request" (the table).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from attest.errors import EvidenceError
from attest.x509 import MAX_CERTIFICATE, MAX_CERTIFICATES

SIZE = 1184
SIGNED = 0x2A0
MAX_TABLE = 64 << 10
VERSIONS = range(2, 6)
KINDS = ("vcek", "vlek")
ECDSA_P384_SHA384 = 1

_ENTRY = 24
_GUIDS = {
    bytes.fromhex("63da758de6644564adc5f4b93be8accd"): "vcek",
    bytes.fromhex("a8074bc2a25a483eaae639c045a0b8a1"): "vlek",
    bytes.fromhex("4ab7b379bbac4fe4a02f05aef327c782"): "ask",
    bytes.fromhex("c0b406a4a803495297433fb6014cd0ae"): "ark",
}
"""In the order of the text (RFC 4122), which is what hosts write."""


@dataclass(frozen=True, slots=True)
class TcbVersion:
    """TCB_VERSION: the security version number of each part of the platform; `fmc` is 0 before Turin."""

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int = 0

    def covers(self, other: "TcbVersion") -> bool:
        """Whether no part is older than in `other`."""
        mine = (self.bootloader, self.tee, self.snp, self.microcode, self.fmc)
        theirs = (other.bootloader, other.tee, other.snp, other.microcode, other.fmc)
        return all(a >= b for a, b in zip(mine, theirs, strict=True))

    @classmethod
    def read(cls, raw: bytes, *, turin: bool) -> "TcbVersion":
        """Read the 8 bytes, whose order Turin changed."""
        if any(raw[4:7] if turin else raw[2:6]):
            raise EvidenceError("malformed", "the SEV-SNP report has a reserved byte in a TCB version")
        return cls(raw[1], raw[2], raw[3], raw[7], raw[0]) if turin else cls(raw[0], raw[1], raw[6], raw[7])


@dataclass(frozen=True, slots=True)
class Report:
    """A report whose every reserved field is as it must be. `body` is what its signature covers."""

    body: bytes
    r: int
    s: int
    version: int
    guest_svn: int
    policy: int
    vmpl: int
    platform_info: int
    kind: str
    author_key: bool
    masked_key: bool
    cpu: tuple[int, int, int] | None
    products: tuple[str, ...]
    current: TcbVersion
    reported: TcbVersion
    committed: TcbVersion
    launch: TcbVersion

    @property
    def debug(self) -> bool:
        """Guest policy, bit 19: the host may read the guest's memory."""
        return bool(self.policy >> 19 & 1)

    @property
    def chip_id(self) -> bytes:
        """CHIP_ID as the key service spells it, 8 bytes from Turin on and 64 before; zero where the host hides it."""
        return self.body[0x1A0 : 0x1A8 if self.products == ("turin",) else 0x1E0]

    @property
    def reported_tcb(self) -> bytes:
        """REPORTED_TCB as it stands in the report."""
        return self.body[0x180:0x188]

    def details(self) -> dict[str, str]:
        """What else the platform says, in words; hex for digests and raw fields, `yes` and `no` for bits."""
        told = {
            "version": str(self.version),
            "vmpl": str(self.vmpl),
            "guestSvn": str(self.guest_svn),
            "policy": f"{self.policy:#x}",
            "platformInfo": f"{self.platform_info:#x}",
            "familyId": self.body[0x10:0x20].hex(),
            "imageId": self.body[0x20:0x30].hex(),
            "idKeyDigest": self.body[0xE0:0x110].hex(),
            "reportId": self.body[0x140:0x160].hex(),
            "committedTcb": self.body[0x1E0:0x1E8].hex(),
            "currentTcb": self.body[0x38:0x40].hex(),
            "launchTcb": self.body[0x1F0:0x1F8].hex(),
        }
        if self.author_key:
            told["authorKeyDigest"] = self.body[0x110:0x140].hex()
        if self.cpu is not None:
            told["familyModel"] = "/".join(map(str, self.cpu))
        if self.version >= 5:
            told["launchMitigations"] = f"{_integer(self.body, 0x1F8, 8):#x}"
            told["currentMitigations"] = f"{_integer(self.body, 0x200, 8):#x}"
        told |= {name: _word(self.policy >> bit) for name, bit in _POLICY.items()}
        return told | {name: _word(self.platform_info >> bit) for name, bit in _PLATFORM.items()}


_POLICY = {
    "smtAllowed": 16,
    "migrationAgent": 18,
    "singleSocket": 20,
    "cxlAllowed": 21,
    "needsAes256Xts": 22,
    "needsRaplDisabled": 23,
    "needsCiphertextHiding": 24,
    "pageSwapDisabled": 25,
}
"""The guest's policy, which firmware held the platform to; newer bits are 0 where firmware did not know them."""

_PLATFORM = {
    "smtEnabled": 0,
    "tsmeEnabled": 1,
    "eccEnabled": 2,
    "raplDisabled": 3,
    "ciphertextHiding": 4,
    "aliasCheckComplete": 5,
    "tioEnabled": 7,
}
"""PLATFORM_INFO. Bits that are reserved today are left to the raw field: they restrict nothing."""


def read_report(raw: bytes) -> Report:
    """Read exactly 1184 bytes; codes `malformed`, `unsupported`, and `signature` where the report has none."""
    if len(raw) != SIZE:
        raise EvidenceError("malformed", f"a SEV-SNP report has {SIZE} bytes, not {len(raw)}")
    version = _integer(raw, 0x00, 4)
    if version not in VERSIONS:
        raise EvidenceError("unsupported", f"SEV-SNP report of version {version}")
    if (algorithm := _integer(raw, 0x34, 4)) != ECDSA_P384_SHA384:
        raise EvidenceError("unsupported", f"SEV-SNP signature algorithm {algorithm}")
    policy, flags, vmpl = _integer(raw, 0x08, 8), _integer(raw, 0x48, 4), _integer(raw, 0x30, 4)
    _check_reserved(raw, version, policy, flags, vmpl)
    if (key := flags >> 2 & 7) >= len(KINDS):
        raise EvidenceError("signature", f"the SEV-SNP report is not signed by a VCEK or VLEK but by key {key}")
    cpu = (raw[0x188], raw[0x189], raw[0x18A]) if version >= 3 else None
    products = _products(cpu, raw[0x1A0:0x1E0])
    turin = products == ("turin",)
    if turin and any(raw[0x1A8:0x1E0]):
        raise EvidenceError("malformed", "the SEV-SNP report has a chip id longer than Turin's")
    tcb = {offset: TcbVersion.read(raw[offset : offset + 8], turin=turin) for offset in (0x38, 0x180, 0x1E0, 0x1F0)}
    return Report(
        body=raw[:SIGNED],
        r=_integer(raw, SIGNED, 72),
        s=_integer(raw, SIGNED + 72, 72),
        version=version,
        guest_svn=_integer(raw, 0x04, 4),
        policy=policy,
        vmpl=vmpl,
        platform_info=_integer(raw, 0x40, 8),
        kind=KINDS[key],
        author_key=bool(flags & 1),
        masked_key=bool(flags & 2),
        cpu=cpu,
        products=products,
        current=tcb[0x38],
        reported=tcb[0x180],
        committed=tcb[0x1E0],
        launch=tcb[0x1F0],
    )


def read_table(raw: bytes) -> Mapping[str, bytes]:
    """The certificates in a GHCB certificate table by name (`vcek`, `vlek`, `ask`, `ark`); code `malformed`.

    No bytes are no table; what no entry covers is zero. Entries with other GUIDs are passed over, a revocation list
    among them: one that the evidence brings along may be an old one.
    """
    found: dict[str, bytes] = {}
    if not raw:
        return found
    if len(raw) > MAX_TABLE:
        raise EvidenceError("malformed", f"the SEV-SNP certificate table is longer than {MAX_TABLE} bytes")
    entries = list(_entries(raw))
    head = _ENTRY * (len(entries) + 1)
    rest = bytearray(raw)
    rest[:head] = bytes(head)
    for guid, begin, length in entries:
        if not length:
            continue
        if begin < head or begin + length > len(raw) or length > MAX_CERTIFICATE:
            raise EvidenceError("malformed", "the SEV-SNP certificate table has an entry that reaches out of it")
        name = _GUIDS.get(guid)
        if name in found:
            raise EvidenceError("malformed", f"the SEV-SNP certificate table has two of {name}")
        if name is not None:
            found[name] = raw[begin : begin + length]
        rest[begin : begin + length] = bytes(length)
    if any(rest):
        raise EvidenceError("malformed", "the SEV-SNP evidence has bytes that no entry of its table covers")
    return found


def _entries(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """GUID, offset and length of each entry before the last, which is zero."""
    for place in range(0, min(len(raw), _ENTRY * (MAX_CERTIFICATES + 1)), _ENTRY):
        entry = raw[place : place + _ENTRY]
        if entry == bytes(_ENTRY):
            return
        yield entry[:16], _integer(entry, 16, 4), _integer(entry, 20, 4)
    raise EvidenceError("malformed", f"the SEV-SNP certificate table has no end after {MAX_CERTIFICATES} entries")


def _check_reserved(raw: bytes, version: int, policy: int, flags: int, vmpl: int) -> None:
    reserved = {
        "policy": policy >> 26 or not policy >> 17 & 1,
        "vmpl": vmpl > 3,
        "flags": flags >> 5 or any(raw[0x4C:0x50]),
        "processor": any(raw[0x188 if version < 3 else 0x18B : 0x1A0]),
        "firmware version": raw[0x1EB] or raw[0x1EF],
        "end": any(raw[0x1F8 if version < 5 else 0x208 : SIGNED]),
        "signature": any(raw[SIGNED + 144 :]),
    }
    for name, wrong in reserved.items():
        if wrong:
            raise EvidenceError("malformed", f"the SEV-SNP report has reserved bits in its {name}")


def _products(cpu: tuple[int, int, int] | None, chip: bytes) -> tuple[str, ...]:
    """The products that a processor may be, from its CPUID family and model.

    Version 2 does not say; there Turin, whose first firmware wrote it, shows in a chip id of 8 bytes.
    """
    match cpu:
        case None if any(chip[:8]) and not any(chip[8:]):
            return ("turin",)
        case None:
            return ("milan", "genoa")
        case (0x19, model, _) if model <= 0x0F:
            return ("milan",)
        case (0x19, model, _) if 0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF:
            return ("genoa",)
        case (0x1A, model, _) if model <= 0x1F:
            return ("turin",)
        case (family, model, _):
            raise EvidenceError("unsupported", f"SEV-SNP processor of family {family} model {model}")


def _word(bit: int) -> str:
    return "yes" if bit & 1 else "no"


def _integer(raw: bytes, offset: int, size: int) -> int:
    return int.from_bytes(raw[offset : offset + size], "little")
