"""Checkpoint and tiles over HTTP, as static resources (c2sp.org/tlog-tiles). Mount it under the log's prefix."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.errors import NotFound
from registry.log.log import Log
from registry.log.tiles import Tile

_ANYONE = {"Access-Control-Allow-Origin": "*"}


def routes(log: Log) -> list[Route]:
    """`/checkpoint` and `/tile/...`."""

    async def checkpoint(_: Request) -> Response:
        headers = {"Cache-Control": "no-cache", "Content-Type": "text/plain; charset=utf-8", **_ANYONE}
        return Response(log.checkpoint()[1], headers=headers)

    async def tile(request: Request) -> Response:
        try:
            data = log.tile(Tile.parse(f"tile/{request.path_params['path']}"))
        except NotFound:
            return Response("no such tile\n", 404, media_type="text/plain", headers=_ANYONE)
        headers = {"Cache-Control": "public, max-age=31536000, immutable", **_ANYONE}
        return Response(data, media_type="application/octet-stream", headers=headers)

    return [Route("/checkpoint", checkpoint, methods=["GET"]), Route("/tile/{path:path}", tile, methods=["GET"])]
