"""A man in the middle as a reverse proxy: `http.py CONTROL SEEN ELSEWHERE REAL`; prints its URL first."""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
from aiohttp import web
from attacks import ATTACKS
from scene import Json, Machine, Messages, post


async def main() -> None:
    control, seen, elsewhere, real = sys.argv[1:]
    machine = Machine(Path(control), Path(seen), ATTACKS, elsewhere)
    async with aiohttp.ClientSession() as session:

        async def forward(message: Json) -> Messages:
            return await post(session, real, message, machine.saw)

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            machine.saw(body)
            message: Json = json.loads(body)
            if "id" not in message:
                return web.Response(status=202)
            answers = await machine.handle(message, forward)
            events = "".join(f"data: {answer.pop('raw', None) or json.dumps(answer)}\n\n" for answer in answers)
            return web.Response(text=events, content_type="text/event-stream")

        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/mcp", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        print(json.dumps({"url": f"http://127.0.0.1:{port}/mcp"}), flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
