"""AMD's Key Distribution Service (AMD document 57230), which hands out few certificates a minute to anybody."""

import aiohttp

from registry.endorsements import Unavailable
from registry.endorsements.names import AmdDocument, read_name
from registry.endorsements.web import get

KDS = "https://kdsintf.amd.com"
_MILAN = {"bl": 0, "tee": 1, "snp": 6, "ucode": 7}
_PARTS = {"milan": _MILAN, "genoa": _MILAN, "turin": {"fmc": 0, "bl": 1, "tee": 2, "snp": 3, "ucode": 7}}
"""Where each part of a TCB version stands in its 8 bytes."""


class AmdKds:
    """`base` is the service's address."""

    def __init__(self, pool: aiohttp.ClientSession, *, base: str = KDS) -> None:
        self._pool, self._base = pool, base.rstrip("/")

    async def fetch(self, name: str) -> bytes:
        """A certificate, a chain or a revocation list. Raises `Unavailable`, also for a VLEK, which clouds hand out."""
        wanted = read_name(name)
        if not isinstance(wanted, AmdDocument) or (wanted.part == "leaf" and wanted.kind == "vlek"):
            raise Unavailable(f"{name} is nothing that AMD hands out")
        service = f"{self._base}/{wanted.kind}/v1/{wanted.product.title()}"
        if wanted.part == "leaf":
            parts = _PARTS[wanted.product]
            query = "&".join(f"{part}SPL={wanted.tcb[place]:02}" for part, place in parts.items())
            url = f"{service}/{wanted.chip}?{query}"
        else:
            url = f"{service}/{'cert_chain' if wanted.part == 'chain' else 'crl'}"
        return (await get(self._pool, url))[0]
