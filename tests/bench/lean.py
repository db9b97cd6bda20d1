"""A lean upstream: Streamable HTTP with no SDK, so that the gateway is what is measured. Takes a port."""

import json
import sys
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

INFO = {"name": "lean", "version": "1"}
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL = {"name": "echo", "description": "Return the text.", "inputSchema": SCHEMA}
CACHE = {"ttlMs": 60_000, "cacheScope": "public"}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The result of one request."""
    said: dict[str, Any]
    if method == "server/discover":
        said = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "serverInfo": INFO, **CACHE}
    elif method == "tools/list":
        said = {"tools": [TOOL], **CACHE}
    else:
        said = {"content": [{"type": "text", "text": params["arguments"]["text"]}], "isError": False}
    return {"resultType": "complete", **said}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI: one POST, one answer."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    message = json.loads(body)
    result = answer(message["method"], message.get("params", {}))
    data = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", http="h11", access_log=False)
