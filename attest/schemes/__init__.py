"""The table of evidence schemes that this build can read; one file each."""

from attest.claims import Scheme
from attest.schemes.azure_vtpm import AzureVtpmScheme
from attest.schemes.intel import SgxScheme, TdxScheme
from attest.schemes.intel_eventlog import TdxEventLogScheme
from attest.schemes.nitro import NitroScheme
from attest.schemes.nvidia import NvidiaScheme
from attest.schemes.sev_snp import SevSnpScheme
from attest.schemes.software import SoftwareScheme
from attest.schemes.tpm2 import TpmScheme

ALL: tuple[Scheme, ...] = (
    SoftwareScheme(),
    TdxScheme(),
    TdxEventLogScheme(),
    SgxScheme(),
    SevSnpScheme(),
    NitroScheme(),
    AzureVtpmScheme(),
    TpmScheme(),
    NvidiaScheme(),
)
