"""A configuration that changes while the gateway runs: its file, or a policy file that it names."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from anyio import to_thread

from gateway.appraising import Mark
from gateway.config import Config
from gateway.errors import UserError

LOOK_SECONDS = 1.0
logger = logging.getLogger(__name__)


async def follow(config: Config, load: Callable[[Path], Config], apply: Callable[[Config], Awaitable[None]]) -> None:
    """Apply each new version until cancelled. One that cannot be read is reported, and the old stays; but a server
    whose policy file is another now is not used until that one is read (`exchange.appraisal`)."""
    source = Path(config.source)
    seen = {**config.policies, source: await to_thread.run_sync(Mark.of, source)}
    while True:
        await anyio.sleep(LOOK_SECONDS)
        now = {path: await to_thread.run_sync(Mark.of, path) for path in seen}
        if now == seen:
            continue
        try:
            config = load(source)
        except UserError as e:
            seen = now
            logger.warning("%s (the gateway goes on with what it had)", e)
        else:
            seen = {**config.policies, source: now[source]}
            await apply(config)
            logger.warning("%s: read again, %d servers", source, len(config.servers))
