"""The table of evidence schemes that this build can read; one file each."""

from attest.claims import Scheme
from attest.schemes.software import SoftwareScheme

ALL: tuple[Scheme, ...] = (SoftwareScheme(),)
