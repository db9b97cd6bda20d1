"""`etmcp login SERVER`: let a person log in to a server that wants that; the tokens stay with the gateway."""

import argparse

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
    parser.add_argument(
        "--port", type=int, choices=range(65536), default=0, metavar="PORT", help="listen here for the browser"
    )
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Exit code 0 where the server lets us in at the end. Raises `UserError` or `UpstreamError`."""
    alias: str = options.server
    again: bool = options.again
    for attempt in range(ATTEMPTS + 1):
        async with context.running() as gateway:
            member = find(gateway, alias)
            credentials = oauth(alias, member.server, context.home, context.environ)
            if credentials is None:
                raise UserError(f'{alias}: takes no login; it has no "url", or an Authorization header of its own')
            try:
                listing = await member.survey()
            except NeedsLogin:
                if attempt == ATTEMPTS:
                    raise
            else:
                if not again and not credentials.refused:
                    print(f"{alias}: logged in, {len(listing.offer.tools)} tools")
                    return 0
        again = False
        await _ask(credentials, options.port)
    raise UserError(f"{alias}: wants more after {ATTEMPTS} logins; ask who runs it which rights your account lacks")


async def _ask(credentials: OAuth, port: int) -> None:
    try:
        async with listening(port, print) as browser:
            await credentials.authorize(browser)
    except OSError as e:
        raise UserError(f"127.0.0.1:{port}: {e.strerror}; choose another --port") from e
