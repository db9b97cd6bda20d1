"""An upstream built with the SDK, proven by one line. `python -m tests.bench.built PORT KEYFILE`"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

from servers.prove import prove

server: MCPServer[Any] = MCPServer("built", version="1", log_level="ERROR")


@server.tool(structured_output=False)
def echo(text: str) -> str:
    """Return the text."""
    return text


if __name__ == "__main__":
    key = prove(server)
    Path(sys.argv[2]).write_text((key or b"").hex())
    app = server.streamable_http_app()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", http="h11", access_log=False)
