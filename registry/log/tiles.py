"""Where tiles are found: the paths of c2sp.org/tlog-tiles, written and read in one spelling."""

import re
from dataclasses import dataclass

from registry.errors import NotFound

WIDTH = 256
_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_MAX_NUMBER = 2**53


@dataclass(frozen=True, slots=True)
class Tile:
    """`width` hashes (1 to 256) of `level` from `number` * 256 on; `level` None is the bundle of the entries there."""

    level: int | None
    number: int
    width: int = WIDTH

    def path(self) -> str:
        """As it stands behind the log's prefix."""
        number, rest = f"{self.number % 1000:03}", self.number // 1000
        while rest:
            number, rest = f"x{rest % 1000:03}/{number}", rest // 1000
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{number}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """Read `path()`; raises `NotFound("no-tile")` for any other spelling."""
        if len(path) <= 80 and path.isascii() and (match := _PATH.fullmatch(path)):
            level, number, width = match.groups()
            tile = cls(
                None if level == "entries" else int(level),
                int(number.replace("x", "").replace("/", "")),
                int(width or WIDTH),
            )
            if tile.path() == path and (tile.level or 0) < 64 and tile.number < _MAX_NUMBER:
                return tile
        raise NotFound("no-tile", "not the path of a tile")

    def within(self, size: int) -> bool:
        """Whether a tree of this size has all of it."""
        return self.number * WIDTH + self.width <= size >> (8 * (self.level or 0))


def bundle(entries: list[bytes]) -> bytes:
    """An entry bundle: each entry behind its length as two bytes, big-endian."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
