"""A configuration that changes while the gateway runs: its file, or a policy file that it names."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from gateway.config import Config
from gateway.errors import UserError

LOOK_SECONDS = 1.0
logger = logging.getLogger(__name__)


async def follow(config: Config, load: Callable[[Path], Config], apply: Callable[[Config], Awaitable[None]]) -> None:
    """Apply each new version until cancelled. One that cannot be read is reported, and the old stays."""
    source = Path(config.source)
    seen = await _marks(config.files)
    while True:
        await anyio.sleep(LOOK_SECONDS)
        if (now := await _marks(config.files)) == seen:
            continue
        seen = now
        try:
            config = load(source)
        except UserError as e:
            logger.warning("%s (the gateway goes on with what it had)", e)
        else:
            seen = await _marks(config.files)
            await apply(config)
            logger.warning("%s: read again, %d servers", source, len(config.servers))


async def _marks(paths: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """What differs between two versions of a file; None where there is none."""
    marks: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            found = await anyio.Path(path).stat()
            marks.append((found.st_ino, found.st_size, found.st_mtime_ns))
        except OSError:
            marks.append(None)
    return marks
