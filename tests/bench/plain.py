"""Our own relay with neither receipts nor store: the yardstick. `python -m tests.bench.plain CONFIG HOME PORT`"""

import asyncio
import gc
import os
import sys
import time
from pathlib import Path

import anyio

from gateway.aggregate import Aggregate
from gateway.config import load
from gateway.front.http import serve_http
from gateway.front.relay import serve
from gateway.home import Home
from gateway.rounds import Request, Rounds
from gateway.runtime import running
from gateway.upstream import Json


class Plain(Rounds):
    """Carries, and says nothing of what it carried."""

    def __init__(self) -> None:  # has no records and no states
        pass

    async def answer(self, request: Request) -> Json:
        """One exchange, without a receipt."""
        member, client = request.member, request.client
        link = await member.connections.link()
        deadline = anyio.current_time() + member.server.etmcp.timeout
        return await link.session.request(request.method, request.params, client=client.face, deadline=deadline)


async def main(config: Path, home: Path, port: int) -> None:
    """Serve until interrupted."""
    gc.freeze()
    settings = {"clock": lambda: time.time_ns() // 1_000_000, "environ": dict(os.environ), "version": "0"}
    async with running(load(config), Home(home), **settings) as gateway:  # pyright: ignore[reportArgumentType]
        aggregate = Aggregate(gateway.aggregate.members, gateway.hub, Plain())
        await serve_http(serve(aggregate, gateway.hub.feed, "0"), host="127.0.0.1", port=port, token=None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
