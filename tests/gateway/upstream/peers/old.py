"""A server of the SDK that speaks HTTP+SSE alone. Prints its URL first; wants `Authorization: Bearer s` everywhere."""

import socket
import warnings
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import SamplingMessage, TextContent
from pydantic import BaseModel
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

warnings.simplefilter("ignore", MCPDeprecationWarning)
server = MCPServer("old")
ended: list[str] = []


class Choice(BaseModel):
    """What an operator is asked."""

    ok: bool


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def large(size: int) -> str:
    """Say much."""
    return "x" * size


@server.tool()
async def steps(ctx: Context[Any], label: str) -> str:
    """Report progress, and let others go first."""
    for n in range(5):
        await ctx.report_progress(n, 5, label)
        await anyio.lowlevel.checkpoint()
    return label


@server.tool()
async def logs(ctx: Context[Any], text: str) -> str:
    """Log a line."""
    await ctx.info(text)  # pyright: ignore[reportDeprecated] - this server is of the year of logging
    return text


@server.tool()
async def choose(ctx: Context[Any]) -> str:
    """Ask the user."""
    answer = await ctx.elicit("go on?", Choice)
    return answer.model_dump_json()


@server.tool()
async def sample(ctx: Context[Any]) -> str:
    """Ask the model."""
    asked = SamplingMessage(role="user", content=TextContent(type="text", text="say yes"))
    answer = await ctx.session.create_message([asked], max_tokens=5)  # pyright: ignore[reportDeprecated] - as above
    return answer.model_dump_json()


@server.tool()
async def hang(label: str) -> str:
    """Never answer."""
    try:
        await anyio.sleep_forever()
    finally:
        ended.append(label)
    return ""


@server.tool()
def ends() -> list[str]:
    """Say which calls of `hang` were cancelled."""
    return ended


def guarded(app: ASGIApp) -> ASGIApp:
    """Let only those in who bring the credentials."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (b"authorization", b"Bearer s") not in scope["headers"]:
            await PlainTextResponse("no", 401)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guard


def main() -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/sse", flush=True)
    config = uvicorn.Config(guarded(server.sse_app()), log_level="warning", http="h11", ws="none")
    uvicorn.Server(config).run(sockets=[listening])


main()
