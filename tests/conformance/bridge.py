"""HTTP, both eras, in front of any stdio server: `python -m tests.conformance.bridge PORT COMMAND...`.

The suite speaks only HTTP. Each 2025 session gets a child of its own; the 2026 era shares one, where request ids,
progress tokens and subscription ids are renumbered so that clients never meet. Results and notifications cross as
they are. A child ends with its session, or with the bridge.
"""

import asyncio
import itertools
import json
import sys
from contextlib import suppress
from typing import Any

import anyio
import uvicorn
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, METHOD_NOT_FOUND, JSONRPCNotification, JSONRPCRequest
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import RootModel

Json = dict[str, Any]
Context = ServerRequestContext[Any, Any]
LONGEST_LINE = 64 << 20
GRACE = 5
"""Seconds that a child has to leave once its pipe is closed."""


class _Raw(RootModel[Json]):
    """Any result, as it came."""


class Caller:
    """One open request: who asked, under which id and progress token, and where the answer goes."""

    def __init__(self, ctx: Context) -> None:
        meta: Any = (ctx.params or {}).get("_meta")
        self.session, self.id, self.method = ctx.session, ctx.request_id, ctx.method
        self.token: Any = meta.get("progressToken") if isinstance(meta, dict) else None  # pyright: ignore[reportUnknownMemberType]
        self.answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()


class Child:
    """One process and the messages on its pipe. `shared`: by several clients of the 2026 era."""

    def __init__(self, process: asyncio.subprocess.Process, *, shared: bool) -> None:
        self._process, self._shared = process, shared
        self._numbers = itertools.count(1)
        # Open requests by the id that the child knows, in the order of their sending.
        self._callers: dict[Any, Caller] = {}
        # What is under way on behalf of the child: questions to the client, the reader itself.
        self._tasks = {asyncio.create_task(self._read())}
        self.standing: ServerSession | None = None  # of a 2025 session, once it is initialized

    @classmethod
    async def start(cls, command: list[str], *, shared: bool) -> "Child":
        """Start a process; its stderr is ours."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LONGEST_LINE)
        return cls(process, shared=shared)

    async def request(self, ctx: Context) -> Json:
        """Send the client's request and return the result. Raises `MCPError`."""
        caller = Caller(ctx)
        number = next(self._numbers) if self._shared else caller.id
        message: Json = {"id": number, "method": ctx.method}
        if ctx.params is not None:
            message["params"] = dict(ctx.params)
            if self._shared and caller.token is not None:
                message["params"]["_meta"] = {**ctx.params["_meta"], "progressToken": number}
        self._callers[number] = caller
        try:
            await self.send(message)
            answer = await caller.answer
        except asyncio.CancelledError:
            # In the 2026 era the client closed its stream, in the 2025 era it said `notifications/cancelled`.
            params = {"requestId": number, "reason": "the client left"}
            with anyio.CancelScope(shield=True), suppress(MCPError):
                await self.send({"method": "notifications/cancelled", "params": params})
            raise
        finally:
            del self._callers[number]
        if "error" in answer:
            error: Json = answer["error"]
            raise MCPError(error["code"], error["message"], error.get("data"))
        return _subscribed(answer["result"], number, caller) if self._shared else answer["result"]

    async def send(self, message: Json) -> None:
        """Write one message. Raises `MCPError` where nobody reads any more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError as e:
            raise MCPError(CONNECTION_CLOSED, "the process behind the bridge has ended") from e

    async def close(self) -> None:
        """Hang up, and end what stays."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), GRACE)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message: Json = json.loads(line)
            if "method" not in message:
                if caller := self._callers.get(message["id"]):
                    caller.answer.set_result(message)
            elif "id" in message:
                task = asyncio.create_task(self._ask(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                await self._notify(message)
        for caller in self._callers.values():
            if not caller.answer.done():
                caller.answer.set_exception(MCPError(CONNECTION_CLOSED, "the process behind the bridge has ended"))

    async def _notify(self, message: Json) -> None:
        params: Json = message.get("params") or {}
        if self._shared:
            meta: Json = params.get("_meta") or {}
            number = params.get("progressToken", meta.get(SUBSCRIPTION_ID_META_KEY))
            caller = self._callers.get(number) if number is not None else self._latest()
            if caller is None:
                return  # of a request that is over
            params = _subscribed(params, number, caller)
            message = {**message, "params": {**params, "progressToken": caller.token} if _tokened(params) else params}
        else:
            caller = self._of_token(params) if _tokened(params) else self._latest()
        session = caller.session if caller else self.standing
        if session is not None:
            raw: Any = JSONRPCNotification.model_validate(message)
            await session.send_notification(raw, caller.id if caller else None)

    async def _ask(self, message: Json) -> None:
        """Put a question of the child to the client, on the stream of its latest request: a pipe says no more."""
        caller = self._latest()
        session, related = (caller.session, caller.id) if caller else (self.standing, None)
        try:
            if session is None:
                raise MCPError(METHOD_NOT_FOUND, "there is no client to ask")
            raw: Any = JSONRPCRequest.model_validate(message)
            metadata = ServerMessageMetadata(related_request_id=related)
            answer: Json = {"result": (await session.send_request(raw, _Raw, metadata=metadata)).root}
        except MCPError as e:
            answer = {"error": e.error.model_dump(exclude_none=True)}
        except ValueError as e:
            answer = {"error": {"code": INTERNAL_ERROR, "message": f"the client's answer is not valid: {e}"}}
        with suppress(MCPError):
            await self.send({"id": message["id"], **answer})

    def _latest(self) -> Caller | None:
        """The newest request that is not a listening one."""
        return next((c for c in reversed(self._callers.values()) if c.method != "subscriptions/listen"), None)

    def _of_token(self, params: Json) -> Caller | None:
        return next((c for c in self._callers.values() if c.token == params["progressToken"]), None)


def _tokened(params: Json) -> bool:
    return "progressToken" in params


def _subscribed(members: Json, number: Any, caller: Caller) -> Json:
    """The same with the client's subscription id where there is one of ours."""
    meta: Json = members.get("_meta") or {}
    if number is None or meta.get(SUBSCRIPTION_ID_META_KEY) != number:
        return members
    return {**members, "_meta": {**meta, SUBSCRIPTION_ID_META_KEY: caller.id}}


class Bridge:
    """The middleware: the chain ends here, so the server behind it answers everything."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._lock = anyio.Lock()
        self._shared: Child | None = None  # of the 2026 era, from its first request
        self._children: set[Child] = set()  # of open 2025 sessions, and the one ahead
        self._ahead: Child | None = None  # for the next session, from the first one on

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer one message."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await self._modern(ctx)
        connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage] - the SDK's only per-session state
        if ctx.method == "initialize":
            child = await self._own()
            connection.state["child"] = child
            connection.exit_stack.push_async_callback(self._end, child)
            return await child.request(ctx)
        child: Child | None = connection.state.get("child")
        if child is None:
            return await call_next(ctx)  # before the handshake: the refusal is the SDK's
        if ctx.request_id is not None:
            return await child.request(ctx)
        if ctx.method == "notifications/initialized":
            await call_next(ctx)
            child.standing = ctx.session
        if ctx.method != "notifications/cancelled":  # the SDK cancels the request, which tells the child
            await child.send({"method": ctx.method} | ({} if ctx.params is None else {"params": dict(ctx.params)}))
        return None

    async def _own(self) -> Child:
        """A child for a new session. The next one starts now: its start is most of what a session costs."""
        async with self._lock:
            child = self._ahead or await Child.start(self._command, shared=False)
            self._ahead = await Child.start(self._command, shared=False)
            self._children |= {child, self._ahead}
        return child

    async def _modern(self, ctx: Context) -> HandlerResult:
        if ctx.request_id is None:
            return None
        if ctx.method == "initialize":
            raise MCPError(METHOD_NOT_FOUND, "Method not found")  # on a pipe it would be a handshake
        async with self._lock:
            if self._shared is None:
                self._shared = await Child.start(self._command, shared=True)
        result = await self._shared.request(ctx)
        if ctx.method == "server/discover":  # HTTP and the pipe need not speak the same versions
            result["supportedVersions"] = [v for v in result["supportedVersions"] if v in MODERN_PROTOCOL_VERSIONS]
        return result

    async def _end(self, child: Child) -> None:
        self._children.discard(child)
        await child.close()

    async def close(self) -> None:
        """End every child."""
        children = [*self._children, *([self._shared] if self._shared else [])]
        await asyncio.gather(*(child.close() for child in children))


async def serve(port: int, command: list[str]) -> None:
    """Serve until a signal comes."""
    server: Server[Any] = Server("bridge")
    bridge = Bridge(command)
    server.middleware.append(bridge)
    # h11: httptools leaves trailing spaces in header values, and the SDK then sees a header mismatch
    config = uvicorn.Config(
        server.streamable_http_app(), "127.0.0.1", port, http="h11", log_level="warning", timeout_graceful_shutdown=1
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await bridge.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
