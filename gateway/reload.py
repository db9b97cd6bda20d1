"""A configuration file that changes while the gateway runs."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from gateway.config import Config
from gateway.errors import UserError

LOOK_SECONDS = 1.0
logger = logging.getLogger(__name__)


async def follow(path: Path, load: Callable[[Path], Config], apply: Callable[[Config], Awaitable[None]]) -> None:
    """Apply each new version of the file until cancelled. One that cannot be read is reported, and the old stays."""
    seen = await _mark(path)
    while True:
        await anyio.sleep(LOOK_SECONDS)
        if (now := await _mark(path)) == seen:
            continue
        seen = now
        try:
            config = load(path)
        except UserError as e:
            logger.warning("%s (the gateway goes on with what it had)", e)
        else:
            await apply(config)
            logger.warning("%s: read again, %d servers", path, len(config.servers))


async def _mark(path: Path) -> tuple[int, int, int] | None:
    """What differs between two versions of a file; None where there is none."""
    try:
        found = await anyio.Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
