"""Attesters on a TPM 2.0: a machine's own, and the virtual one of an Azure confidential VM."""

from collections.abc import Sequence
from pathlib import Path

from attest.errors import EvidenceError
from attest.evidence import Evidence
from attest.schemes.azure_vtpm import AzureEvidence
from attest.schemes.tpm2 import TpmEvidence, key_name
from attest.schemes.tpm_quote import Attested, qualifying_data
from servers.tpm.client import TIMEOUT, Tpm, open_tpm
from servers.tpm.errors import TpmError

DEVICE = Path("/dev/tpmrm0")
REGISTERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15)
"""All that only a restart resets, but for PCR 10, which the kernel extends with each file where IMA is on."""
AZURE_KEY, AZURE_REPORT = 0x81000003, 0x01400001
"""Where Azure's paravisor keeps its attestation key and its HCL report."""
_ATTEMPTS = 5


class TpmAttester:
    """Quotes `registers` of the TPM at `device` under its attestation key. `timeout` in seconds for each command.

    The key is one that the TPM derives from its own seed (`Tpm.attestation_key`). `certificates`, in DER, leaf first
    and with the root, say whose it is, where an authority certified it; else verifiers pin its name (`key_name`).
    """

    def __init__(
        self,
        device: Path = DEVICE,
        *,
        registers: Sequence[int] = REGISTERS,
        certificates: Sequence[bytes] = (),
        timeout: float = TIMEOUT,
    ) -> None:
        self._device, self._registers, self._timeout = device, tuple(registers), timeout
        self._certificates = tuple(certificates)

    def attest(self, report_data: bytes) -> Evidence:
        """TPM evidence; raises `TpmError`."""
        with open_tpm(self._device, self._timeout) as tpm, tpm.attestation_key() as (handle, public):
            attested = _quote(tpm, handle, report_data, self._registers)
        return TpmEvidence(attested, public, self._certificates).encode()

    def key_name(self) -> str:
        """The name of the key, as a verifier pins it under `tpm`, hex; raises `TpmError`."""
        with open_tpm(self._device, self._timeout) as tpm, tpm.attestation_key() as (_, public):
            return key_name(public)


class AzureAttester:
    """Quotes under the key that the paravisor of an Azure confidential VM vouches for in its HCL report.

    Arguments as for `TpmAttester`. The key and the report are where Azure documents them.
    """

    def __init__(
        self, device: Path = DEVICE, *, registers: Sequence[int] = REGISTERS, timeout: float = TIMEOUT
    ) -> None:
        self._device, self._registers, self._timeout = device, tuple(registers), timeout

    def attest(self, report_data: bytes) -> Evidence:
        """Azure vTPM evidence; raises `TpmError`, also where this is no such VM."""
        with open_tpm(self._device, self._timeout) as tpm:
            report = tpm.read_nv(AZURE_REPORT)
            attested = _quote(tpm, AZURE_KEY, report_data, self._registers)
        try:
            return AzureEvidence.of(attested, report).encode()
        except EvidenceError as e:
            raise TpmError(f"the TPM at {self._device} holds no HCL report at {AZURE_REPORT:#x}: {e.detail}") from e


def _quote(tpm: Tpm, handle: int, report_data: bytes, registers: Sequence[int]) -> Attested:
    """A quote with the values that it is over; they are read anew where one was extended in between."""
    for _ in range(_ATTEMPTS):
        before = tpm.read(registers)
        message, signature = tpm.quote(handle, qualifying_data(report_data), registers)
        if tpm.read(registers) == before:
            return Attested(report_data, message, signature, {"sha256": before})
    raise TpmError("the TPM's PCRs do not rest long enough to be quoted; leave out the one that keeps changing")
