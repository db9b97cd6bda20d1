"""A TPM's quote and the PCR values that it is over, held against a key: what `tpm2` and `azure_vtpm` share."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from attest.encoding import Fields, b64encode, same
from attest.errors import EvidenceError
from attest.schemes.tpm_structures import (
    ECDSA,
    EXPONENT,
    HASHES,
    REGISTERS,
    RSAPSS,
    SHA256,
    Quote,
    Signature,
    read_quote,
    read_signature,
)

AttestationKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

LAUNCHER_REGISTER = 14
"""The PCR that our launcher extends: one that nothing but a restart resets, and that only shim's key list shares."""
LAUNCH = frozenset({"pcr2", "pcr4", "pcr8", "pcr9", "pcr12", "pcr13", f"pcr{LAUNCHER_REGISTER}"})
"""What has to be known of a machine that measures before its quote speaks for the program behind our launcher.

PCR 2 the drivers that the firmware loads, from a disk too, and 4 the boot loader or unified kernel image (TCG PC Client
Platform Firmware Profile, 2.3; EDK II, DxeTpm2MeasureBootLib); 8 and 9 what GRUB was told and what it and the kernel's
stub loaded, initial RAM disks among it; 12 and 13 what was added to a unified image: command lines, credentials,
extensions (UAPI Group, Linux TPM PCR Registry). One of 8 to 14 that is not used is all zeros.
"""
MAX_STRUCTURE = 2048
RSA_SIZES = range(2048, 4097)

_ALGORITHMS: Mapping[int, type[hashes.HashAlgorithm]] = {
    algorithm: {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}[name]
    for algorithm, name in HASHES.items()
}
_BANKS: Mapping[str, int] = {name: algorithm for algorithm, name in HASHES.items()}


@dataclass(frozen=True, slots=True)
class Attested:
    """What a TPM gave: `message` a TPMS_ATTEST, `signature` a TPMT_SIGNATURE, `pcrs` values by bank and register.

    A TPM signs at most its longest digest of qualifying data, often 32 bytes: it is SHA-256(`report_data`).
    """

    report_data: bytes
    message: bytes
    signature: bytes
    pcrs: Mapping[str, Mapping[int, bytes]]

    def to_json(self) -> dict[str, Any]:
        """The members of an evidence document (WIRE.md)."""
        return {
            "reportData": self.report_data.hex(),
            "message": b64encode(self.message),
            "signature": b64encode(self.signature),
            "pcrs": {
                bank: {str(register): value.hex() for register, value in values.items()}
                for bank, values in self.pcrs.items()
            },
        }

    @classmethod
    def take(cls, fields: Fields) -> "Attested":
        """Read the members that `to_json` gives; code `malformed`."""
        report_data = fields.hex("reportData", 64)
        message = fields.base64("message", maximum=MAX_STRUCTURE)
        signature = fields.base64("signature", maximum=MAX_STRUCTURE)
        banks = fields.mapping("pcrs")
        return cls(report_data, message, signature, {bank: _values(bank, told) for bank, told in banks.items()})

    @property
    def measurement(self) -> Mapping[str, str]:
        """The registers: `pcr0` and so on of the SHA-256 bank, `sha384:pcr0` of another."""
        return {
            (f"pcr{register}" if bank == "sha256" else f"{bank}:pcr{register}"): value.hex()
            for bank, values in self.pcrs.items()
            for register, value in values.items()
        }


def qualifying_data(report_data: bytes) -> bytes:
    """What a TPM is asked to quote for `report_data`."""
    return hashlib.sha256(report_data).digest()


def check_quote(attested: Attested, key: AttestationKey, scheme: tuple[int, int] | None = None) -> Quote:
    """The quote, signed by `key` for this report_data and over exactly these PCR values.

    `scheme` is the algorithm and the digest that the key signs by, None where its kind alone is known.
    Codes `malformed`, `unsupported`, `signature`, `binding`, `measurement`.
    """
    quote, signature = read_quote(attested.message), read_signature(attested.signature)
    if scheme is not None and scheme != (signature.algorithm, signature.hash):
        raise EvidenceError("signature", "the TPM's signature is by another scheme than its key")
    _check_signature(attested.message, signature, key)
    if not same(quote.extra_data, qualifying_data(attested.report_data)):
        raise EvidenceError("binding", "the TPM's quote is for other data than the report_data beside it")
    _check_registers(quote, signature, attested.pcrs)
    return quote


def details(quote: Quote) -> dict[str, str]:
    """What else the TPM says: its clock in milliseconds since it was owned, and how often it began anew."""
    return {
        "clock": str(quote.clock),
        "clockSafe": str(quote.safe).lower(),
        "resetCount": str(quote.reset_count),
        "restartCount": str(quote.restart_count),
        "tpmFirmware": f"{quote.firmware:016x}",
        "signer": quote.signer.hex(),
    }


def rsa_key(modulus: bytes) -> rsa.RSAPublicKey:
    """A key of 2048 to 4096 bits with the exponent 65537; codes `unsupported`, `malformed`."""
    number = int.from_bytes(modulus, "big")
    if number.bit_length() not in RSA_SIZES or not number & 1:
        raise EvidenceError("unsupported", "the TPM's RSA key has not 2048 to 4096 bits")
    try:
        return rsa.RSAPublicNumbers(EXPONENT, number).public_key()
    except ValueError as e:
        raise EvidenceError("malformed", "the TPM's RSA key is none") from e


def _values(bank: str, told: Any) -> dict[int, bytes]:
    if bank not in _BANKS:
        raise EvidenceError("malformed", f"there is no bank of PCRs {bank[:20]!r}; they are {', '.join(_BANKS)}")
    fields = Fields(told, f"the PCRs of {bank}", EvidenceError)
    size = _ALGORITHMS[_BANKS[bank]]().digest_size
    names = {str(register): register for register in range(REGISTERS)}
    values = {names[name]: fields.hex(name, size) for name in told if name in names}
    fields.done()
    return values


def _check_signature(message: bytes, signature: Signature, key: AttestationKey) -> None:
    algorithm = _ALGORITHMS[signature.hash]()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if signature.algorithm == ECDSA:
                raise EvidenceError("signature", "the TPM's signature is not one of an RSA key")
            scheme = (
                padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
                if signature.algorithm == RSAPSS
                else padding.PKCS1v15()
            )
            key.verify(signature.parts[0], message, scheme, algorithm)
        else:
            if signature.algorithm != ECDSA or max(map(len, signature.parts)) > (key.key_size + 7) // 8:
                raise EvidenceError("signature", "the TPM's signature is not one of a key on this curve")
            r, s = (int.from_bytes(part, "big") for part in signature.parts)
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm))
    except InvalidSignature as e:
        raise EvidenceError("signature", "the TPM's quote is not signed by this key") from e


def _check_registers(quote: Quote, signature: Signature, pcrs: Mapping[str, Mapping[int, bytes]]) -> None:
    selected = {HASHES[bank]: set(registers) for bank, registers in quote.selection}
    if selected != {bank: set(values) for bank, values in pcrs.items()}:
        raise EvidenceError("measurement", "the PCRs beside the TPM's quote are not those that it is over")
    if not selected.get(HASHES[SHA256]):
        raise EvidenceError("measurement", "the TPM's quote is over no PCR of the SHA-256 bank")
    digest = hashes.Hash(_ALGORITHMS[signature.hash]())
    for bank, registers in quote.selection:
        for register in registers:
            digest.update(pcrs[HASHES[bank]][register])
    if not same(digest.finalize(), quote.digest):
        raise EvidenceError("measurement", "the PCR values beside the TPM's quote are not those that it is over")
