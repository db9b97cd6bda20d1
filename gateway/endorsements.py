"""Where the gateway gets what vendors say of their platforms."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import aiohttp
from pydantic import BaseModel, ConfigDict

from registry.endorsements import Source
from registry.endorsements.amd_kds import KDS, AmdKds
from registry.endorsements.cache import Cache
from registry.endorsements.intel_pcs import PCS, ROOT_CRL, IntelPcs


class EndorsementSettings(BaseModel):
    """Read when the gateway starts. Without `fetch`, what is in the folder is all there is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    fetch: bool = True
    pcs: str = PCS
    pcs_root_crl: str = ROOT_CRL
    # Intel's TCB information from the day that it is published, or only once platforms had their time to be updated.
    pcs_update: Literal["standard", "early"] = "standard"
    kds: str = KDS

    def below(self, folder: Path) -> Self:
        """With its folder's path taken from here."""
        return self if self.folder is None else self.model_copy(update={"folder": (folder / self.folder).absolute()})


def source(
    settings: EndorsementSettings, folder: Path, pool: aiohttp.ClientSession, clock: Callable[[], int]
) -> Source:
    """The configured source; `folder` is where documents are kept unless the settings name another."""
    intel = IntelPcs(pool, base=settings.pcs, root_crl=settings.pcs_root_crl, update=settings.pcs_update)
    vendors = {"intel": intel, "amd": AmdKds(pool, base=settings.kds)} if settings.fetch else {}
    return Cache(settings.folder or folder, vendors, clock)
