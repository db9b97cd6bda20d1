"""Documents in a folder: each at the path that its name is. Filled by the cache, by hand, or both."""

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from registry.endorsements import MAX_DOCUMENT
from registry.endorsements.names import read_name


class Folder:
    """A `Source` without a network. Several processes may write to it at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """See `Source.find`."""
        found = {name: self.read(name) for name in names}
        return {name: data for name, data in found.items() if data is not None}

    def read(self, name: str) -> bytes | None:
        """One document, None where there is none that can be read."""
        if read_name(name) is None:
            return None
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(MAX_DOCUMENT + 1)
        except OSError:
            return None
        return data if len(data) <= MAX_DOCUMENT else None

    def count(self) -> int:
        """How many documents there are."""
        return sum(not name.startswith(".") for _, _, names in os.walk(self._folder) for name in names)

    def write(self, name: str, data: bytes) -> None:
        """Replace one document: whole or not at all, through a kill or a power cut. Raises `OSError`, `ValueError`."""
        if read_name(name) is None:
            raise ValueError(f"{name!r} is no name of a document")
        path = self._folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            with fresh.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
