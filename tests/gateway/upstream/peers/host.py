"""A stand-in for the gateway: starts a server with the real spawn helper and waits to be killed."""

import os
import sys

import anyio

from gateway.upstream.spawn import Command, spawn


async def main() -> None:
    child = await spawn("family", Command(sys.argv[1:], os.environ))
    print(child.keeper_pid, flush=True)
    await anyio.sleep_forever()


anyio.run(main)
