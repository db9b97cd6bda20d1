"""The honest server that stands behind the man in the middle: `server.py stdio|http NAME [--require-sealed]
[--notes]`.

Over HTTP it prints one line first: its URL and its attester key.
"""

import json
import socket
import sys
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from servers.attested import Attested
from servers.prove import prove

Context = ServerRequestContext[Any, Any]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}
NAMES = ("echo", "other", "count", "loud", "steps", "rotate", "fail", "ask")
ELICIT: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "go on?", "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
}
# How many calls of `echo` were executed.
executed: list[str] = []
# What changes this server's keys.
rotating: list[Attested] = []


async def list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    tools = [types.Tool(name=name, description=f"does {name}", input_schema=SCHEMA) for name in NAMES]
    return types.ListToolsResult(tools=tools, ttl_ms=0, cache_scope="private")


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
    given = str((params.arguments or {}).get("text", ""))
    match params.name:
        case "echo":
            executed.append(given)
            return said(given)
        case "count":
            return said(str(len(executed)))
        case "loud" | "steps" | "rotate":
            await work(ctx, params.name, given)
            return said("done")
        case "fail":
            raise ValueError(given)
        case "ask" if params.input_responses is None:
            return {"resultType": "input_required", "inputRequests": {"q": ELICIT}, "requestState": f"state {given}"}
        case "ask":
            answers = {name: value.model_dump(mode="json") for name, value in (params.input_responses or {}).items()}
            return said(f"{params.request_state}: {json.dumps(answers)}")
        case _:
            return said(f"{params.name}: {given}")


async def work(ctx: Context, name: str, given: str) -> None:
    match name:
        case "loud":
            await ctx.session.report_progress(1, 2, given)
            await ctx.session.report_progress(2, 2)
        case "steps":
            for step in (1, 2, 3, 4):
                await ctx.session.report_progress(step, 4, f"{given}{step}")
        case _:
            rotating[0].rotate()


async def list_templates(_: Context, __: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(name="note", uri_template="note://{text}")
    return types.ListResourceTemplatesResult(resource_templates=[template], ttl_ms=0, cache_scope="private")


async def read_resource(_: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    text = f"content of {params.uri}"
    content = types.TextResourceContents(uri=str(params.uri), text=text)
    return types.ReadResourceResult(contents=[content], ttl_ms=0, cache_scope="private")


def said(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


async def over_http(server: Server[Any], attester: bytes) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    print(json.dumps({"url": url, "attester": attester.hex()}), flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", http="h11", ws="none")
    await uvicorn.Server(config).serve(sockets=[listening])


def main() -> None:
    transport, name = sys.argv[1:3]
    noted: Any = {}
    if "--notes" in sys.argv:
        noted = {"on_list_resource_templates": list_templates, "on_read_resource": read_resource}
    server: Server[Any] = Server(name, version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool, **noted)
    attester = prove(server, require_sealed="--require-sealed" in sys.argv) or b""
    rotating.extend(each for each in server.middleware if isinstance(each, Attested))
    if transport == "stdio":
        anyio.run(over_stdio, server)
    else:
        anyio.run(over_http, server, attester)


main()
