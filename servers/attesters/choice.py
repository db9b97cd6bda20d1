"""Which attester a server has: the options that say it, the same for all of ours."""

import argparse
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attest.evidence import Attester
from attest.schemes.software import SoftwareAttester
from servers.attesters import AttesterError
from servers.attesters.detect import Places, Tee, detect
from servers.attesters.nsm import NsmAttester
from servers.attesters.tsm import MAX_PRIVILEGE, Configfs, TsmAttester
from servers.pin import pin
from servers.tpm.attester import AzureAttester, TpmAttester

KINDS = ("auto", "tdx", "sev-snp", "nitro", "azure", "tpm", "software")


class KeyFileError(AttesterError):
    """A key file cannot be used as it is: one line that names it and says what to do."""


@dataclass(frozen=True)
class Chosen:
    """An attester that has made evidence once; `told` is what the server says of it: its kind, or the key that a
    verifier pins (hex), of software or of a TPM."""

    attester: Attester
    told: str


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of a command that serves."""
    places = Places()
    told = "what vouches for this server; auto is the TEE of this machine, and an error without one (default)"
    parser.add_argument("--attester", choices=KINDS, default="auto", help=told)
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="software attester key; made anew without")
    told = f"where the kernel makes TDX and SEV-SNP reports (default: {places.reports})"
    parser.add_argument("--reports", type=Path, default=places.reports, metavar="DIR", help=told)
    told = f"the TPM's device (default: {places.tpm})"
    parser.add_argument("--tpm", type=Path, default=places.tpm, metavar="FILE", help=told)
    told = "the VMPL that SEV-SNP reports speak for; without it the most privileged that may be named"
    parser.add_argument("--vmpl", type=int, choices=range(MAX_PRIVILEGE + 1), metavar="N", help=told)


def chosen(
    options: argparse.Namespace,
    clock: Callable[[], int],
    descriptor: int | None,
    self_reported: Mapping[str, str] | None = None,
) -> Chosen:
    """What the options of `declare` name. It is tried once, so that a device that does not work is seen at the start.

    `clock` returns milliseconds since 1970; on `descriptor` whoever started this process waits for a software
    attester's key, and `self_reported` is for a software attester too. Raises `AttesterError` and `OSError`.
    """
    if options.attester == "software":
        attester = SoftwareAttester(read_key(options.key_file), clock, self_reported)
        if descriptor is not None:
            pin(descriptor, attester.public_key)
        return Chosen(attester, attester.public_key.hex())
    if options.key_file is not None:
        raise AttesterError("--key-file belongs to --attester software; name both or neither")
    if descriptor is not None:
        os.close(descriptor)  # no key to tell: this evidence leads to a vendor's root
    places = Places(options.reports, tpm=options.tpm)
    tee = detect(places) if options.attester == "auto" else options.attester
    made = _hardware(tee, places, options.vmpl)
    made.attest(secrets.token_bytes(64))
    return Chosen(made, made.key_name() if isinstance(made, TpmAttester) else tee)


def read_key(file: Path | None) -> Ed25519PrivateKey:
    """The key in a file of 64 hex digits, a new one without. Raises `KeyFileError` and `OSError`."""
    if file is None:
        return Ed25519PrivateKey.generate()
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text().strip()))
    except ValueError as e:
        raise KeyFileError(f"{file}: {e}; name a file with 64 hex digits") from e


def _hardware(tee: Tee, places: Places, vmpl: int | None) -> TsmAttester | NsmAttester | AzureAttester | TpmAttester:
    match tee:
        case "tdx" | "sev-snp":
            return TsmAttester(tee, Configfs(places.reports), privilege=vmpl)
        case "nitro":
            return NsmAttester(places.nsm)
        case "azure":
            return AzureAttester(places.tpm)
        case "tpm":
            return TpmAttester(places.tpm)
