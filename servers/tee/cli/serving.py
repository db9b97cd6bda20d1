"""What `stdio` and `http` share: their options, and the server that both offer."""

import argparse
import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from attest.arguments import positive
from servers.attesters import choice
from servers.attesters.choice import chosen
from servers.tee.cli.context import Context, UserError, own_cache, say
from servers.tee.cli.policies import chosen_policy, declare_policy, known_secrets
from servers.tee.cli.tiers import native
from servers.tee.engine import Engine, Prepared
from servers.tee.fetching import EngineFetch
from servers.tee.library.function import Tier
from servers.tee.library.library import Library
from servers.tee.proving.offer import offered
from servers.tee.sandbox.wasm import WasmSandbox
from servers.tee.selftest.startup import Proven
from servers.tee.server import TeeServer, build

HOUR_MS = 3_600_000


def declare(parser: argparse.ArgumentParser) -> None:
    """The options of a command that serves."""
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="sandbox processes, calls at once")
    choice.declare(parser)
    parser.add_argument("--library", type=Path, metavar="DIR", help="functions that were added there with `library`")
    parser.add_argument("--require-sealed", action="store_true", help="refuse calls that are not sealed")
    parser.add_argument("--rotate-hours", type=positive, default=4, metavar="N", help="new keys after so long")
    declare_policy(parser)
    parser.add_argument("--measured-policy", help=argparse.SUPPRESS)  # by `launch`: the digest that is in the register


@asynccontextmanager
async def serving(options: argparse.Namespace, context: Context) -> AsyncGenerator[tuple[TeeServer, str]]:
    """The server over its engine, watching its library, and what its attester is (`Chosen.told`).

    Raises `UserError`, `SandboxError`, `AttesterError`, `OSError`.
    """
    policy = chosen_policy(options)
    if options.measured_policy not in (None, policy.digest()):
        raise UserError("the policy has changed since it was measured; keep it where nobody writes, and start again")
    secrets = known_secrets(policy, context)
    sandboxes: dict[Tier, Prepared] = {"wasm": Proven(WasmSandbox(own_cache(options), options.workers), "wasm")}
    environment = {name: str(value) for name, value in sandboxes["wasm"].environment.items() if isinstance(value, str)}
    attester = chosen(options, context.clock, context.pin, environment)
    async with AsyncExitStack() as stack:
        process = await native(stack, options.workers, policy.limits())
        tiers: dict[str, str | None] = {"process": process} if isinstance(process, str) else {}
        if not isinstance(process, str):
            sandboxes["process"] = process
        engine = await stack.enter_async_context(Engine(sandboxes, policy, say))
        tiers |= {tier: engine.refusal(tier, policy) for tier in sandboxes}
        server = build(
            engine,
            Library(options.library, tiers),
            attester.attester,
            version=context.version,
            clock=context.clock,
            say=say,
            fetch=EngineFetch(secrets),
            score=await offered(own_cache(options), stack, say),
            require_sealed=options.require_sealed,
            every=options.rotate_hours * HOUR_MS,
        )
        stack.enter_context(_rotating(server))
        watching = asyncio.create_task(server.watch())  # no task group: what the caller raises must come out as it is
        try:
            yield server, attester.told
        finally:
            watching.cancel()


@contextmanager
def _rotating(server: TeeServer) -> Generator[None]:
    """New keys at SIGUSR1, where there are signals; to whoever shares a terminal SIGHUP means the end."""
    loop = asyncio.get_running_loop()

    def rotate() -> None:
        say(f"etmcp-tee: new keys {server.rotate()}")

    try:
        loop.add_signal_handler(signal.SIGUSR1, rotate)
    except (AttributeError, NotImplementedError):  # Windows: by time alone
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)
