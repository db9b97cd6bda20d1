"""A scripted server of one era: `peer.py FOLDER legacy|modern [PORT]`, on a pipe, or over HTTP at PORT.

It writes every message that it receives to FOLDER/log, one JSON object a line, with the session that it came in; and
its own words under `note`. While FOLDER/broken exists it ends at once; FOLDER/tools names its tools beyond these:

* ask(questions)   asks its client, and returns the answers; `late` asks after the call is over, outside of any
* hang             says that it has begun, by progress, and waits until it is cancelled; `wait` until FOLDER/go exists
* change(method, uri)  announces; log(level)  says something during the call; steps(n)  counts; die  ends the process
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
INFO = {"name": "peer", "version": "1"}
TOOLS = ("ask", "late", "hang", "wait", "change", "log", "steps", "die")
CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "logging": {},
}
FILTERS = {"toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources"}
SECRET = "the state of the server"


@dataclass(eq=False)
class Session:
    """One legacy session, or the whole of a modern server."""

    name: str
    outside: Send
    watched: set[str] = field(default_factory=set[str])
    asked: dict[str, asyncio.Future[Json]] = field(default_factory=dict[str, Any])
    running: dict[Any, asyncio.Task[None]] = field(default_factory=dict[Any, Any])


@dataclass(eq=False)
class Listening:
    """One `subscriptions/listen` stream."""

    stream: Any
    wanted: Json
    send: Send


class Peer:
    """What it does, on any transport."""

    def __init__(self, folder: Path, era: str) -> None:
        self.folder, self.era = folder, era
        self.sessions: dict[str, Session] = {}
        self.listening: set[Listening] = set()
        self.numbers = 0
        self.background: set[asyncio.Task[Any]] = set()

    def note(self, session: str, what: Json) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(json.dumps({"session": session, "pid": os.getpid()} | what) + "\n")

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    async def take(self, session: Session, message: Json, send: Send) -> None:
        """One message; returns when it is dealt with."""
        self.note(session.name, {"message": message})
        method, number = message.get("method"), message.get("id")
        if method is None:
            if (waiting := session.asked.pop(str(number), None)) is not None:
                waiting.set_result(message)
        elif number is None:
            if method == "notifications/cancelled" and (task := session.running.get(message["params"]["requestId"])):
                task.cancel()
        else:
            session.running[number] = task = self.spawn(self.answer(session, message, send))
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                raise
            finally:
                del session.running[number]

    async def answer(self, session: Session, message: Json, send: Send) -> None:
        method, params, number = message["method"], message.get("params", {}), message["id"]
        try:
            if (self.era == "modern") != ("io.modelcontextprotocol/protocolVersion" in params.get("_meta", {})):
                raise LookupError(-32022 if self.era == "modern" else -32601)
            result = await self.result(session, method, params, number, send)
        except asyncio.CancelledError:
            self.note(session.name, {"note": "cancelled", "method": method, "params": params})
            return
        except LookupError as e:
            await send({"id": number, "error": {"code": e.args[0], "message": "no"}})
            return
        if self.era == "modern":
            result = {"resultType": "complete"} | result
        await send({"id": number, "result": result})

    async def result(self, session: Session, method: str, params: Json, number: Any, send: Send) -> Json:  # noqa: PLR0911,PLR0912 - a table
        match method:
            case "initialize":
                return {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": INFO}
            case "server/discover":
                return {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "serverInfo": INFO}
            case "tools/list":
                extra = self.folder / "tools"
                names = [*TOOLS, *(extra.read_text().split() if extra.exists() else [])]
                return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
            case "resources/list":
                return {"resources": [{"uri": f"{self.folder.name}://{name}", "name": name} for name in "ab"]}
            case "resources/templates/list":
                return {"resourceTemplates": []}
            case "prompts/list":
                return {"prompts": []}
            case "resources/read":
                return {"contents": [{"uri": params["uri"], "text": "read"}]}
            case "resources/subscribe" if self.era == "legacy":
                session.watched.add(params["uri"])
                return {}
            case "resources/unsubscribe" if self.era == "legacy":
                session.watched.discard(params["uri"])
                return {}
            case "logging/setLevel" | "ping" if self.era == "legacy":
                return {}
            case "subscriptions/listen" if self.era == "modern":
                return await self.listen(params, number, send)
            case "tools/call":
                return await self.call(session, params, send)
            case _:
                raise LookupError(-32601)

    async def listen(self, params: Json, number: Any, send: Send) -> Json:
        listening = Listening(number, params["notifications"], send)
        self.listening.add(listening)
        try:
            meta = {SUBSCRIPTION: number}
            told = {"notifications": listening.wanted, "_meta": meta}
            await send({"method": "notifications/subscriptions/acknowledged", "params": told})
            await asyncio.Event().wait()
        finally:
            self.listening.discard(listening)
        return {}

    async def call(self, session: Session, params: Json, send: Send) -> Json:  # noqa: PLR0912 - a table
        arguments, token = params.get("arguments", {}), params.get("_meta", {}).get("progressToken")
        value: Any = {}
        match params["name"]:
            case "ask" if self.era == "modern":
                given = json.loads(params.get("requestState", f"{SECRET}{{}}").removeprefix(SECRET))
                given |= params.get("inputResponses", {})
                left = {name: what for name, what in arguments["questions"].items() if name not in given}
                if left:
                    state = SECRET + json.dumps(given)
                    return {"resultType": "input_required", "inputRequests": left, "requestState": state}
                value = given
            case "ask":
                await self.progress(send, token, 1)
                names, questions = arguments["questions"].keys(), arguments["questions"].values()
                answers = await asyncio.gather(*(self.question(session, what, send) for what in questions))
                value = dict(zip(names, answers, strict=True))
            case "late":
                self.spawn(self.late(session, arguments["question"]))
            case "hang":
                await self.progress(send, token, 1)
                await asyncio.Event().wait()
            case "wait":
                await self.progress(send, token, 1)
                while not (self.folder / "go").exists():  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.02)
            case "change":
                await self.change(arguments["method"], arguments.get("uri"))
            case "log":
                for level in arguments["levels"]:
                    await send({"method": "notifications/message", "params": {"level": level, "data": level}})
            case "steps":
                for step in range(arguments["n"]):
                    await self.progress(send, token, step)
            case "die":
                os._exit(9)
            case name:
                value = {"name": name}
        return {"content": [{"type": "text", "text": "done"}], "structuredContent": {"value": value}}

    async def progress(self, send: Send, token: Any, step: int) -> None:
        if token is not None:
            await send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})

    async def question(self, session: Session, what: Json, send: Send) -> Json:
        self.numbers += 1
        number = f"s{self.numbers}"
        session.asked[number] = answer = asyncio.get_running_loop().create_future()
        await send({"id": number, **what})
        reply = await answer
        return {k: reply[k] for k in ("result", "error") if k in reply}

    async def late(self, session: Session, what: Json) -> None:
        self.note(session.name, {"note": "late", "answer": await self.question(session, what, session.outside)})

    async def change(self, method: str, uri: str | None) -> None:
        message: Json = {"method": method} | ({"params": {"uri": uri}} if uri else {})
        for session in list(self.sessions.values()):
            if self.era == "legacy" and (uri is None or uri in session.watched):
                await session.outside(message)
        for listening in list(self.listening):
            kind = method.split("/")[1]
            wanted = {FILTERS[name] for name, on in listening.wanted.items() if on is True}
            if kind in wanted if uri is None else uri in listening.wanted.get("resourceSubscriptions", []):
                meta = {"_meta": {SUBSCRIPTION: listening.stream}}
                await listening.send({"method": method, "params": {**message.get("params", {}), **meta}})


async def on_pipe(peer: Peer) -> None:
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def send(message: Json) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        sys.stdout.flush()

    session = peer.sessions["pipe"] = Session(f"pipe-{os.getpid()}", send)
    while line := await reader.readline():
        peer.spawn(peer.take(session, json.loads(line), send))
    peer.note(session.name, {"note": "ended"})


class Web:
    """Streamable HTTP."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.queues = peer, dict[str, asyncio.Queue[Json]]()

    async def post(self, request: web.Request) -> web.StreamResponse:
        message: Json = await request.json()
        if message.get("method") == "initialize":
            session = self.begin()
        elif self.peer.era == "modern":
            session = self.peer.sessions.setdefault("", Session("", self.nobody))
        elif (found := self.peer.sessions.get(request.headers.get("mcp-session-id", ""))) is None:
            return web.Response(status=404 if "mcp-session-id" in request.headers else 400)
        else:
            session = found
        if "id" not in message or "method" not in message:
            await self.peer.take(session, message, self.nobody)
            return web.Response(status=202)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "mcp-session-id": session.name})
        await response.prepare(request)

        async def send(told: Json) -> None:
            await response.write(b"data: " + json.dumps({"jsonrpc": "2.0"} | told).encode() + b"\n\n")

        await self.peer.take(session, message, send)
        return response

    async def get(self, request: web.Request) -> web.StreamResponse:
        name = request.headers.get("mcp-session-id", "")
        if name not in self.queues:
            return web.Response(status=405)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        while True:
            message = await self.queues[name].get()
            await response.write(b"data: " + json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n\n")

    async def delete(self, request: web.Request) -> web.Response:
        name = request.headers.get("mcp-session-id", "")
        self.peer.sessions.pop(name, None)
        self.queues.pop(name, None)
        self.peer.note(name, {"note": "ended"})
        return web.Response()

    def begin(self) -> Session:
        name = os.urandom(8).hex()
        queue = self.queues[name] = asyncio.Queue[Json]()
        session = self.peer.sessions[name] = Session(name, queue.put)
        return session

    async def nobody(self, message: Json) -> None:
        """Where there is no stream to say it on."""


async def over_http(peer: Peer, port: int) -> None:
    app, site = web.Application(), Web(peer)
    app.router.add_post("/mcp", site.post)
    app.router.add_get("/mcp", site.get)
    app.router.add_delete("/mcp", site.delete)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main(folder: Path, era: str, port: str = "") -> None:
    if (folder / "broken").exists():
        sys.exit("broken")
    peer = Peer(folder, era)
    asyncio.run(over_http(peer, int(port)) if port else on_pipe(peer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
