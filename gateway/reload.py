"""A configuration that changes while the gateway runs: its file, or a policy file that it names."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from anyio import to_thread

from attest.denylist import Denylist
from gateway.appraising import Mark
from gateway.config import Config
from gateway.errors import UserError

LOOK_SECONDS = 1.0
logger = logging.getLogger(__name__)


async def follow(
    config: Config, load: Callable[[Path, Denylist], Config], apply: Callable[[Config], Awaitable[None]]
) -> None:
    """Apply each new version until cancelled. One that cannot be read is reported, and the old stays until it can; but
    a server whose policy file is another now is not used until that one is read (`exchange.appraisal`).

    `load` is given the denylist in force, which only a newer one replaces.
    """
    source, failed = Path(config.source), ""
    seen = {**config.policies, source: config.mark}
    while True:
        await anyio.sleep(LOOK_SECONDS)
        now = {path: await to_thread.run_sync(Mark.of, path) for path in seen}
        if now == seen and not failed:
            continue
        try:
            config = load(source, config.withdrawn.denylist)
        except UserError as e:  # what it lacks may be anywhere, so it is tried again until it is there
            if str(e) != failed:
                logger.warning("%s (the gateway goes on with what it had)", e)
            seen, failed = now, str(e)
        else:
            seen, failed = {**config.policies, source: config.mark}, ""
            await apply(config)
            logger.warning("%s: read again, %d servers", source, len(config.servers))
