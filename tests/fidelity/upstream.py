"""Returns exactly what it is told: `upstream.py stdio|http modern|legacy FOLDER`. Standard library only.

The text in FOLDER/told (`"result":...` or `"error":...`) becomes the rest of the response to a call, whose params it
puts into FOLDER/got as they came; its process id is in FOLDER/pid.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

transport, era = sys.argv[1:3]
folder = Path(sys.argv[3])
CAPABILITIES: dict[str, Any] = {"tools": {}}
TOOL = {"name": "echo", "inputSchema": {"type": "object"}}
INFO = {"name": "told", "version": "1"}


def members(line: str) -> str | None:
    """The text of the response's members but `jsonrpc` and `id`; None for what needs no answer."""
    message: dict[str, Any] = json.loads(line)
    match message.get("method"):
        case "server/discover" if era == "modern":
            said = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "serverInfo": INFO}
            return f'"result":{json.dumps(said)}'
        case "initialize" if era == "legacy":
            said = {"protocolVersion": "2025-06-18", "capabilities": CAPABILITIES, "serverInfo": INFO}
            return f'"result":{json.dumps(said)}'
        case "tools/list":
            return f'"result":{json.dumps({"tools": [TOOL]})}'
        case "tools/call":
            (folder / "got").write_text(line, encoding="utf-8")
            (folder / "pid").write_text(str(os.getpid()))
            return (folder / "told").read_text(encoding="utf-8")
        case _ if "id" in message:
            return '"error":{"code":-32601,"message":"Method not found"}'
        case _:
            return None


def response(line: str) -> bytes | None:
    said = members(line)
    return None if said is None else f'{{"jsonrpc":"2.0","id":{json.loads(line)["id"]},{said}}}'.encode()


class Handler(BaseHTTPRequestHandler):
    """JSON in the legacy era, an event stream in the modern one."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        answer = response(self.rfile.read(int(self.headers["content-length"])).decode())
        if answer is None:
            self.reply(202, "text/plain", b"")
        elif era == "legacy":
            self.reply(200, "application/json", answer)
        else:
            self.reply(200, "text/event-stream", b"event: message\ndata: " + answer + b"\n\n")

    def do_GET(self) -> None:
        self.reply(405, "text/plain", b"")

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        pass


if transport == "stdio":
    for given in sys.stdin.buffer:
        if (answer := response(given.decode())) is not None:
            sys.stdout.buffer.write(answer + b"\n")
            sys.stdout.buffer.flush()
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}/mcp", flush=True)
    server.serve_forever()
