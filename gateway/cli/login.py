"""`etmcp login SERVER`: let a person log in to a server that wants that; the tokens stay with the gateway."""

import argparse
import sys
import webbrowser
from contextlib import AsyncExitStack
from functools import partial

from attest.arguments import port
from gateway.access import oauth
from gateway.cli.approve import find
from gateway.cli.context import Commands, Context
from gateway.errors import UserError
from gateway.loopback import listening
from gateway.upstream.credentials import NeedsLogin
from gateway.upstream.oauth import OAuth

ATTEMPTS = 3


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("login", help="log in to a server that asks for it")
    parser.add_argument("server", metavar="SERVER")
    parser.add_argument("--again", action="store_true", help="even if it lets us in now: as somebody else, say")
    parser.add_argument("--port", type=port, default=0, help="where to wait for the browser (default: any free port)")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 where the server lets us in at the end, else 1. Raises `UserError` or `UpstreamError`."""
    alias: str = options.server
    again: bool = options.again
    credentials = await _credentials(alias, context)
    async with AsyncExitStack() as stack:
        try:
            browser = await stack.enter_async_context(
                listening(options.port, partial(print, flush=True), webbrowser.open)
            )
        except OSError as e:
            raise UserError(f"127.0.0.1:{options.port}: {e.strerror}; choose another --port") from e
        for _ in range(ATTEMPTS):
            if not again and await _let_in(alias, context, credentials):
                return 0
            again = False
            await credentials.authorize(browser)
        if await _let_in(alias, context, credentials):
            return 0
    print(f"{alias}: wants more after {ATTEMPTS} logins; ask who runs it which rights you lack", file=sys.stderr)
    return 1


async def _credentials(alias: str, context: Context) -> OAuth:
    async with context.running() as gateway:
        server = find(gateway, alias).server
    credentials = oauth(alias, server, context.home, context.environ)
    if credentials is None:
        raise UserError(f'{alias}: takes no login, having no "url" or an Authorization of its own; name another server')
    return credentials


async def _let_in(alias: str, context: Context, credentials: OAuth) -> bool:
    """Whether it lists its tools, and no other gateway waits for more."""
    async with context.running() as gateway:
        try:
            listing = await find(gateway, alias).survey()
        except NeedsLogin:
            return False
    if credentials.wanted:
        return False
    print(f"{alias}: lets us in, {len(listing.offer.tools)} tools")
    return True
