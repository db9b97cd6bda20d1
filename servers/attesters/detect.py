"""Which TEE this machine has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from servers.attesters import AttesterError, nsm, tsm
from servers.attesters.tsm import Configfs
from servers.tpm import attester as tpm
from servers.tpm.client import open_tpm
from servers.tpm.errors import NO_SUCH_INDEX, TpmError

Tee = Literal["tdx", "sev-snp", "nitro", "azure", "tpm"]
MODULES: Mapping[str, Tee] = {"tdx_guest": "tdx", "sev_guest": "sev-snp"}


TD = "tdx_guest"
"""What Linux says of the processor in a TD, and the module that answers there. Of SEV-SNP it says the same to hosts."""


@dataclass(frozen=True)
class Places:
    """Where the platforms answer. Other places than the kernel's own make no evidence better or worse: the verifier
    judges it by the vendor's root."""

    reports: Path = tsm.REPORTS
    processor: Path = Path("/proc/cpuinfo")
    nsm: Path = nsm.DEVICE
    tpm: Path = tpm.DEVICE


def detect(places: Places) -> Tee:
    """The strongest that answers: the processor's own report, the Nitro module, Azure's vTPM, a TPM.

    Raises `AttesterError` where none does, and where one may but cannot be asked: nothing weaker takes its place.
    """
    if (provider := tsm.provider(Configfs(places.reports))) is not None:
        if (kind := MODULES.get(provider)) is None:
            raise AttesterError(f"{places.reports}: the provider {provider!r} is none that evidence is made of here")
        return kind
    if TD in _flags(places.processor):
        raise AttesterError(
            f"this is a TD, and {places.reports} has no provider: load the module {TD}, or name another with --attester"
        )
    if places.nsm.exists():
        return "nitro"
    if places.tpm.exists():
        return "azure" if _has_hcl_report(places.tpm) else "tpm"
    raise AttesterError(
        f"no TEE on this machine: neither {places.reports} nor {places.nsm} nor {places.tpm} answers; "
        "say --attester software if this machine's own word is enough"
    )


def _flags(processor: Path) -> frozenset[str]:
    try:
        lines = processor.read_text("ascii", "replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split() for line in lines if line.startswith("flags")), list[str]()))


def _has_hcl_report(device: Path) -> bool:
    with open_tpm(device) as opened:
        try:
            opened.read_nv(tpm.AZURE_REPORT)
        except TpmError as e:
            if e.code != NO_SUCH_INDEX:
                raise
            return False
    return True
