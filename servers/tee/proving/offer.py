"""`score` as a server offers it: where its keys are here, under the program that they and the model make."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from servers.tee.proving import ProvingError, folder
from servers.tee.proving.prover import Prover
from servers.tee.proving.tool import NAME, TITLE, VERSION, Score


def described(cache: Path) -> dict[str, str] | str:
    """It as the library's list has it, its digest that of its program; or in one line why it is not offered."""
    try:
        if (why := folder.lacking(cache)) is not None:
            return why
        digest = folder.keys(cache).program.digest
    except ProvingError as e:
        return str(e)
    return {"name": NAME, "version": VERSION, "title": TITLE, "tier": "proof", "digest": digest, "source": "shipped"}


async def offered(cache: Path, stack: AsyncExitStack, say: Callable[[str], None]) -> Score | str:
    """The tool, whose process ends with the stack; or in one line why it is not offered. Damage is also said."""
    if (why := folder.lacking(cache)) is not None:
        return why
    try:
        keys = await anyio.to_thread.run_sync(folder.keys, cache)
    except ProvingError as e:
        say(f"etmcp-tee: {NAME}: not offered: {e}")
        return str(e)
    prover = Prover(keys)
    stack.push_async_callback(prover.close)
    return Score(prover)
