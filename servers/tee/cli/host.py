"""`etmcp-tee host`: somebody else's stdio server in a sandbox, with receipts."""

import argparse
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from mcp.server.lowlevel import Server

from attest.arguments import port
from servers.attesters import choice
from servers.attesters.choice import chosen
from servers.http import bound, serve_http
from servers.stdio import pipes
from servers.tee.cli.context import Commands, Context, UserError, own_cache, say
from servers.tee.cli.policies import chosen_policy, declare_policy
from servers.tee.hosted.fetch import Registries
from servers.tee.hosted.grants import DEFAULT, granted
from servers.tee.hosted.install import Program, install
from servers.tee.hosted.local import local
from servers.tee.hosted.naming import read
from servers.tee.hosted.server import build, isolation
from servers.tee.hosted.sessions import Sessions
from servers.tee.hosted.store import Store
from servers.tee.hosted.tripwires import tripwires
from servers.tee.policy import Policy
from servers.tee.process.launcher import Launcher

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def add(commands: Commands) -> None:
    """Declare it."""
    parser = commands.add_parser("host", help="run another stdio MCP server in a sandbox, with receipts")
    parser.add_argument("--http", action="store_true", help="serve on a loopback port, and not on standard input")
    parser.add_argument("--host", default="127.0.0.1", choices=("127.0.0.1", "::1", "localhost"), help="loopback only")
    parser.add_argument("--port", type=port, default=8402)
    choice.declare(parser)
    parser.add_argument("--require-sealed", action="store_true", help="refuse calls that are not sealed")
    parser.add_argument("--install", action="store_true", help="install the package, and do not run it")
    told = "a variable of this process that the server gets too; may be given again"
    parser.add_argument("--env", type=_variable, action="append", default=[], metavar="NAME", help=told)
    declare_policy(parser)
    told = "npm:@scope/name@1.2.3, pypi:name==1.2.3, or a command such as npx, uvx, node or python starts"
    parser.add_argument("server", metavar="SERVER", help=told)
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARG", help="the server's own arguments")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace, context: Context) -> int:
    """Serve until standard input ends, or until interrupted."""
    if options.install:
        await _program(options, context, DEFAULT)
        return 0
    async with hosting(options, context) as (server, attester):
        if options.http:
            sockets = await bound(options.host, options.port)
            say(f"etmcp-tee: http://{options.host}:{options.port}/mcp, attester {attester}")
            await serve_http(server, sockets)
        else:
            async with pipes() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())
    return 0


@asynccontextmanager
async def hosting(options: argparse.Namespace, context: Context) -> AsyncGenerator[tuple[Server[Any], str]]:
    """The hosted server with our receipts, and what its attester is (`Chosen.told`).

    Raises `UserError`, `SandboxError`, `AttesterError`, `OSError`.
    """
    policy = chosen_policy(options) if options.policy or options.unsigned_policy else DEFAULT
    if (denied := policy.decide_tier("service", namespaces=True)) is not None:
        raise UserError(f'{denied.reason}: a hosted server keeps its state from call to call; name the tier "service"')
    attester = chosen(options, context.clock, context.pin, {"tier": "service"})
    program = await _program(options, context, policy)

    def tell(line: str) -> None:
        say(f"etmcp-tee: {program.name}: {line}")

    async with tripwires(tell) as decoys:
        given = {name: context.environ[name] for name in options.env if name in context.environ}
        start = granted(program, policy, context.environ, given, decoys)
        async with Launcher(uid=start.uid) as launcher:
            isolated = isolation(await launcher.hello())
            note, store = program.note, _store(options)

            def check() -> None:
                program.check()
                if note is not None:
                    store.check(note)

            info = {"name": "etmcp-tee", "version": context.version}
            async with Sessions(policy, start, launcher, check, info, tell) as sessions:
                sessions.prewarm()
                yield (
                    build(
                        program,
                        sessions,
                        attester.attester,
                        isolated=isolated,
                        clock=context.clock,
                        require_sealed=options.require_sealed,
                    ),
                    attester.told,
                )


async def _program(options: argparse.Namespace, context: Context, policy: Policy) -> Program:
    wanted = read([options.server, *options.args])
    if wanted.source == "local":
        return await anyio.to_thread.run_sync(local, wanted, policy, context.environ)

    def tell(line: str) -> None:
        say(f"etmcp-tee: {line}")

    registries = Registries(context.environ, tell)
    return await install(wanted, _store(options), registries)


def _store(options: argparse.Namespace) -> Store:
    return Store(own_cache(options) / "hosted")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise argparse.ArgumentTypeError("not the name of a variable; its value comes from this process' environment")
    return name
