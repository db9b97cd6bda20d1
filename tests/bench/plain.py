"""Our own relay with neither receipts nor store: the yardstick. `python -m tests.bench.plain CONFIG HOME PORT`"""

import asyncio
import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

import anyio

from gateway.aggregate import Aggregate, Client
from gateway.config import load
from gateway.front.http import serve_http
from gateway.front.relay import serve
from gateway.home import Home
from gateway.member import Member
from gateway.runtime import running
from gateway.upstream import Json


class Plain(Aggregate):
    """Routes and carries; says nothing of what it carried."""

    async def _exchange(
        self,
        member: Member,
        method: str,
        params: Json,
        definition: str | None,  # noqa: ARG002
        client: Client,
    ) -> dict[str, Any]:
        link = await member.link()
        deadline = anyio.current_time() + member.server.etmcp.timeout
        return await link.session.request(method, params, client=client.face, deadline=deadline)


async def main(config: Path, home: Path, port: int) -> None:
    """Serve until interrupted."""
    gc.freeze()
    settings = {"clock": lambda: time.time_ns() // 1_000_000, "environ": dict(os.environ), "version": "0"}
    async with running(load(config), Home(home), **settings) as gateway:  # pyright: ignore[reportArgumentType]
        aggregate = Plain(gateway.aggregate.members, gateway.hub)
        await serve_http(serve(aggregate, "0"), host="127.0.0.1", port=port, token=None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
