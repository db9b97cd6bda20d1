"""Endorsements: what vendors say of their platforms, fetched when appraisals need it, kept in a folder, never judged.

Whoever appraises checks every signature, so it does not matter where a document came from; what does is its age.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from registry.errors import RegistryError

MAX_DOCUMENT = 1 << 20


class Unavailable(RegistryError):
    """The vendor's service does not give the document now. `retry_after` in seconds, where it said so."""

    def __init__(self, detail: str, retry_after: float = 0) -> None:
        super().__init__("unavailable", detail)
        self.retry_after = retry_after


class Source(Protocol):
    """Where appraisals get their documents."""

    async def find(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Those of the named documents (`attest.claims.Scheme.wants`) that are to be had; raises nothing."""
        ...


class Vendor(Protocol):
    """One vendor's service."""

    async def fetch(self, name: str) -> bytes:
        """The newest version of a document of this vendor; raises `Unavailable`."""
        ...
