"""The table of evidence schemes that this build can read; one file each."""

from attest.claims import Scheme
from attest.schemes.intel import SgxScheme, TdxScheme
from attest.schemes.nitro import NitroScheme
from attest.schemes.sev_snp import SevSnpScheme
from attest.schemes.software import SoftwareScheme

ALL: tuple[Scheme, ...] = (SoftwareScheme(), TdxScheme(), SgxScheme(), SevSnpScheme(), NitroScheme())
