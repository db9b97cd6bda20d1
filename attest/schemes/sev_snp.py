"""AMD SEV-SNP: a report that the platform's firmware signed with the key of one chip (VCEK) or one cloud (VLEK).

The evidence is the report, 1184 bytes, and behind it the host's certificate table, or nothing. What vouches for the key
comes from the caller's documents, else from that table: it is all signed, so where it came from does not matter.
Sources: AMD documents 56860 (the report) and 57230 (VCEK certificates and the key distribution service).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from attest.claims import Claims, Endorsements, Tcb
from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.snp_report import SIZE, Report, TcbVersion, read_report, read_table
from attest.x509 import (
    check_chain,
    check_crl,
    check_p384,
    check_validity,
    expiry,
    fingerprint,
    is_revoked,
    load_certificate,
    load_certificates,
    load_crl,
    milliseconds,
)

MEDIA_TYPE = "application/vnd.etmcp.sev-snp"
SCHEME = "amd-sev-snp"
VENDOR = "amd"

OID = "1.3.6.1.4.1.3704.1"
PRODUCT_NAME, HARDWARE_ID, PROVIDER, SPL = f"{OID}.2", f"{OID}.4", f"{OID}.5", f"{OID}.3"
BRANDS = {
    "milan": frozenset({"Milan"}),
    "genoa": frozenset({"Genoa", "Bergamo", "Siena"}),
    "turin": frozenset({"Turin"}),
}
"""The names in certificates of what one AMD root key answers for."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """The certificates for one report, found and not checked yet."""

    product: str
    leaf: x509.Certificate
    signer: x509.Certificate
    root: x509.Certificate
    crl: x509.CertificateRevocationList | None

    @property
    def line(self) -> Sequence[x509.Certificate]:
        return (self.leaf, self.signer, self.root)


class SevSnpScheme:
    """Opens SEV-SNP reports of versions 2 to 5 from Milan, Genoa (with Bergamo and Siena) and Turin."""

    media_types: Sequence[str] = (MEDIA_TYPE,)

    def wants(self, evidence: Evidence) -> Sequence[str]:
        """The chain, the leaf and the optional revocation list, for each product that the report may be from."""
        report, _ = _read(evidence)
        return [name for product in report.products for name in _names(report, product)]

    def open(self, evidence: Evidence, endorsements: Endorsements, now: int) -> Claims:
        """See `Scheme.open`.

        Codes: `malformed`, `unsupported`, `chain`, `expired`, `not_yet_valid`, `revoked`, `tcb`, `signature`.
        """
        report, table = _read(evidence)
        chain = _find(report, table, endorsements.documents)
        _check_certificates(chain, report.kind, now)
        extensions = _extensions(chain.leaf)
        chip = _check_platform(report, extensions)
        check_p384(chain.leaf, report.r, report.s, report.body, "the SEV-SNP report")
        if (name := _names(report, chain.product)[2]) in endorsements.untimely:
            _check_untimely(load_crl(endorsements.untimely[name], name), chain)
        end = expiry(chain.line)
        if chain.crl is not None and chain.crl.next_update_utc is not None:
            end = min(end, milliseconds(chain.crl.next_update_utc))
        root = fingerprint(chain.root)
        told = {"product": chain.product, "key": report.kind.upper()}
        if PROVIDER in extensions:
            told["provider"] = _text(extensions[PROVIDER])
        tcb = report.reported
        versions = {"bootloader": tcb.bootloader, "tee": tcb.tee, "snp": tcb.snp, "microcode": tcb.microcode}
        return Claims(
            scheme=SCHEME,
            assurance="hardware",
            anchor=root,
            standing=endorsements.standing(VENDOR, root),
            report_data=report.body[0x50:0x90],
            debug=report.debug,
            issued_at=0,
            expires_at=end,
            measurement={"measurement": report.body[0x90:0xC0].hex(), "hostdata": report.body[0xC0:0xE0].hex()},
            launch=frozenset({"measurement"}),
            details=report.details() | told,
            tcb=Tcb(versions=versions | ({"fmc": tcb.fmc} if chain.product == "turin" else {})),
            instance=f"chip:{chip.hex()}" if chip else None,
            collateral_date=None if chain.crl is None else milliseconds(chain.crl.last_update_utc),
        )


def _read(evidence: Evidence) -> tuple[Report, Mapping[str, bytes]]:
    return read_report(evidence.body[:SIZE]), read_table(evidence.body[SIZE:])


def _names(report: Report, product: str) -> tuple[str, str, str]:
    folder = f"amd/{product}/{report.kind}"
    chip = f"{report.chip_id.hex()}/" if report.kind == "vcek" else ""
    return f"{folder}/chain", f"{folder}/{chip}{report.reported_tcb.hex()}", f"{folder}/crl"


def _find(report: Report, table: Mapping[str, bytes], documents: Mapping[str, bytes]) -> _Chain:
    """The certificates of the first product that has a leaf which says that it is of this product."""
    missing = ""
    for product in report.products:
        chain, leaf, crl = _names(report, product)
        if report.kind == "vlek":
            # A provider has one for each region, all of the same name: the report's own is the one beside it.
            data = table.get("vlek", documents.get(leaf))
        else:
            data = documents.get(leaf, table.get("vcek"))
        if data is None:
            missing = missing or f"there is no {leaf}, the {report.kind.upper()} certificate"
            continue
        # Key services hand out the leaf alone, Azure's agent with its chain behind it.
        certificate = load_certificates(data, leaf, maximum=3)[0]
        if _text(_extensions(certificate).get(PRODUCT_NAME)).partition("-")[0] not in BRANDS[product]:
            missing = missing or f"{leaf} is a certificate for another product"
            continue
        if chain in documents:
            line = load_certificates(documents[chain], chain, maximum=2)
        elif {"ask", "ark"} <= table.keys():
            line = [load_certificate(table[name], f"the {name.upper()} in the table") for name in ("ask", "ark")]
        else:
            raise EvidenceError("chain", f"there is no {chain}, the certificates above the {report.kind.upper()}")
        if len(line) != 2:
            raise EvidenceError("malformed", f"{chain}: needs two certificates, the signing key's and the root's")
        listed = load_crl(documents[crl], crl) if crl in documents else None
        return _Chain(product, certificate, line[0], line[1], listed)
    raise EvidenceError("chain", missing)


def _check_certificates(chain: _Chain, kind: str, now: int) -> None:
    signer = f"SEV-{'VLEK-' if kind == 'vlek' else ''}{chain.product.title()}"
    names = (f"SEV-{kind.upper()}", signer, f"ARK-{chain.product.title()}")
    for certificate, name in zip(chain.line, names, strict=True):
        told = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if told != [name]:
            raise EvidenceError("chain", f"a certificate of {str(told)[:80]} stands where that of {name} belongs")
    check_chain(chain.line)
    check_validity(chain.line, now)
    if chain.crl is not None:
        check_crl(chain.crl, chain.root, now)
        if any(is_revoked(chain.crl, certificate) for certificate in chain.line):
            raise EvidenceError("revoked", f"AMD has revoked the certificate of {signer}, of its root or of the chip")


def _check_untimely(crl: x509.CertificateRevocationList, chain: _Chain) -> None:
    """None of these is named by a list of another time, whenever that is."""
    check_crl(crl, chain.root, None)
    if any(is_revoked(crl, certificate) for certificate in chain.line):
        raise EvidenceError("revoked", "AMD has revoked the chip's certificate, or one above it")


def _check_platform(report: Report, told: Mapping[str, bytes]) -> bytes:
    """Hold the leaf against the report; the chip's identity, empty where the platform hides it."""
    parts = (1, 2, 3, 8, 9) if report.products == ("turin",) else (1, 2, 3, 8)
    endorsed = TcbVersion(*(_spl(told.get(f"{SPL}.{part}")) for part in parts))
    if endorsed != report.reported:
        raise EvidenceError("tcb", f"the {report.kind.upper()} is for another TCB version than the report's")
    if not (report.committed.covers(report.reported) and report.current.covers(report.committed)):
        raise EvidenceError(
            "tcb", "the platform reports more than it committed to, or runs less: it could be rolled back"
        )
    hidden = not any(report.chip_id)
    if report.kind == "vlek":
        return b"" if hidden else report.chip_id
    if report.masked_key:
        raise EvidenceError("signature", "the report says that its chip key is masked, and firmware signs nothing then")
    # A host may hide CHIP_ID, but not the chip that the VCEK is issued to: a denied chip stays denied.
    hardware = _octets(told.get(HARDWARE_ID), len(report.chip_id))
    if not hidden and hardware != report.chip_id:
        raise EvidenceError("chain", "the VCEK is another chip's than the report's")
    return hardware


def _extensions(leaf: x509.Certificate) -> Mapping[str, bytes]:
    """AMD's own extensions, raw."""
    return {
        extension.oid.dotted_string: extension.value.value
        for extension in leaf.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }


def _text(value: bytes | None) -> str:
    """An IA5String of less than 128 characters."""
    if value is None or len(value) < 2 or value[0] != 0x16 or value[1] != len(value) - 2 or not value.isascii():
        raise EvidenceError("chain", "the leaf certificate names no product or provider")
    return value[2:].decode("ascii")


def _spl(value: bytes | None) -> int:
    """An INTEGER from 0 to 255 in DER."""
    number = int.from_bytes(value[2:], "big") if value else 0
    if value != (bytes([2, 1, number]) if number < 0x80 else bytes([2, 2, 0, number & 0xFF])):
        raise EvidenceError("chain", "the leaf certificate has no TCB version")
    return number


def _octets(value: bytes | None, size: int) -> bytes:
    """Exactly `size` bytes: raw, as AMD wrote them first, or in an OCTET STRING."""
    if value is not None and len(value) == size + 2 and value[:2] == bytes([4, size]):
        value = value[2:]
    if value is None or len(value) != size:
        raise EvidenceError("chain", "the VCEK names no chip")
    return value
